"""Drawing shared by rendered videos and timelines: the fonts, the colours, text that fits."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence

from PIL import ImageDraw, ImageFont

from videozoo.predict.prediction import Window, ranked

__all__ = ["GREY", "PALETTE", "RGB", "clock", "colours", "fit", "font", "leaders", "wrap"]

RGB = tuple[int, int, int]

# told apart by people who see fewer colours, too (Okabe and Ito, 2008), a little softer; the order is by
# contrast
PALETTE: tuple[RGB, ...] = (
    (0, 114, 178),
    (230, 130, 0),
    (0, 158, 115),
    (204, 90, 160),
    (86, 180, 233),
    (213, 70, 30),
    (200, 175, 30),
    (120, 94, 160),
)
GREY: RGB = (150, 155, 165)


@functools.lru_cache(maxsize=32)
def font(size_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The font that comes with Pillow, at a height of about `size_px`."""
    return ImageFont.load_default(size=size_px)


def fit(draw: ImageDraw.ImageDraw, text: str, width_px: float, size_px: int) -> str:
    """`text`, or as much of its beginning as fits into `width_px`, with an ellipsis; possibly nothing."""
    face = font(size_px)
    if draw.textlength(text, font=face) <= width_px:
        return text
    for length in range(len(text) - 1, 0, -1):
        short = text[:length].rstrip() + "…"
        if draw.textlength(short, font=face) <= width_px:
            return short
    return ""


def wrap(draw: ImageDraw.ImageDraw, text: str, width_px: float, size_px: int, *, most: int) -> list[str]:
    """`text` in lines that fit into `width_px`, at most so many; the last one is shortened where it must be."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and (len(lines) == most or draw.textlength(longer, font=font(size_px)) <= width_px):
            lines[-1] = longer
        else:
            lines.append(word)
    return [fit(draw, line, width_px, size_px) for line in lines]


def clock(time_s: float, *, step_s: float = 1.0) -> str:
    """A time as it is read on a clock or an axis: 7 s, 7.5 s, 1:05, 2:03:10."""
    if time_s < 60 and step_s < 60:
        return f"{time_s:.1f} s" if step_s < 1 else f"{time_s:.0f} s"
    minutes, seconds = divmod(round(time_s), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def leaders(windows: Sequence[Window], top: int) -> list[str]:
    """The `top` names worth a colour: those that win most of the time, then the near winners."""
    won: dict[str, float] = {}
    best: dict[str, float] = {}
    for window in windows:
        pairs = ranked(window.answer)
        for place, (name, score) in enumerate(pairs):
            won[name] = won.get(name, 0.0) + (window.end_s - window.start_s if place == 0 else 0.0)
            best[name] = max(best.get(name, 0.0), score)
    return sorted(best, key=lambda name: (-won[name], -best[name]))[:top]


def colours(names: Iterable[str]) -> dict[str, RGB]:
    """A colour for each name, in order; they repeat after the palette's end."""
    return {name: PALETTE[i % len(PALETTE)] for i, name in enumerate(names)}
