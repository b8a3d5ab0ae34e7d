"""A video with its answers drawn on it."""

from __future__ import annotations

import bisect
import functools
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from videozoo.errors import ConfigError, DataError
from videozoo.io.audio import read_audio
from videozoo.io.decode import VideoReader
from videozoo.io.encode import write_video
from videozoo.io.remux import add_sound
from videozoo.predict.draw import GREY, PALETTE, colours, fit, font, leaders
from videozoo.predict.frames import Video, open_source
from videozoo.predict.prediction import Prediction, ranked
from videozoo.types import VideoInfo

__all__ = ["render"]

MIN_SIDE_PX = 256  # text on less cannot be read
MIN_FPS, MAX_FPS = 10.0, 60.0  # a file whose frames come irregularly may state less on average
PANEL = (12, 14, 20, 150)
TRACK = (52, 56, 66, 165)  # replaces the panel where it is drawn
INK = (255, 255, 255, 255)
SHADOW = (0, 0, 0, 230)


def render(video: Video, prediction: Prediction, out_path: str | os.PathLike[str], *, top: int = 3) -> Path:
    """Writes `video` with its `top` labels and their probabilities drawn along the lower edge; gives its
    path.

    With windows the labels follow the time, and a strip along the upper edge shows the best label of each
    moment and where in the video one is. Frames are upright and of even size, small ones enlarged; the sound
    is kept as it is. One frame is held at a time.

    Raises:
        DecodeError: the video cannot be read to its end.
        ConfigError: the name of the file to write ends in something that no container has.
    """
    if top < 1:
        raise ConfigError(f"top: should be at least 1; got {top}")
    out = Path(out_path)
    out.parent.mkdir(parents=True, exist_ok=True)
    with open_source(video, fps=prediction.info.fps) as reader:
        fps = min(max(reader.info.fps, MIN_FPS), MAX_FPS)
        overlay = _Overlay(prediction, _size(reader.info), top)
        frames = (overlay.draw(frame, time_s) for time_s, frame in _at_rate(reader, fps))
        if not reader.info.has_audio:
            write_video(out, frames, fps=fps, preset="veryfast")
            return out
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=".render-") as folder:
            silent = Path(folder) / f"silent{out.suffix}"
            write_video(silent, frames, fps=fps, preset="veryfast")
            _with_sound(silent, reader.info, out, fps)
    return out


def _with_sound(silent: Path, info: VideoInfo, out: Path, fps: float) -> None:
    """The rendered pictures with the sound of the file they came from."""
    try:
        add_sound(silent, info.path, out, start_s=info.start_s)
    except DataError:  # a codec that the container does not hold: encode it anew
        rate_hz = min(info.audio_rate_hz or 48000, 48000)
        with open_source(silent) as reader:
            pictures = (frame.permute(1, 2, 0).numpy() for _, frame in reader.stream())
            sound = read_audio(info.path, rate_hz=rate_hz)
            write_video(out, pictures, fps=fps, audio=sound, audio_rate_hz=rate_hz, preset="veryfast")


def _at_rate(reader: VideoReader, fps: float) -> Iterator[tuple[float, Tensor]]:
    """(time_s, frame) at a constant rate: the frame on screen at each tick, however irregular they are."""
    shown: Tensor | None = None
    tick = 0
    for time_s, frame in reader.stream():
        while shown is not None and tick / fps < time_s - 0.5 / fps:
            yield tick / fps, shown
            tick += 1
        shown = frame
    end_s = max(reader.info.duration_s - 0.5 / fps, (tick + 0.5) / fps)
    while shown is not None and tick / fps < end_s:
        yield tick / fps, shown
        tick += 1


def _size(info: VideoInfo) -> tuple[int, int]:
    """(width, height) of the rendered frames: even, the short side at least MIN_SIDE_PX."""
    scale = max(1.0, MIN_SIDE_PX / min(info.width_px, info.height_px))
    width, height = (max(2, 2 * round(side * scale / 2)) for side in (info.width_px, info.height_px))
    return width, height


class _Panel(NamedTuple):
    """A translucent picture, ready to be laid over another: (other * share + light) / 256."""

    share: np.ndarray  # uint16 [h w 1], 0..256
    light: np.ndarray  # uint16 [h w 3]


class _Overlay:
    """What is drawn on the frames; a picture is made for each window, and only blended into each frame."""

    def __init__(self, prediction: Prediction, size: tuple[int, int], top: int):
        self.size = size
        self.timeline = prediction.timeline
        self.ends_s = [window.end_s for window in self.timeline]
        self.moving = bool(prediction.windows)
        self.colour = colours(leaders(self.timeline, len(PALETTE)))
        self.text_px = min(max(round(min(size) / 20), 15), 54)
        self.row_px = round(self.text_px * 1.7)
        self.pad_px = max(4, self.text_px // 3)
        self.strip_px = max(6, self.text_px // 2)
        rows = max(1, int(size[1] * 0.4) // self.row_px)
        self.top = min(top, rows, len(ranked(self.timeline[0].answer)))
        self._panel = functools.lru_cache(maxsize=2)(self._draw_panel)

    def draw(self, frame: Tensor, time_s: float) -> np.ndarray:
        """uint8 `[c h w]` in, uint8 `[h w c]` out."""
        picture = np.ascontiguousarray(frame.permute(1, 2, 0).numpy())
        if picture.shape[1::-1] != self.size:
            picture = np.array(Image.fromarray(picture).resize(self.size, Image.Resampling.BILINEAR))
        else:
            picture = picture.copy()
        index = min(bisect.bisect_right(self.ends_s, time_s), len(self.timeline) - 1)
        panel = self._panel(index)
        under = picture[self.size[1] - len(panel.share) :]
        under[:] = (under * panel.share + panel.light) >> 8
        if self.moving:
            self._draw_playhead(picture, time_s)
        return picture

    def _draw_panel(self, index: int) -> _Panel:
        """The rows of one window."""
        window = self.timeline[index]
        width, height = self.size[0], self.top * self.row_px + 2 * self.pad_px
        image = Image.new("RGBA", (width, height), PANEL)
        pen = ImageDraw.Draw(image)
        for place, (name, score) in enumerate(ranked(window.answer, top=self.top)):
            self._draw_row(pen, self.pad_px + place * self.row_px, name, score)
        rgba = np.asarray(image).astype(np.uint16)
        weight = (rgba[..., 3:] * 256 + 127) // 255
        return _Panel(share=256 - weight, light=rgba[..., :3] * weight)

    def _draw_row(self, pen: ImageDraw.ImageDraw, y: int, name: str, score: float) -> None:
        left, right = 2 * self.pad_px, self.size[0] - 2 * self.pad_px
        bottom = y + self.row_px - self.pad_px // 2 - 1
        radius = self.pad_px // 2
        pen.rounded_rectangle((left, y, right, bottom), radius, TRACK)
        reach = left + round((right - left) * min(max(score, 0.0), 1.0))
        if reach - left >= 2:
            bar = (*self.colour.get(name, GREY), 235)
            pen.rounded_rectangle((left, y, reach, bottom), min(radius, (reach - left) // 2), bar)
        share = f"{score:.0%}"
        room = right - left - 4 * self.pad_px - pen.textlength("100%", font=font(self.text_px))
        middle = (y + bottom) / 2
        for x, text, anchor in (
            (left + self.pad_px, fit(pen, name, room, self.text_px), "lm"),
            (right - self.pad_px, share, "rm"),
        ):
            stroke = max(1, self.text_px // 14)
            pen.text((x, middle), text, INK, font(self.text_px), anchor, stroke_width=stroke, stroke_fill=SHADOW)

    @functools.cached_property
    def _strip(self) -> np.ndarray:
        """The best label of each moment as colours, RGB `[h w 3]`."""
        image = Image.new("RGB", (self.size[0], self.strip_px), GREY)
        pen = ImageDraw.Draw(image)
        for window in self.timeline:
            colour = self.colour.get(ranked(window.answer, top=1)[0][0], GREY)
            pen.rectangle((self._x(window.start_s), 0, self._x(window.end_s), self.strip_px), colour)
        return np.asarray(image)

    def _draw_playhead(self, picture: np.ndarray, time_s: float) -> None:
        x = self._x(time_s)
        picture[: self.strip_px] = self._strip
        picture[: self.strip_px, x:] //= 2  # what is still to come is dimmed
        picture[: self.strip_px + 2, max(0, x - 1) : x + 2] = 255

    def _x(self, time_s: float) -> int:
        return min(round(time_s / self.ends_s[-1] * self.size[0]), self.size[0] - 1)
