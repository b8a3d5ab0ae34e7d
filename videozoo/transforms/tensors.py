"""Clip operations on torch tensors `[t c h w]`: training, evaluation and prediction with torch, on any device.

uint8 clips stay uint8, 0..255. No function draws random numbers. `transforms.arrays` has the same functions in numpy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torch.utils.data import default_collate

from videozoo.errors import ConfigError
from videozoo.shapes import Float, Num
from videozoo.transforms import collate as batches
from videozoo.transforms.geometry import Box, Resize

__all__ = [
    "clip_of",
    "collate",
    "color_jitter",
    "crop",
    "flip",
    "frames_of",
    "moved",
    "normalize",
    "pick",
    "resize",
    "resize_rounded",
    "size_of",
    "stack_views",
]


def clip_of(frames: Any) -> Num[Tensor, "_ _ _ _"]:
    """Returns a reader's frames `[t h w c]` as a clip `[t c h w]`, without a copy where torch takes their layout."""
    return _tensor_of(frames).permute(0, 3, 1, 2)


def frames_of(clip: Num[Tensor, "t c h w"]) -> Any:
    """Returns a clip as frames `[t h w c]`: an array, or a tensor where the clip is on another device."""
    frames = clip.permute(0, 2, 3, 1)
    return frames if clip.is_cuda else frames.contiguous().numpy()


def size_of(clip: Num[Tensor, "t c h w"]) -> tuple[int, int]:
    """Returns (height, width) of a clip's frames."""
    height, width = clip.shape[-2:]
    return height, width


def pick(clip: Num[Tensor, "t c h w"], places: np.ndarray) -> Num[Tensor, "_ c h w"]:
    """Returns the frames of a clip at `places` `[t]`."""
    return clip[_tensor_of(places)]


def stack_views(clips: Sequence[Num[Tensor, "t c h w"]]) -> Num[Tensor, "_ t c h w"]:
    """Returns clips of one shape as `[v t c h w]`, contiguous."""
    return torch.stack(list(clips)).contiguous()


def resize(clip: Num[Tensor, "t c h w"], size: tuple[int, int], *, method: Resize = "torch") -> Num[Tensor, "t c _ _"]:
    """Resizes `clip` to `size` (height, width), bilinear.

    Args:
        method: how pixels are weighted when the picture shrinks.
            "torch"   over the area they cover;
            "pillow"  the same, equal to Pillow to the bit: at most one grey level away from "torch", and slower;
            "opencv"  from the four nearest pixels, equal to cv2.resize to the bit;
            "float"   from the four nearest pixels, without rounding: gives float32.
    """
    if method == "float":
        return F.interpolate(clip.float(), size=size, mode="bilinear", align_corners=False)
    if tuple(clip.shape[-2:]) == tuple(size):
        return clip
    if method == "torch":
        return resize_rounded(clip, size) if clip.is_cuda else _resize_area(clip, size)
    if clip.dtype != torch.uint8:
        raise ConfigError(f"resize: method '{method}' takes uint8, got {clip.dtype}; use 'torch' or 'float'")
    return _resize_pillow(clip, size) if method == "pillow" else _resize_opencv(clip, size)


def resize_rounded(clip: Num[Tensor, "t c h w"], size: tuple[int, int]) -> Num[Tensor, "t c _ _"]:
    """Resizes by method "torch" on GPUs, where torch has no kernel for bytes."""
    resized = _resize_area(clip.float(), size)
    return resized.round_().clamp_(0, 255).to(torch.uint8) if clip.dtype == torch.uint8 else resized


def _resize_area(clip: Tensor, size: tuple[int, int]) -> Tensor:
    if size[1] == 1:  # torch scrambles the pixels when it writes one column of planar frames
        clip = clip.contiguous(memory_format=torch.channels_last)
    return F.interpolate(clip, size=size, mode="bilinear", antialias=True, align_corners=False)


def _resize_pillow(clip: Tensor, size: tuple[int, int]) -> Tensor:
    height, width = size
    frames = clip.permute(0, 2, 3, 1).contiguous().numpy()
    resized = [Image.fromarray(f).resize((width, height), Image.Resampling.BILINEAR) for f in frames]
    return torch.from_numpy(np.stack([np.asarray(f) for f in resized])).permute(0, 3, 1, 2)


def _resize_opencv(clip: Tensor, size: tuple[int, int]) -> Tensor:
    """Resizes bytes like cv2.INTER_LINEAR: weights of 11 bits, and 4 bits dropped between columns and rows."""
    top, bottom, wy = _linear_weights(clip.shape[-2], size[0])
    left, right, wx = _linear_weights(clip.shape[-1], size[1])
    wx = torch.where(left == right, 0, wx)  # cv2 clamps columns at the border, but not rows
    pixels = clip.contiguous()
    columns = (pixels.index_select(-1, left) * (2048 - wx) + pixels.index_select(-1, right) * wx) >> 4
    above = (columns.index_select(-2, top) * (2048 - wy)[:, None]) >> 16
    below = (columns.index_select(-2, bottom) * wy[:, None]) >> 16
    return ((above + below + 2) >> 2).to(torch.uint8)


def _linear_weights(source: int, target: int) -> tuple[Tensor, Tensor, Tensor]:
    """Returns (index before, index after, weight of the latter in 0..2048) for each of `target` places."""
    place = (torch.arange(target, dtype=torch.float64) + 0.5) * (source / target) - 0.5
    place = place.to(torch.float32)
    before = place.floor()
    weight = ((place - before) * 2048).round().to(torch.int32)
    before = before.long()
    return before.clamp(min=0), (before + 1).clamp(max=source - 1), weight


def crop(clip: Num[Tensor, "t c h w"], box: Box) -> Num[Tensor, "t c _ _"]:
    """Returns the part of `clip` inside `box`."""
    part = clip[..., box.top : box.top + box.height, box.left : box.left + box.width]
    return part.flip(-1) if box.flip else part


def flip(clip: Num[Tensor, "t c h w"]) -> Num[Tensor, "t c h w"]:
    """Mirrors each frame, left to right."""
    return clip.flip(-1)


def color_jitter(
    clip: Num[Tensor, "t c h w"],
    *,
    brightness: float = 1.0,
    contrast: float = 1.0,
    saturation: float = 1.0,
    hue: float = 0.0,
) -> Num[Tensor, "t c h w"]:
    """Changes the colours of `clip` by factors (1 changes nothing), and shifts its hue by turns."""
    from torchvision.transforms.v2 import functional as TF  # half of the package's import time, seldom used

    if brightness != 1:
        clip = TF.adjust_brightness(clip, brightness)
    if contrast != 1:
        clip = TF.adjust_contrast(clip, contrast)
    if saturation != 1:
        clip = TF.adjust_saturation(clip, saturation)
    return TF.adjust_hue(clip, hue) if hue else clip


def normalize(
    video: Num[Tensor, "... c h w"], mean: Sequence[float], std: Sequence[float]
) -> Float[Tensor, "... c h w"]:
    """Returns `(video / 255 - mean) / std` of `[... c h w]` in 0..255, as float32; mean and std are of 0..1."""
    scale = 1 / (255 * torch.tensor(std, dtype=torch.float64))
    shift = -torch.tensor(mean, dtype=torch.float64) / torch.tensor(std, dtype=torch.float64)
    scale, shift = (v.float().to(video.device)[:, None, None] for v in (scale, shift))
    return torch.addcmul(shift, video.float(), scale)


# ---- batches ---------------------------------------------------------------------------------------------


def collate(samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Makes one batch of samples with `transforms.collate`, its arrays and numbers as tensors."""
    return batches.collate(samples, stack=_stack)


def _stack(values: Sequence[Any]) -> Tensor:
    stacked: Tensor = default_collate([_tensor_of(v) for v in values])  # in shared memory if this is a worker
    return stacked


def moved(batch: Mapping[str, Any], device: torch.device | str) -> dict[str, Any]:
    """Moves the tensors and arrays of a batch to `device`; everything else stays."""
    tensors = {k: _tensor_of(v) if isinstance(v, np.ndarray) else v for k, v in batch.items()}
    return {k: v.to(device, non_blocking=True) if isinstance(v, Tensor) else v for k, v in tensors.items()}


def _tensor_of(values: Any) -> Tensor:
    """Returns an array or a number as a tensor, copied only where torch cannot share it: if mirrored or read-only."""
    if isinstance(values, np.ndarray) and (min(values.strides, default=0) < 0 or not values.flags.writeable):
        values = values.copy()
    return torch.as_tensor(values)
