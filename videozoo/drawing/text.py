"""Draws text in any script, for all pictures of the package."""

from __future__ import annotations

import bisect
import functools
import itertools
import unicodedata
from typing import Any, NamedTuple

from PIL import ImageDraw

from videozoo.drawing.fonts import SHIPPED, FontFile, font_of, has_glyph, opened

__all__ = ["draw_text", "fit", "line_height", "text_width", "wrap"]


class Run(NamedTuple):
    """A run of text in one font."""

    text: str
    file: FontFile


@functools.lru_cache(maxsize=4096)
def runs(text: str) -> tuple[Run, ...]:
    """Splits `text` into runs of one font each, in order.

    A letter without a font becomes its code, `[53D8]`, so that different names stay different. Accents and spaces
    stay with the preceding letter; control characters become spaces.
    """
    pieces: list[Run] = []
    for character in unicodedata.normalize("NFC", text):
        if unicodedata.category(character) == "Cf":  # joiners and direction marks have no glyph
            continue
        if not character.isprintable():
            character = " "
        is_accent = unicodedata.combining(character) and pieces and has_glyph(pieces[-1].file, character)
        if pieces and (is_accent or character == " "):
            last = pieces.pop()
            pieces.append(Run(last.text + character, last.file))
            continue
        file = font_of(character)
        pieces.append(Run(f"[{ord(character):04X}]", SHIPPED) if file is None else Run(character, file))
    groups = itertools.groupby(pieces, key=lambda run: run.file)
    return tuple(Run("".join(run.text for run in group), file) for file, group in groups)


def text_width(text: str, size_px: int) -> float:
    """Returns the width of `text` in pixels."""
    return sum(opened(file, size_px).getlength(part) for part, file in runs(text))


def line_height(size_px: int) -> int:
    """Returns the height of a line in pixels, from the highest accent to the lowest descender."""
    return sum(opened(SHIPPED, size_px).getmetrics())


def draw_text(
    pen: ImageDraw.ImageDraw,
    place: tuple[float, float],
    text: str,
    ink: Any,
    size_px: int,
    *,
    anchor: str = "la",
    stroke_width: int = 0,
    stroke_fill: Any = None,
) -> None:
    """Draws one line of `text`, all fonts on one baseline.

    Args:
        place: x and y of the anchor point in pixels.
        ink: the color.
        anchor: horizontally l, m or r (left, middle, right), vertically a, t, m, s, b or d (ascender, top of the
            letters, middle, baseline, bottom of the letters, descender), as Pillow's text anchors.
    """
    parts = runs(text)
    x = place[0] - text_width(text, size_px) * {"l": 0.0, "m": 0.5, "r": 1.0}[anchor[0]]
    y = place[1] - _height(parts, size_px, anchor[1])
    for part, file in parts:
        face = opened(file, size_px)
        pen.text((x, y), part, ink, face, "ls", stroke_width=stroke_width, stroke_fill=stroke_fill)
        x += face.getlength(part)


def _height(parts: tuple[Run, ...], size_px: int, anchor: str) -> float:
    """Returns the distance of an anchor below the baseline in pixels; negative above it."""
    ascent, descent = opened(SHIPPED, size_px).getmetrics()
    if anchor in "tb":
        boxes = [opened(file, size_px).getbbox(part, anchor="ls") for part, file in parts]
        return min((box[1] for box in boxes), default=0) if anchor == "t" else max((b[3] for b in boxes), default=0)
    return {"a": -ascent, "m": (descent - ascent) / 2, "s": 0.0, "d": descent}[anchor]


def fit(text: str, width_px: float, size_px: int) -> str:
    """Returns `text`, shortened with an ellipsis to fit into `width_px`; possibly empty."""
    if text_width(text, size_px) <= width_px:
        return text
    lengths = range(1, len(text))
    count = bisect.bisect_right(lengths, width_px, key=lambda length: text_width(_shortened(text, length), size_px))
    return _shortened(text, count) if count else ""


def _shortened(text: str, length: int) -> str:
    return text[:length].rstrip() + "…"


def wrap(text: str, width_px: float, size_px: int, *, most: int) -> list[str]:
    """Returns `text` in at most `most` lines that fit into `width_px`; the last one is shortened if necessary.

    Lines break at spaces, and between letters in scripts without spaces.
    """
    lines: list[str] = []
    for word, glue in _words(text):
        longer = f"{lines[-1]}{glue}{word}" if lines else word
        if lines and (len(lines) == most or text_width(longer, size_px) <= width_px):
            lines[-1] = longer
        else:
            lines.append(word)
    return [fit(line, width_px, size_px) for line in lines]


def _words(text: str) -> list[tuple[str, str]]:
    """Splits text into (word, preceding space); each East Asian letter is a word without a space."""
    found: list[tuple[str, str]] = []
    for word in text.split():
        glue = " "
        for is_wide, group in itertools.groupby(word, key=lambda c: unicodedata.east_asian_width(c) in "WF"):
            for piece in list(group) if is_wide else ["".join(group)]:
                found.append((piece, glue))
                glue = ""
    return found
