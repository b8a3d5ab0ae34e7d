"""Rectangles of a frame and the sizes that frames are scaled to: numbers only, no pixels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from videozoo.errors import ConfigError

__all__ = [
    "Along",
    "Box",
    "Resize",
    "Rounding",
    "Snap",
    "center_box",
    "multi_scale_boxes",
    "scale_box",
    "scaled_size",
    "view_boxes",
]

Along = Literal["long_side", "width"]
Resize = Literal["pillow", "torch", "opencv", "float"]
Rounding = Literal["floor", "nearest"]
Snap = Literal["nearest", "floor", "ceil", "half", "quarter"]


class Box(NamedTuple):
    """A rectangle of a frame in pixels; `flip` means that its content is mirrored."""

    top: int
    left: int
    height: int
    width: int
    flip: bool = False


def scaled_size(
    height: int,
    width: int,
    short_side_px: int,
    *,
    force_ratio: float | None = None,
    rounding: Rounding = "floor",
) -> tuple[int, int]:
    """Returns (height, width) with the short side at `short_side_px` and the long side in proportion.

    `force_ratio` sets long / short to that number for every frame, except for frames whose short side already
    fits, like PaddleVideo's `Scale` with 4 / 3.
    """
    if min(height, width) == short_side_px:
        return height, width
    short, long = sorted((height, width))
    side = short_side_px * (force_ratio if force_ratio else long / short)
    long_px = int(side) if rounding == "floor" else round(side)
    return (short_side_px, long_px) if height < width else (long_px, short_side_px)


def center_box(height: int, width: int, size: int, *, snap: Snap = "nearest") -> Box:
    """Returns the square of `size` px in the middle."""
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
    """Returns the squares of `size` px of an evaluation protocol with that number of crops.

    1: the centre. 3: start, end and centre of the longer side, in this order (left, right, centre).
    5: the corners (top left, top right, bottom left, bottom right) and the centre.
    10: those five, each followed by its mirror image.

    Args:
        snap: how a middle between two pixels is rounded: "nearest" (ties to even), "floor" or "ceil".
            Two more put all crops on a grid, as PaddleVideo does, so that the last ones end some pixels before
            the border: "half" of the free space (Video Swin, TimeSformer), "quarter" (ten crops, PP-TSM's three).
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
        raise ConfigError(f"crop: there is no protocol with {crops} crops; use 1, 3, 5 or 10")
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
    """Returns for each allowed crop shape its boxes at the fixed places of TSN's multi-scale crop.

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


# rows and columns in quarters of the free space: corners and centre; middles of the sides; centres of the quadrants
_PLACES = (
    *((0, 0), (0, 4), (4, 0), (4, 4), (2, 2)),
    *((2, 0), (2, 4), (4, 2), (0, 2)),
    *((1, 1), (1, 3), (3, 1), (3, 3)),
)


def scale_box(box: Box, size: tuple[int, int], to_size: tuple[int, int]) -> Box:
    """Scales `box` from a frame of `size` (height, width) to the same frame at `to_size`."""
    top, bottom = (round(y * to_size[0] / size[0]) for y in (box.top, box.top + box.height))
    left, right = (round(x * to_size[1] / size[1]) for x in (box.left, box.left + box.width))
    top, left = min(top, to_size[0] - 1), min(left, to_size[1] - 1)
    return Box(top, left, max(bottom - top, 1), max(right - left, 1))
