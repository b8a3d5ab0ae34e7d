"""Resizing, crops and whole evaluation pipelines of PaddleVideo 2.x, over frames of five shapes.

uint8 results are compared by hash, to the bit; float results at 2,048 places, and by mean and standard
deviation.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.parity.arrays import load_file
from tests.parity.rule import rel_err, slice_of
from videozoo.transforms.geometry import Along, Resize, Snap, scaled_size, view_boxes
from videozoo.transforms.tensors import crop, normalize, resize

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
GREY = (0.45,) * 3, (0.225,) * 3
HALF = (0.5,) * 3, (0.5,) * 3
UNIT = (0.0,) * 3, (1.0,) * 3


def matches(folder: Path, manifest: Mapping[str, Any]) -> bool:
    return (folder / "transforms.npz").is_file()


def compare(folder: Path, manifest: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    stored = load_file(folder / "transforms.npz")
    for name, case in manifest["cases"].items():
        shape, texture, pipeline = name.split("/")
        frames = _frames(manifest["shapes_THW"][shape], texture, manifest["seed_of_noise"])
        ours = np.ascontiguousarray(PIPELINES[pipeline](torch.from_numpy(frames).permute(0, 3, 1, 2)).numpy())
        yield name, _error(ours, case, stored.get(f"{name}/slice"))


def _error(ours: np.ndarray, case: Mapping[str, Any], stored: Any) -> float:
    if list(ours.shape) != case["shape"] or str(ours.dtype) != case["dtype"]:
        return math.inf
    if case["sha256"]:
        return float(hashlib.sha256(ours.tobytes()).hexdigest() != case["sha256"])
    wide = ours.astype(np.float64)
    scale = np.abs(stored).max()
    moments = abs(wide.mean() - case["mean"]) / scale, abs(wide.std() - case["std"]) / scale
    return max(rel_err(slice_of(ours, min(2048, ours.size)), stored), *moments)


def _frames(shape: list[int], texture: str, seed: int) -> np.ndarray:
    if texture == "noise":
        rng = np.random.Generator(np.random.PCG64(seed))
        return rng.integers(0, 256, (*shape, 3)).astype(np.uint8)
    k, y, x = np.indices(shape)
    colours = [3 * x + 7 * k, 2 * y + x + 5 * k, x * y // 37 + 11 * k]
    return (np.stack(colours, -1) % 256).astype(np.uint8)


def _scaled(
    clip: Tensor, px: int, *, method: Resize = "pillow", four_thirds: bool = False, nearest: bool = False
) -> Tensor:
    size = scaled_size(
        *clip.shape[-2:],
        px,
        force_ratio=4 / 3 if four_thirds else None,
        rounding="nearest" if nearest else "floor",
    )
    return resize(clip, size, method=method)


def _views(
    clip: Tensor, px: int, crops: int, *, snap: Snap = "nearest", along: Along = "long_side", first: int = 0
) -> Tensor:
    """All frames of one crop, then all of the next; `first` is the crop that the original begins with."""
    boxes = view_boxes(*clip.shape[-2:], px, crops, snap=snap, along=along)
    return torch.cat([crop(clip, box) for box in boxes[first:] + boxes[:first]])


def _thwc(clip: Tensor) -> Tensor:
    return clip.permute(0, 2, 3, 1)


def _cthw(clip: Tensor) -> Tensor:
    return clip.transpose(0, 1)


def _slowfast(clip: Tensor, crop_index: int) -> Tensor:
    """Crops 0, 1 and 2 are left, centre and right."""
    scaled = _scaled(clip, 256)
    left, right, center = view_boxes(*scaled.shape[-2:], 256, 3, snap="ceil")
    return _thwc(crop(scaled, (left, center, right)[crop_index]))


def _tsn(clip: Tensor, crops: int = 1) -> Tensor:
    scaled = _scaled(clip, 256, method="opencv", nearest=True)
    return _views(scaled, 224, crops, snap="quarter" if crops == 10 else "nearest")


def _tsm(clip: Tensor) -> Tensor:
    return _views(_scaled(clip, 256), 224, 1)


def _pptsm(clip: Tensor, crops: int = 1) -> Tensor:
    snap: Snap = "quarter" if crops == 3 else "nearest"
    return _views(_scaled(clip, 256, four_thirds=True), 224, crops, snap=snap, along="width")


def _swin(clip: Tensor) -> Tensor:
    return _views(_scaled(clip, 224, method="opencv", nearest=True), 224, 3, snap="half")


PIPELINES: Mapping[str, Callable[[Tensor], Tensor]] = {
    "scale256_pillow_default(fixed_ratio)": lambda x: _thwc(_scaled(x, 256, four_thirds=True)),
    "scale256_pillow_fixed_ratioF": lambda x: _thwc(_scaled(x, 256)),
    "scale256_cv2_round(fixed_ratioF)": lambda x: _thwc(_scaled(x, 256, method="opencv", nearest=True)),
    "scale256_cv2_noround(fixed_ratioF)": lambda x: _thwc(_scaled(x, 256, method="opencv")),
    "scale192_pillow_default": lambda x: _thwc(_scaled(x, 192, four_thirds=True)),
    "swin_scale224_keep_cv2_round": lambda x: _thwc(_scaled(x, 224, method="opencv", nearest=True)),
    "swin_valid": lambda x: _cthw(normalize(_tsn(x), *IMAGENET)),
    "swin_test": lambda x: _cthw(normalize(_swin(x), *IMAGENET)),
    "swin_test_uint8": lambda x: _thwc(_swin(x)),
    "tsn_valid": lambda x: normalize(_tsn(x), *IMAGENET),
    "tsn_valid_uint8": lambda x: _thwc(_tsn(x)),
    "tsn_test_tencrop": lambda x: normalize(_tsn(x, 10), *IMAGENET),
    "tsn_test_tencrop_uint8": lambda x: _thwc(_tsn(x, 10)),
    "tsm_valid": lambda x: normalize(_tsm(x), *IMAGENET),
    "tsm_valid_uint8": lambda x: _thwc(_tsm(x)),
    "pptsm_valid": lambda x: normalize(_pptsm(x), *IMAGENET),
    "pptsm_valid_uint8": lambda x: _thwc(_pptsm(x)),
    "pptsm_dense_test_uint8": lambda x: _thwc(_pptsm(x, 3)),
    "movinet_valid": lambda x: normalize(_views(_scaled(x, 192, four_thirds=True), 172, 1), *IMAGENET),
    "slowfast_test_crop0_uint8": lambda x: _slowfast(x, 0),
    "slowfast_test_crop1_uint8": lambda x: _slowfast(x, 1),
    "slowfast_test_crop2_uint8": lambda x: _slowfast(x, 2),
    "slowfast_test_crop1_norm": lambda x: _thwc(normalize(_slowfast(x, 1).permute(0, 3, 1, 2), *GREY)),
    "timesformer_test": lambda x: _cthw(normalize(_views(_scaled(x, 224, method="float"), 224, 3, snap="half"), *GREY)),
    "pptimesformer_test": lambda x: _cthw(
        normalize(_views(_scaled(x, 224, method="float"), 224, 3, snap="half"), *UNIT)
    ),
    "pptimesformer_valid": lambda x: _cthw(normalize(_views(_scaled(x, 256, method="float"), 224, 1), *UNIT)),
    "tokenshift_test": lambda x: _cthw(
        normalize(_views(_scaled(x, 256, method="float"), 256, 3, along="width", first=2), *HALF)
    ),
}
