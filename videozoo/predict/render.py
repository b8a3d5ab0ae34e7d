"""Draws the answers on a video."""

from __future__ import annotations

import bisect
import functools
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from videozoo.contracts.answer import BoxMark
from videozoo.contracts.video import VideoInfo
from videozoo.drawing.text import draw_text, fit, text_width, wrap
from videozoo.errors import ConfigError, DataError
from videozoo.io.audio import read_audio
from videozoo.io.cut import at_rate, steady_fps
from videozoo.io.encode import write_video
from videozoo.io.reader import TIME_SLACK_S
from videozoo.io.remux import add_sound
from videozoo.predict.draw import GREY, PALETTE, RGB, colours, leaders
from videozoo.predict.frames import Video, open_source
from videozoo.predict.prediction import Prediction, Window

__all__ = ["render"]

MIN_SIDE_PX = 256  # text on smaller frames is illegible
PANEL = (12, 14, 20, 150)
TRACK = (52, 56, 66, 165)  # replaces the panel's colour
INK = (255, 255, 255, 255)
SHADOW = (0, 0, 0, 230)


def render(video: Video, prediction: Prediction, out_path: str | os.PathLike[str], *, top: int = 3) -> Path:
    """Writes `video` with its `top` labels and their scores drawn along the lower edge; returns its path.

    Answers over time (windows, segments, sentences) change with the time, and a strip along the upper edge shows the
    best label of each moment and the current position; frames without an answer are unchanged. Text that is too long
    for a row is wrapped, like a subtitle. An answer's rectangles (`Answer.marks_at`) are drawn on the frames.
    Frames are upright and have an even size, small ones are enlarged; the sound is copied if possible. One frame is
    held at a time.

    Raises:
        DecodeError: the video cannot be read to its end.
        ConfigError: the ending of the file to write is not that of a container.
    """
    if top < 1:
        raise ConfigError(f"top: should be at least 1; got {top}")
    out = Path(out_path)
    out.parent.mkdir(parents=True, exist_ok=True)
    with open_source(video, fps=prediction.info.fps) as reader:
        fps = steady_fps(reader.info.fps)
        overlay = _Overlay(prediction, _size(reader.info), top)
        frames = (overlay.draw(frame, time_s) for time_s, frame in at_rate(reader))
        if not reader.info.has_audio:
            write_video(out, frames, fps=fps, preset="veryfast")
            return out
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=".render-") as folder:
            silent = Path(folder) / f"silent{out.suffix}"
            write_video(silent, frames, fps=fps, preset="veryfast")
            _with_sound(silent, reader.info, out, fps)
    return out


def _with_sound(silent: Path, info: VideoInfo, out: Path, fps: float) -> None:
    """Adds the sound of the source file to the rendered pictures."""
    try:
        add_sound(silent, info.path, out, start_s=info.start_s)
    except DataError:  # the container does not support the codec: encode the sound
        rate_hz = min(info.audio_rate_hz or 48000, 48000)
        with open_source(silent) as reader:
            pictures = (frame for _, frame in reader.stream())
            sound = read_audio(info.path, rate_hz=rate_hz)
            write_video(out, pictures, fps=fps, audio=sound, audio_rate_hz=rate_hz, preset="veryfast")


def _size(info: VideoInfo) -> tuple[int, int]:
    """Returns (width, height) of the rendered frames: even, the short side at least MIN_SIDE_PX."""
    scale = max(1.0, MIN_SIDE_PX / min(info.width_px, info.height_px))
    width, height = (max(2, 2 * round(side * scale / 2)) for side in (info.width_px, info.height_px))
    return width, height


class _Panel(NamedTuple):
    """A translucent picture, prepared for blending over a frame: (frame * share + light) / 256."""

    share: np.ndarray  # uint16 [h w 1], 0..256
    light: np.ndarray  # uint16 [h w 3]


class _Overlay:
    """Draws on frames: one picture for each window, blended into each of its frames."""

    def __init__(self, prediction: Prediction, size: tuple[int, int], top: int):
        self.size = size
        self.timeline = prediction.timeline
        self.starts_s = [window.start_s for window in self.timeline]
        self.length_s = max([prediction.info.duration_s, *(window.end_s for window in self.timeline)])
        is_whole = len(self.timeline) == 1 and self.timeline[0].end_s - self.timeline[0].start_s >= self.length_s
        self.moving = bool(prediction.windows) or not is_whole
        self.whole = None if prediction.windows or prediction.over_spans else prediction.answer
        self.colour = colours(leaders(self.timeline, len(PALETTE)))
        self.mark_colour: dict[str, RGB] = {}
        self.text_px = min(max(round(min(size) / 20), 15), 54)
        self.row_px = round(self.text_px * 1.7)
        self.pad_px = max(4, self.text_px // 3)
        self.strip_px = max(6, self.text_px // 2)
        self.rows = max(1, int(size[1] * 0.4) // self.row_px)
        self.top = min(top, self.rows)
        self._panel = functools.lru_cache(maxsize=2)(self._draw_panel)

    def draw(self, frame: np.ndarray, time_s: float) -> np.ndarray:
        """Returns the frame, uint8 `[h w c]`, with its answers drawn on it."""
        picture = np.array(frame)  # drawn on
        scale = (self.size[0] / picture.shape[1], self.size[1] / picture.shape[0])
        if picture.shape[1::-1] != self.size:
            picture = np.array(Image.fromarray(picture).resize(self.size, Image.Resampling.BILINEAR))
        index = bisect.bisect_right(self.starts_s, time_s + TIME_SLACK_S) - 1
        holds = index >= 0 and time_s < self.timeline[index].end_s - TIME_SLACK_S
        answer = self.timeline[index].answer if holds and self.whole is None else self.whole
        if answer is not None and (marks := answer.marks_at(time_s)):
            picture = self._draw_marks(picture, marks, scale)
        if holds:
            panel = self._panel(index)
            under = picture[self.size[1] - len(panel.share) :]
            under[:] = (under * panel.share + panel.light) >> 8
        if self.moving:
            self._draw_playhead(picture, time_s)
        return picture

    def _draw_marks(self, picture: np.ndarray, marks: Sequence[BoxMark], scale: tuple[float, float]) -> np.ndarray:
        """Draws rectangles with their text above them, or inside if there is no room above."""
        image = Image.fromarray(picture)
        pen = ImageDraw.Draw(image)
        width, height = self.size
        line_px = max(2, self.text_px // 8)
        for mark in marks:
            left, right = (min(max(x * scale[0], -line_px), width + line_px) for x in (mark.left_px, mark.right_px))
            top, bottom = (min(max(y * scale[1], -line_px), height + line_px) for y in (mark.top_px, mark.bottom_px))
            if right < 0 or left >= width or bottom < 0 or top >= height:
                continue
            colour = self._colour_of(mark)
            pen.rectangle((left, top, right, bottom), outline=colour, width=line_px)
            text = fit(mark.text, width - 2 * self.pad_px, self.text_px)
            if not text:
                continue
            tag_px = text_width(text, self.text_px) + 2 * self.pad_px
            x = min(max(left, 0), width - tag_px)
            y = top - self.row_px if top >= self.row_px else max(top, 0)
            pen.rectangle((x, y, x + tag_px, y + self.row_px), colour)
            self._write(pen, x + self.pad_px, y + self.row_px / 2, text, "lm")
        return np.array(image)

    def _colour_of(self, mark: BoxMark) -> RGB:
        """Returns the colour of the mark's key: the colour of that label, or the palette's next one."""
        key = mark.color_key or mark.text
        if key in self.colour:
            return self.colour[key]
        return self.mark_colour.setdefault(key, PALETTE[len(self.mark_colour) % len(PALETTE)])

    def _draw_panel(self, index: int) -> _Panel:
        """Draws the rows of one window."""
        pairs = self.timeline[index].answer.ranked(top=self.top)
        texts = [wrap(name, self._room(), self.text_px, most=self.rows - len(pairs) + 1) for name, _ in pairs]
        width, height = self.size[0], sum(map(len, texts)) * self.row_px + 2 * self.pad_px
        image = Image.new("RGBA", (width, height), PANEL)
        pen = ImageDraw.Draw(image)
        y = self.pad_px
        for (name, score), lines in zip(pairs, texts, strict=True):
            if len(lines) == 1:
                self._draw_row(pen, y, name, lines[0], score)
            else:
                self._draw_lines(pen, y, lines)
            y += len(lines) * self.row_px
        rgba = np.asarray(image).astype(np.uint16)
        weight = (rgba[..., 3:] * 256 + 127) // 255
        return _Panel(share=256 - weight, light=rgba[..., :3] * weight)

    def _room(self) -> float:
        """Returns the width available for a name: that of the row without the score."""
        return self.size[0] - 8 * self.pad_px - text_width("100%", self.text_px)

    def _draw_row(self, pen: ImageDraw.ImageDraw, y: int, name: str, text: str, score: float) -> None:
        left, right = 2 * self.pad_px, self.size[0] - 2 * self.pad_px
        bottom = y + self.row_px - self.pad_px // 2 - 1
        radius = self.pad_px // 2
        pen.rounded_rectangle((left, y, right, bottom), radius, TRACK)
        reach = left + round((right - left) * min(max(score, 0.0), 1.0))
        if reach - left >= 2:
            bar = (*self.colour.get(name, GREY), 235)
            pen.rounded_rectangle((left, y, reach, bottom), min(radius, (reach - left) // 2), bar)
        self._write(pen, left + self.pad_px, (y + bottom) / 2, text, "lm")
        self._write(pen, right - self.pad_px, (y + bottom) / 2, f"{score:.0%}", "rm")

    def _draw_lines(self, pen: ImageDraw.ImageDraw, y: int, lines: Sequence[str]) -> None:
        for line in lines:
            self._write(pen, self.size[0] / 2, y + self.row_px / 2, line, "mm")
            y += self.row_px

    def _write(self, pen: ImageDraw.ImageDraw, x: float, y: float, text: str, anchor: str) -> None:
        stroke = max(1, self.text_px // 14)
        draw_text(pen, (x, y), text, INK, self.text_px, anchor=anchor, stroke_width=stroke, stroke_fill=SHADOW)

    @functools.cached_property
    def _strip(self) -> np.ndarray:
        """The best label of each moment as colours, RGB `[h w 3]`."""
        image = Image.new("RGB", (self.size[0], self.strip_px), TRACK[:3])
        pen = ImageDraw.Draw(image)
        for window in self.timeline:
            colour = self.colour.get(_best(window), GREY)
            pen.rectangle((self._x(window.start_s), 0, self._x(window.end_s), self.strip_px), colour)
        return np.asarray(image)

    def _draw_playhead(self, picture: np.ndarray, time_s: float) -> None:
        x = self._x(time_s)
        picture[: self.strip_px] = self._strip
        picture[: self.strip_px, x:] //= 2  # dims the times after the current one
        picture[: self.strip_px + 2, max(0, x - 1) : x + 2] = 255

    def _x(self, time_s: float) -> int:
        return min(round(time_s / self.length_s * self.size[0]), self.size[0] - 1)


def _best(window: Window) -> str:
    return next((name for name, _ in window.answer.ranked(top=1)), "")
