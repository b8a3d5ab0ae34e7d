"""A picture of the answers over time: one lane per label, seconds from left to right."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from videozoo.contracts.answer import UNNAMED, Lane
from videozoo.contracts.video import Span
from videozoo.drawing.text import draw_text, fit, text_width
from videozoo.errors import ConfigError, counted
from videozoo.io.whole_file import whole_file
from videozoo.predict.draw import GREY, PALETTE, RGB, clock, colours, leaders
from videozoo.predict.prediction import Prediction, Window

__all__ = ["plot_timeline"]

WIDTH_PX = 1600
MARGIN_PX = 48
HEADER_PX = 132
STRIP_PX = 52
LANE_PX = 104
WORD_PX = 44
GAP_PX = 14
AXIS_PX = 72
TEXT_PX = 26

PAPER: RGB = (255, 255, 255)
LANE: RGB = (244, 245, 248)
RULE: RGB = (214, 217, 224)
INK: RGB = (28, 32, 40)
FAINT: RGB = (110, 116, 128)


def plot_timeline(prediction: Prediction, out_path: str | os.PathLike[str], *, top: int = 5) -> Path:
    """Writes a picture of the answers over time and gives its path.

    A strip at the top shows the best label of each moment; below, each of the `top` labels that win most has a lane
    with its probability from 0 to 100 % over time. Of segments each name has a lane (eight names, or `top` if that is
    more), each segment a bar as high as its score. For a sentence with attention, each word has a lane; darker means
    more attention.
    """
    if top < 1:
        raise ConfigError(f"top: should be at least 1; got {top}")
    timeline = prediction.timeline
    slides = bool(prediction.windows) and not prediction.over_spans
    spans = prediction.spans() if prediction.is_timed and not slides else None
    names = leaders(timeline, top if spans is None else max(top, len(PALETTE)))
    shaded = prediction.answer.lanes() if not prediction.windows else ()
    lanes = len(shaded) * WORD_PX + GAP_PX if shaded else len(names) * (LANE_PX + GAP_PX)
    image = Image.new("RGB", (WIDTH_PX, HEADER_PX + STRIP_PX + GAP_PX + lanes + AXIS_PX), PAPER)
    _Page(image, prediction, timeline, names, spans, shaded).draw()
    out = Path(out_path)
    out.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(out) as part:
        image.save(part)
    return out


class _Page:
    """The layout of one picture: positions of seconds and names."""

    def __init__(
        self,
        image: Image.Image,
        prediction: Prediction,
        timeline: Sequence[Window],
        names: Sequence[str],
        spans: Sequence[Span] | None,
        shaded: Sequence[Lane],
    ):
        self.pen = ImageDraw.Draw(image)
        self.prediction = prediction
        self.timeline = timeline
        self.names = names
        self.shaded = shaded
        self.colour = colours(names)
        self.scores = [dict(reversed(window.answer.ranked())) for window in timeline]
        self.spans = spans
        self.best = prediction.answer.noun if shaded else "best label"
        named = [*([lane.name for lane in shaded] or names), self.best]
        widest = max(text_width(name, TEXT_PX) for name in named)
        self.left = MARGIN_PX + min(int(widest), WIDTH_PX // 4) + 24
        self.right = WIDTH_PX - MARGIN_PX - 70  # leaves room for the scale
        self.end_s = max([prediction.info.duration_s, *(window.end_s for window in timeline), 1e-3])

    def x(self, time_s: float) -> float:
        return self.left + (self.right - self.left) * time_s / self.end_s

    def draw(self) -> None:
        self._header()
        y = HEADER_PX
        self._strip(y)
        y += STRIP_PX + GAP_PX
        ticks = _ticks(self.end_s, most=max(2, (self.right - self.left) // 110))
        if not self.shaded:
            for place, name in enumerate(self.names):
                self._lane(name, y, ticks, scale=place == 0)
                y += LANE_PX + GAP_PX
        else:
            darkest = max(lane.values.max() for lane in self.shaded)
            for lane in self.shaded:
                self._word(lane.name, y, lane.values / max(darkest, 1e-9), lane.times_s)
                y += WORD_PX
            y += GAP_PX
        self._axis(y - GAP_PX, ticks)

    def _header(self) -> None:
        width = WIDTH_PX - 2 * MARGIN_PX
        title = fit(Path(self.prediction.id).name, width, 38)
        draw_text(self.pen, (MARGIN_PX, 30), title, INK, 38)
        best = ", ".join(f"{name} {score:.0%}" for name, score in self.prediction.answer.ranked(top=3))
        line = f"whole video: {best}" if best else "nothing was found"
        if self.spans and not self.shaded:
            line = f"{len(self.spans)} found   |   {line}"
        elif windows := self.prediction.windows:
            line += f"   |   {counted(len(windows), 'window')} of {windows[0].end_s - windows[0].start_s:g} s"
        draw_text(self.pen, (MARGIN_PX, 82), fit(line, width, 24), FAINT, 24)

    def _strip(self, y: int) -> None:
        self._name(self.best, y + STRIP_PX / 2, FAINT)
        self.pen.rectangle((self.left, y, self.right, y + STRIP_PX), LANE)
        for start_s, end_s, name in _runs(self.timeline):
            x0, x1 = self.x(start_s), self.x(end_s)
            self.pen.rectangle((x0, y, max(x1, x0 + 1), y + STRIP_PX), self.colour.get(name, GREY))
            if text := fit(name, x1 - x0 - 16, TEXT_PX - 4):
                if text.endswith("…") and len(text) < 5:
                    continue
                draw_text(self.pen, ((x0 + x1) / 2, y + STRIP_PX / 2), text, PAPER, TEXT_PX - 4, anchor="mm")
            self.pen.line((x1, y, x1, y + STRIP_PX), PAPER, 2)

    def _lane(self, name: str, y: int, ticks: Sequence[float], *, scale: bool) -> None:
        base = y + LANE_PX
        self.pen.rectangle((self.left, y, self.right, base), LANE)
        for tick in ticks:
            self.pen.line((self.x(tick), y, self.x(tick), base), RULE, 1)
        middle = (self.left, y + LANE_PX // 2, self.right, y + LANE_PX // 2)
        if self.spans is None:
            self._curve(name, base)
            self.pen.line(middle, RULE, 1)
        else:
            self.pen.line(middle, RULE, 1)
            self._bars(name, base, self.spans)
        self.pen.line((self.left, base, self.right, base), FAINT, 2)
        self._name(name, y + LANE_PX / 2, INK)
        for text, at in (("100 %", y + 12), ("50", y + LANE_PX // 2), ("0", base - 10)) if scale else ():
            draw_text(self.pen, (self.right + 10, at), text, FAINT, 20, anchor="lm")

    def _curve(self, name: str, base: int) -> None:
        """Draws the score of each moment, as steps."""
        colour = self.colour[name]
        previous = base
        for window, scores in zip(self.timeline, self.scores, strict=True):
            score = min(max(scores.get(name, 0.0), 0.0), 1.0)
            level = round(base - score * (LANE_PX - 4))
            x0, x1 = round(self.x(window.start_s)), round(self.x(window.end_s))
            self.pen.rectangle((x0, level, x1, base), _tint(colour))
            self.pen.line((x0, level, x1, level), colour, 4)
            if window is not self.timeline[0]:
                self.pen.line((x0, previous, x0, level), colour, 4)
            previous = level

    def _bars(self, name: str, base: int, spans: Sequence[Span]) -> None:
        """Draws a bar with its score for each span, the best in front."""
        colour = self.colour[name]
        for span in sorted(spans, key=lambda span: span.score):
            if (span.label or UNNAMED) != name:
                continue
            level = round(base - min(max(span.score, 0.0), 1.0) * (LANE_PX - 4))
            x0, x1 = round(self.x(span.start_s)), round(self.x(span.end_s))
            self.pen.rectangle((x0, level, max(x1, x0 + 3), base), _tint(colour), outline=colour, width=3)
            score = f"{span.score:.0%}"
            room = text_width(score, 20) + 10
            if x1 - x0 > room and base - level > 30:
                draw_text(self.pen, ((x0 + x1) / 2, level + 8), score, INK, 20, anchor="mt")

    def _word(self, word: str, y: int, weights: np.ndarray, times_s: Sequence[float]) -> None:
        """Draws the attention of a word over time, from white to dark."""
        height = WORD_PX - 4
        middles = [0.0, *((a + b) / 2 for a, b in itertools.pairwise(times_s)), self.end_s]
        for (start_s, end_s), weight in zip(itertools.pairwise(middles), weights.tolist(), strict=True):
            shade = (round(c + (1 - weight) * (255 - c)) for c in PALETTE[0])
            self.pen.rectangle((self.x(start_s), y, self.x(end_s), y + height), tuple(shade))
        self.pen.rectangle((self.left, y, self.right, y + height), None, outline=RULE)
        self._name(word, y + height / 2, INK)

    def _name(self, name: str, y: float, ink: RGB) -> None:
        if name in self.colour:
            self.pen.rectangle((self.left - 10, y - LANE_PX / 2, self.left - 4, y + LANE_PX / 2), self.colour[name])
        text = fit(name, self.left - MARGIN_PX - 20, TEXT_PX)
        draw_text(self.pen, (self.left - 20, y), text, ink, TEXT_PX, anchor="rm")

    def _axis(self, y: int, ticks: Sequence[float]) -> None:
        step_s = ticks[1] - ticks[0] if len(ticks) > 1 else 1.0
        for tick in ticks:
            self.pen.line((self.x(tick), y, self.x(tick), y + 10), FAINT, 2)
            draw_text(self.pen, (self.x(tick), y + 18), clock(tick, step_s=step_s), FAINT, 22, anchor="mt")


def _runs(timeline: Sequence[Window]) -> list[tuple[float, float, str]]:
    """Returns (start_s, end_s, best name) of each run of windows with the same best name."""
    runs: list[tuple[float, float, str]] = []
    for window in timeline:
        name = next((name for name, _ in window.answer.ranked(top=1)), "")
        if runs and runs[-1][2] == name and math.isclose(runs[-1][1], window.start_s, abs_tol=1e-6):
            runs[-1] = (runs[-1][0], window.end_s, name)
        else:
            runs.append((window.start_s, window.end_s, name))
    return runs


def _ticks(end_s: float, *, most: int) -> list[float]:
    """Returns round times from 0 to the end, at most `most` steps."""
    steps = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200]
    step_s = next((s for s in steps if end_s / s <= most), 14400 * math.ceil(end_s / most / 14400))
    return [i * step_s for i in range(int(end_s / step_s + 1e-6) + 1)]


def _tint(colour: RGB) -> RGB:
    r, g, b = (round(0.35 * c + 0.65 * 255) for c in colour)
    return r, g, b
