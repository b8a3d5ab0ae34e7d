"""The smallest useful build of each model: arguments for `create_model`. A model without one fails a test."""

from __future__ import annotations

from typing import Any

NARROW_RESNET = {"layers": [1, 1, 1, 1], "channels": [8, 16, 24, 32]}

TINY: dict[str, dict[str, Any]] = {
    "tsm": {
        "backbone": "resnet18",
        "backbone_args": NARROW_RESNET,
        "num_segments": 4,
        "crop_px": 32,
        "num_classes": 5,
    },
    "tsn": {
        "backbone": "resnet18",
        "backbone_args": NARROW_RESNET,
        "num_segments": 3,
        "crop_px": 32,
        "num_classes": 5,
    },
}
