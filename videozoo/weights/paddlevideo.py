"""Names in PaddleVideo 2.x checkpoints (2021 to 2024)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from torch import nn

from videozoo.models.model import VideoModel
from videozoo.weights.keymap import KeyMap, Rename

__all__ = ["KEY_MAPS", "NORM_STATS", "resnet_block_letters"]

NORM_STATS: list[Rename] = [(r"\.running_mean$", "._mean"), (r"\.running_var$", "._variance")]


def resnet(model: VideoModel) -> KeyMap:
    """ResNet with blocks `res2a`, `res2b` ...: TSN and TSM."""
    return KeyMap(
        [
            (r"^backbone\.conv1\b", "backbone.conv._conv"),
            (r"^backbone\.bn1\b", "backbone.conv._batch_norm"),
            (r"\blayer(\d)\.(\d+)", lambda m: f"res{int(m[1]) + 1}{resnet_block_letters(model, m)}"),
            (r"\.conv(\d)\b", lambda m: f".conv{int(m[1]) - 1}._conv"),
            (r"\.bn(\d)\b", lambda m: f".conv{int(m[1]) - 1}._batch_norm"),
            (r"\.downsample\.0\b", ".short._conv"),
            (r"\.downsample\.1\b", ".short._batch_norm"),
            (r"^head\.", "head.fc."),
            *NORM_STATS,
        ],
        linear_in_out=True,
    )


def resnet_block_letters(model: nn.Module, match: re.Match[str]) -> str:
    """`layer3.2` is block c of its stage; the long third stage of ResNet-101 and 152 counts a, b1, b2 ..."""
    stage, block = match[1], int(match[2])
    if stage == "3" and block and len(model.get_submodule(f"backbone.layer{stage}")) > 6:  # type: ignore[arg-type]
        return f"b{block}"
    return chr(ord("a") + block)


KEY_MAPS: Mapping[str, Callable[[VideoModel], KeyMap]] = {
    "tsm": resnet,
    "tsn": resnet,
}
