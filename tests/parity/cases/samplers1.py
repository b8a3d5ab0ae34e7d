"""Frame indices, resizing, crops, bytes and C-TCN's targets of the readers of 2019 and 2020.

Left out, because ours means something else on purpose: Non-local's ten test starts, which run over the whole
video and wrap at its end, and its outer crops, which lie along the shorter side; and a square that is forced
to 4:3, which becomes upright with us, as in PaddleVideo 2.x, and lying there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.parity.arrays import load
from tests.parity.cases.sampling import PythonRandom
from tests.parity.rule import rel_err
from videozoo.decoding.anchors import anchors, encode
from videozoo.io.features import dequantize
from videozoo.io.sample import Indices, segments, windows
from videozoo.transforms.geometry import center_box, multi_scale_boxes, scaled_size
from videozoo.transforms.tensors import crop, normalize, resize

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
GREY = (0.45,) * 3, (0.225,) * 3


def matches(folder: Path, manifest: Mapping[str, Any]) -> bool:
    return "tsm_multi_scale_crop_341x256_seeds0to5" in manifest.get("results", {})


def compare(folder: Path, manifest: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for name, expected in manifest["results"].items():
        if found := re.fullmatch(r"(pkl|mp4)_len(\d+)_seg(\d+)_seglen(\d+)", name):
            reader, (num_frames, num_segments, length) = found[1], map(int, found.groups()[1:])
            for mode, rng in {"eval": None, "train_random_seed7": PythonRandom(7)}.items():
                ours = _segments(reader, num_frames, num_segments, length, rng)
                yield f"{name}/{mode}", _differs(ours, expected[mode])
        elif found := re.fullmatch(r"nonlocal_len(\d+)_train_random_seed3", name):
            yield name, _differs(_window(int(found[1])), expected)
        elif found := re.fullmatch(r"attention_cluster_idx_len(\d+)_seg10_npseed11", name):
            yield name, _differs(_segments("cluster", int(found[1]), 10, 1, _LegacyNumpy(11)), expected)
    for size, (width, height) in manifest["results"]["group_scale_256"].items():
        w, h = map(int, size.split("x"))
        if size != "255x255":
            yield f"group_scale/{size}", float(scaled_size(h, w, 256, force_ratio=4 / 3) != (height, width))
    boxes = [box for places in multi_scale_boxes(256, 341, (1, 0.875, 0.75, 0.66)) for box in places]
    for i, (left, top, right, bottom) in enumerate(manifest["results"]["tsm_multi_scale_crop_341x256_seeds0to5"]):
        box = (round(top), round(left), int(bottom - top), int(right - left), False)
        yield f"multi_scale/seed{i}", float(box not in boxes)
    stored = load(folder)
    yield from _images(stored)
    ours = dequantize(np.arange(256, dtype=np.uint8))
    yield "dequantize", rel_err(ours, stored["dequant_0_255"])
    yield from _ctcn(stored)


def _images(stored: Mapping[str, np.ndarray]) -> Iterator[tuple[str, float]]:
    clip = _tchw(stored["img_in"])
    scaled = resize(clip, scaled_size(*clip.shape[-2:], 48, force_ratio=4 / 3), method="pillow")
    ours = normalize(crop(scaled, center_box(*scaled.shape[-2:], 40)), *IMAGENET)
    yield "imgs_eval", rel_err(ours, stored["imgs_eval_short48_crop40"])
    yield "imgs_stnet", rel_err(ours.reshape(1, 6, 40, 40), stored["imgs_stnet_seg1_seglen2"])

    clip = _tchw(stored["nl_in"])
    scaled = resize(clip, scaled_size(*clip.shape[-2:], 32, rounding="nearest"), method="opencv")
    yield "nl_resized", rel_err(scaled.permute(0, 2, 3, 1), stored["nl_resized"])
    ours = normalize(crop(scaled[:1], center_box(*scaled.shape[-2:], 24, snap="floor")), *GREY)
    yield "nl_center", rel_err(ours.transpose(0, 1), stored["nl_center_pos1"])


def _ctcn(stored: Mapping[str, np.ndarray]) -> Iterator[tuple[str, float]]:
    """C-TCN's targets of 90 rows, seen as 512."""
    labels = stored["ctcn_move_labels"]
    yield "ctcn_labels", rel_err(labels, stored["ctcn_crop_labels"])
    segments = stored["ctcn_crop_boxes"] * 512 / len(stored["ctcn_feat"])
    yield "ctcn_resize_boxes", rel_err(segments, stored["ctcn_resize_boxes"])
    offsets, classes = encode(segments, labels, anchors(), skip_lone_anchor=True)
    learnt = classes > 0
    yield "ctcn_valid_cls", rel_err(classes, stored["ctcn_valid_cls"])
    yield "ctcn_valid_loc", rel_err(offsets[learnt], stored["ctcn_valid_loc"][learnt])


def _tchw(frames: np.ndarray) -> Tensor:
    return torch.from_numpy(frames).permute(0, 3, 1, 2)


def _segments(reader: str, num_frames: int, num_segments: int, length: int, rng: Any) -> Indices:
    if reader == "cluster":
        return segments(num_frames, num_segments, rng=rng)
    if reader == "mp4" and rng is None and num_frames // num_segments >= length:  # the first frame is centred
        starts = segments(num_frames, num_segments, split="floor")
        return (starts[..., None] + np.arange(length)).reshape(1, -1) % num_frames
    return segments(num_frames, num_segments, segment_frames=length, split="floor", short="wrap", rng=rng)


def _window(num_frames: int) -> Indices:
    rng: Any = PythonRandom(3)
    return windows(num_frames, 8, stride=8, short="wrap", rng=rng)


class _LegacyNumpy:
    """`np.random.seed` and `rand` behind the interface of numpy's generators."""

    def __init__(self, seed: int):
        self._random = np.random.RandomState(seed)

    def random(self, size: tuple[int, ...]) -> np.ndarray:
        return self._random.random_sample(size)


def _differs(ours: Indices, expected: Any) -> float:
    return float(not np.array_equal(ours.ravel(), expected))
