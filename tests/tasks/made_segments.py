"""A data set of segments without videos: features that say plainly what is where."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from videozoo.contracts.features import Features
from videozoo.io.features import write_features

NAMES = ("dive", "run")
ROW_S = 0.5


def make_segments(out: Path, *, num_train: int = 8, num_val: int = 4, with_scores: bool = True) -> dict[str, str]:
    """Writes annotations and features `[t 4]`; says where, as the arguments of the data set `activitynet`.

    Column 0 is 1 inside a segment, columns 1 and 2 are 1 for its class, column 3 is noise.
    """
    rng = np.random.default_rng(0)
    database = {}
    for index in range(num_train + num_val):
        num_rows = int(rng.integers(40, 60))
        values = rng.normal(0, 0.05, (num_rows, 4)).astype(np.float32)
        scores = np.full((num_rows, 2), 0.5, np.float32)
        annotations = []
        for first in range(3, num_rows - 12, 14):
            start, length, label = first + int(rng.integers(4)), int(rng.integers(4, 9)), int(rng.integers(2))
            values[start : start + length, [0, 1 + label]] += 1
            scores[start : start + length] = np.eye(2, dtype=np.float32)[label]
            segment = [start * ROW_S, (start + length) * ROW_S]
            annotations.append({"segment": segment, "label": NAMES[label]})
        id_, duration_s = f"video_{index:02d}", num_rows * ROW_S
        subset = "training" if index < num_train else "validation"
        database[id_] = {"duration": duration_s, "subset": subset, "annotations": annotations}
        more = {"scores": scores, "class_names": NAMES} if with_scores else {}
        features = Features(values, stride_s=ROW_S, offset_s=ROW_S / 2, duration_s=duration_s, **more)
        write_features(out / "features", id_, features)
    (out / "annotations.json").write_text(json.dumps({"database": database}))
    return {"name": "activitynet", "path": str(out / "annotations.json"), "features": str(out / "features")}
