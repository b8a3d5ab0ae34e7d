"""What can be done to a clip `[t c h w]`: pure functions, the same for all of its frames.

uint8 clips stay uint8, 0..255. Nothing here draws random numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from videozoo.errors import ConfigError

__all__ = [
    "Along",
    "Box",
    "Resize",
    "Snap",
    "center_box",
    "color_jitter",
    "crop",
    "multi_scale_boxes",
    "normalise",
    "resize",
    "resize_rounded",
    "scaled_size",
    "view_boxes",
]

Along = Literal["long_side", "width"]
Resize = Literal["pillow", "torch", "opencv", "float"]
Rounding = Literal["floor", "nearest"]
Snap = Literal["nearest", "floor", "ceil", "half", "quarter"]


class Box(NamedTuple):
    """A rectangle of a frame in pixels; `flip` says that it is to be mirrored once cut out."""

    top: int
    left: int
    height: int
    width: int
    flip: bool = False


# ---- size ------------------------------------------------------------------------------------------------


def scaled_size(
    height: int,
    width: int,
    short_side_px: int,
    *,
    force_ratio: float | None = None,
    rounding: Rounding = "floor",
) -> tuple[int, int]:
    """(height, width) with the short side at `short_side_px` and the long side in proportion.

    `force_ratio` makes long / short that number whatever the frame's shape, except for frames whose short
    side already fits: what PaddleVideo's `Scale` does with 4 / 3.
    """
    if min(height, width) == short_side_px:
        return height, width
    short, long = sorted((height, width))
    side = short_side_px * (force_ratio if force_ratio else long / short)
    long_px = int(side) if rounding == "floor" else round(side)
    return (short_side_px, long_px) if height < width else (long_px, short_side_px)


def resize(clip: Tensor, size: tuple[int, int], *, method: Resize = "torch") -> Tensor:
    """`clip` at `size` (height, width), bilinear.

    Args:
        method: how pixels are weighed when the picture shrinks.
            "torch"   over the area they cover;
            "pillow"  the same to the bit as Pillow does it: at most one grey level away, and slower;
            "opencv"  from the four nearest pixels, to the bit what cv2.resize does;
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


def resize_rounded(clip: Tensor, size: tuple[int, int]) -> Tensor:
    """Method "torch" where it has no kernel for bytes, which is on GPUs."""
    resized = _resize_area(clip.float(), size)
    return resized.round_().clamp_(0, 255).to(torch.uint8) if clip.dtype == torch.uint8 else resized


def _resize_area(clip: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(clip, size=size, mode="bilinear", antialias=True, align_corners=False)


def _resize_pillow(clip: Tensor, size: tuple[int, int]) -> Tensor:
    height, width = size
    frames = clip.permute(0, 2, 3, 1).contiguous().numpy()
    resized = [Image.fromarray(f).resize((width, height), Image.Resampling.BILINEAR) for f in frames]
    return torch.from_numpy(np.stack([np.asarray(f) for f in resized])).permute(0, 3, 1, 2)


def _resize_opencv(clip: Tensor, size: tuple[int, int]) -> Tensor:
    """cv2.INTER_LINEAR on bytes: weights of 11 bits, and 4 bits dropped between columns and rows."""
    top, bottom, wy = _linear_weights(clip.shape[-2], size[0])
    left, right, wx = _linear_weights(clip.shape[-1], size[1])
    wx = torch.where(left == right, 0, wx)  # cv2 does so for columns at the border, not for rows
    pixels = clip.contiguous()
    columns = (pixels.index_select(-1, left) * (2048 - wx) + pixels.index_select(-1, right) * wx) >> 4
    above = (columns.index_select(-2, top) * (2048 - wy)[:, None]) >> 16
    below = (columns.index_select(-2, bottom) * wy[:, None]) >> 16
    return ((above + below + 2) >> 2).to(torch.uint8)


def _linear_weights(source: int, target: int) -> tuple[Tensor, Tensor, Tensor]:
    """(index before, index after, weight of the latter in 0..2048) for each of `target` places."""
    place = (torch.arange(target, dtype=torch.float64) + 0.5) * (source / target) - 0.5
    place = place.to(torch.float32)
    before = place.floor()
    weight = ((place - before) * 2048).round().to(torch.int32)
    before = before.long()
    return before.clamp(min=0), (before + 1).clamp(max=source - 1), weight


# ---- crops -----------------------------------------------------------------------------------------------


def crop(clip: Tensor, box: Box) -> Tensor:
    """The part of `clip` inside `box`."""
    part = clip[..., box.top : box.top + box.height, box.left : box.left + box.width]
    return part.flip(-1) if box.flip else part


def center_box(height: int, width: int, size: int, *, snap: Snap = "nearest") -> Box:
    """The square of `size` px in the middle."""
    return view_boxes(height, width, size, 1, snap=snap)[0]


def view_boxes(
    height: int,
    width: int,
    size: int,
    crops: int,
    *,
    snap: Snap = "nearest",
    along: Along = "long_side",
) -> list[Box]:
    """The squares of `size` px that an evaluation protocol with that many crops looks at.

    1: the centre. 3: start, end and centre of the longer side, in this order (left, right, centre).
    5: the corners (top left, top right, bottom left, bottom right) and the centre.
    10: those five, each followed by its mirror image.

    Args:
        snap: where the middle lies when it falls between pixels: "nearest" (ties to even), "floor" or "ceil".
            Two more lay all crops on a grid, as PaddleVideo does, so that the far ones end some pixels before
            the border: "half" of the room (Video Swin, TimeSformer), "quarter" (ten crops, PP-TSM's three).
        along: "width" takes three crops from left to right of upright frames, too (PP-TSM, TokenShift).

    Raises:
        ConfigError: the frame is smaller than the crop, or there is no such protocol.
    """
    if size > min(height, width):
        raise ConfigError(f"crop: {size} px do not fit into {width}x{height} px; lower crop_px or raise short_side_px")
    y0, y1, y2 = _stops(height - size, snap)
    x0, x1, x2 = _stops(width - size, snap)
    center = (y1, x1)
    if crops == 1:
        places = [center]
    elif crops == 3 and (width >= height or along == "width"):
        places = [(y1, x0), (y1, x2), center]
    elif crops == 3:
        places = [(y0, x1), (y2, x1), center]
    elif crops in (5, 10):
        places = [(y0, x0), (y0, x2), (y2, x0), (y2, x2), center]
    else:
        raise ConfigError(f"crop: there is no protocol with {crops} crops; it takes 1, 3, 5 or 10")
    flips = (False, True) if crops == 10 else (False,)
    return [Box(top, left, size, size, flip) for top, left in places for flip in flips]


def _stops(room: int, snap: Snap) -> tuple[int, int, int]:
    if snap == "quarter":
        return 0, 2 * (room // 4), 4 * (room // 4)
    if snap == "half":
        return 0, room // 2, 2 * (room // 2)
    middle = {"nearest": round(room / 2), "floor": room // 2, "ceil": -(-room // 2)}[snap]
    return 0, middle, room


def multi_scale_boxes(
    height: int, width: int, scales: Sequence[float], *, max_distort: int = 1, more: bool = True
) -> Iterator[list[Box]]:
    """For each allowed crop shape, its boxes at the fixed places of TSN's multi-scale crop.

    Paper: TSN, arXiv:1608.00859, section 3.2. Sides are `scales` times the short side, those of one box at
    most `max_distort` scales apart. There are five places (corners and centre), or 13 with `more`.
    """
    sides = [int(min(height, width) * s) for s in scales]
    for i, h in enumerate(sides):
        for j, w in enumerate(sides):
            if abs(i - j) <= max_distort:
                y, x = (height - h) / 4, (width - w) / 4
                places = _PLACES[: 13 if more else 5]
                yield [Box(round(y * row), round(x * column), h, w) for row, column in places]


# rows and columns in quarters of the room: corners and centre; middles of the sides; centres of the quadrants
_PLACES = (
    *((0, 0), (0, 4), (4, 0), (4, 4), (2, 2)),
    *((2, 0), (2, 4), (4, 2), (0, 2)),
    *((1, 1), (1, 3), (3, 1), (3, 3)),
)


# ---- colour ----------------------------------------------------------------------------------------------


def color_jitter(
    clip: Tensor, *, brightness: float = 1.0, contrast: float = 1.0, saturation: float = 1.0, hue: float = 0.0
) -> Tensor:
    """`clip` with its colours changed by factors (1 changes nothing) and its hue shifted by turns."""
    from torchvision.transforms.v2 import functional as TF  # half of the package's import time, seldom used

    if brightness != 1:
        clip = TF.adjust_brightness(clip, brightness)
    if contrast != 1:
        clip = TF.adjust_contrast(clip, contrast)
    if saturation != 1:
        clip = TF.adjust_saturation(clip, saturation)
    return TF.adjust_hue(clip, hue) if hue else clip


def normalise(video: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """`(video / 255 - mean) / std` of `[... c h w]` in 0..255, as float32; mean and std are of 0..1."""
    scale = 1 / (255 * torch.tensor(std, dtype=torch.float64))
    shift = -torch.tensor(mean, dtype=torch.float64) / torch.tensor(std, dtype=torch.float64)
    scale, shift = (v.float().to(video.device)[:, None, None] for v in (scale, shift))
    return torch.addcmul(shift, video.float(), scale)
