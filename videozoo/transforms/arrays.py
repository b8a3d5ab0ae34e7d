"""Clip operations in numpy and Pillow, on frames `[t h w c]`: evaluation transforms where torch is not installed.

The functions are those of `transforms.tensors`. Resize methods "pillow" and "opencv" are equal to the bit, "float" to
rounding; "torch" is Pillow's bilinear here, at most one grey level away.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from videozoo.errors import ConfigError
from videozoo.transforms.geometry import Box, Resize

__all__ = [
    "clip_of",
    "color_jitter",
    "crop",
    "flip",
    "frames_of",
    "normalize",
    "pick",
    "resize",
    "size_of",
    "stack_views",
]


def clip_of(frames: Any) -> np.ndarray:
    """Returns a reader's frames `[t h w c]` unchanged."""
    return np.asarray(frames)


def frames_of(clip: np.ndarray) -> np.ndarray:
    """Returns a clip as frames `[t h w c]`."""
    return clip


def size_of(clip: np.ndarray) -> tuple[int, int]:
    """Returns (height, width) of a clip's frames."""
    return clip.shape[1], clip.shape[2]


def pick(clip: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Returns the frames of a clip at `places` `[t]`."""
    picked: np.ndarray = clip[places]
    return picked


def stack_views(clips: Sequence[np.ndarray]) -> np.ndarray:
    """Returns clips of one shape as `[v t c h w]`, contiguous."""
    return np.ascontiguousarray(np.stack(clips).transpose(0, 1, 4, 2, 3))


def resize(clip: np.ndarray, size: tuple[int, int], *, method: Resize = "torch") -> np.ndarray:
    """Returns `clip` at `size` (height, width), bilinear; see `transforms.tensors.resize` for the methods."""
    if method == "float":
        return _resize_float(clip, size)
    if size_of(clip) == tuple(size):
        return clip
    if clip.dtype != np.uint8:
        raise ConfigError(f"resize: method '{method}' takes uint8, got {clip.dtype}; use 'float'")
    return _resize_opencv(clip, size) if method == "opencv" else _resize_pillow(clip, size)


def crop(clip: np.ndarray, box: Box) -> np.ndarray:
    """Returns the part of `clip` inside `box`."""
    part = clip[:, box.top : box.top + box.height, box.left : box.left + box.width]
    return flip(part) if box.flip else part


def flip(clip: np.ndarray) -> np.ndarray:
    """Mirrors each frame, left to right."""
    return clip[:, :, ::-1]


def color_jitter(
    clip: np.ndarray, *, brightness: float = 1.0, contrast: float = 1.0, saturation: float = 1.0, hue: float = 0.0
) -> np.ndarray:
    """Refuses to change colors, which only training does.

    Raises:
        ConfigError: always.
    """
    raise ConfigError("input.augment: training transforms need torch; run: pip install 'videozoo[torch]'")


def normalize(video: np.ndarray, mean: Sequence[float], std: Sequence[float]) -> np.ndarray:
    """Returns `(video / 255 - mean) / std` of `[... c h w]` in 0..255, as float32; mean and std are of 0..1."""
    scale = (1 / (255 * np.asarray(std, np.float64))).astype(np.float32)[:, None, None]
    shift = (-np.asarray(mean, np.float64) / np.asarray(std, np.float64)).astype(np.float32)[:, None, None]
    normalized: np.ndarray = video.astype(np.float32)
    normalized *= scale
    normalized += shift
    return normalized


def _resize_pillow(clip: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    height, width = size
    frames = np.ascontiguousarray(clip)
    resized = [Image.fromarray(frame).resize((width, height), Image.Resampling.BILINEAR) for frame in frames]
    return np.stack([np.asarray(frame) for frame in resized])


def _resize_float(clip: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Interpolates the four nearest pixels without rounding; returns float32."""
    top, bottom, wy = _linear_weights(clip.shape[1], size[0])
    left, right, wx = _linear_weights(clip.shape[2], size[1])
    wx, wy = wx[:, None], wy[:, None, None]
    pixels = clip.astype(np.float32)
    rows = pixels[:, top] * (1 - wy) + pixels[:, bottom] * wy
    resized: np.ndarray = rows[:, :, left] * (1 - wx) + rows[:, :, right] * wx
    return resized


def _resize_opencv(clip: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes bytes like cv2.INTER_LINEAR: weights of 11 bits, and 4 bits dropped between columns and rows."""
    top, bottom, wy = _fixed_weights(clip.shape[1], size[0])
    left, right, wx = _fixed_weights(clip.shape[2], size[1])
    wx = np.where(left == right, 0, wx)  # cv2 clamps columns at the border, but not rows
    wx, wy = wx[:, None], wy[:, None, None]
    pixels = clip.astype(np.int32)
    columns = (pixels[:, :, left] * (2048 - wx) + pixels[:, :, right] * wx) >> 4
    above = (columns[:, top] * (2048 - wy)) >> 16
    below = (columns[:, bottom] * wy) >> 16
    resized: np.ndarray = ((above + below + 2) >> 2).astype(np.uint8)
    return resized


def _linear_weights(source: int, target: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns (index before, index after, weight of the latter in 0..1) for `target` places, clamped at the borders."""
    scale = float(np.float32(source) / np.float32(target))
    place = np.maximum((np.arange(target) + 0.5) * scale - 0.5, 0).astype(np.float32)  # rounded once, as torch does
    before = np.minimum(place.astype(np.int64), source - 1)
    return before, np.minimum(before + 1, source - 1), (place - before).astype(np.float32)


def _fixed_weights(source: int, target: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the same with weights in 0..2048, extrapolated beyond the borders."""
    place = ((np.arange(target, dtype=np.float64) + 0.5) * (source / target) - 0.5).astype(np.float32)
    before = np.floor(place)
    weight = np.rint((place - before) * 2048).astype(np.int32)
    index = before.astype(np.int64)
    return index.clip(min=0), (index + 1).clip(max=source - 1), weight
