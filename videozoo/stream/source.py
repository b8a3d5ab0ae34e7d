"""Sources of frames, as they arrive: a file at its own rate, a camera, a network stream, a pipe."""

from __future__ import annotations

import abc
import dataclasses
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np

from videozoo.contracts.video import VideoInfo
from videozoo.errors import DecodeError
from videozoo.io.decode import VideoReader, open_video
from videozoo.io.live import LiveVideo, is_camera, is_url, open_camera, open_pipe, open_url

__all__ = ["FileSource", "Frame", "LiveSource", "Source", "open_source"]

FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 30.0  # before the first and any later attempt to connect again


class _Pictures(Protocol):
    def picture(self, source: Any) -> np.ndarray: ...


@dataclasses.dataclass(frozen=True, slots=True)
class Frame:
    """One frame of a source.

    Attributes:
        time_s: seconds since the source's first frame.
        arrived_s: when it arrived, before it was decoded, on the clock of `time.monotonic`.
        decoded: the decoder's own frame.
        made_by: makes the picture of `decoded`.
        connection: the number of the connection that it came through; between two of them, frames are missing.
    """

    time_s: float
    arrived_s: float
    decoded: Any
    made_by: _Pictures
    connection: int = 0
    _one_thread: threading.Lock = dataclasses.field(default_factory=threading.Lock, repr=False, compare=False)

    def picture(self) -> np.ndarray:
        """Returns uint8 `[h w 3]`, upright RGB."""
        with self._one_thread:  # PyAV keeps the converter with the frame
            return self.made_by.picture(self.decoded)


class Source(abc.ABC):
    """Where frames come from; read once, by one thread.

    Attributes:
        name: for messages and output.
        info: the properties of the video.
        drops: whether frames that are not taken in time are lost, as those of a camera.
    """

    name: str
    info: VideoInfo
    drops: bool

    @abc.abstractmethod
    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        """Yields the frames as they arrive, until the source ends or `stop` is set.

        Raises:
            DecodeError: the source cannot be read further.
        """

    @property
    @abc.abstractmethod
    def damaged_frames(self) -> int:
        """The number of frames so far that the decoder skipped or guessed."""

    @abc.abstractmethod
    def close(self) -> None:
        """Closes the source; no other thread reads it any more."""


class FileSource(Source):
    """A file whose frames arrive at their own times.

    Args:
        fast: frames arrive as soon as they are taken, and none is lost.
    """

    def __init__(self, reader: VideoReader, *, fast: bool = False):
        self._reader = reader
        self.name, self.info, self.drops = reader.info.path, reader.info, not fast

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        sources = self._reader.sources(0.0)
        started_s, due_s = time.monotonic(), 0.0
        while not stop.is_set():
            if self.drops:  # a live frame cannot be decoded before it exists
                stop.wait(started_s + due_s - time.monotonic())
            arrived_s = time.monotonic()
            item = next(sources, None)
            if item is None:
                return
            time_s, decoded = item
            if self.drops:
                stop.wait(started_s + time_s - time.monotonic())
                arrived_s = started_s + time_s
            due_s = time_s + 1 / self.info.fps
            yield Frame(time_s, arrived_s, decoded, self._reader)

    @property
    def damaged_frames(self) -> int:
        return self._reader.damaged_frames

    def close(self) -> None:
        self._reader.close()


class LiveSource(Source):
    """A camera, a pipe, or a stream in the network, to which it connects again when the stream breaks off.

    Args:
        open_again: opens the source.
        retry_s: seconds without a frame after which it gives up; 0 never connects again.
        drops: see `Source`.
    """

    def __init__(self, open_again: Callable[[], LiveVideo], *, retry_s: float = 0.0, drops: bool = True):
        self._open_again, self._retry_s = open_again, retry_s
        self._video = open_again()
        self._lost_frames = 0
        self.name, self.info, self.drops = self._video.name, self._video.info, drops

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        connection, origin_s, last_s, last_arrived_s = 0, 0.0, -1.0, time.monotonic()
        while True:
            reason = "the server closed the connection"
            num_frames = 0
            try:
                for time_s, arrived_s, decoded in self._video.frames():
                    if stop.is_set():
                        return
                    if origin_s + time_s <= last_s:
                        continue  # a video of the network that begins again
                    last_s, last_arrived_s, num_frames = origin_s + time_s, arrived_s, num_frames + 1
                    yield Frame(last_s, arrived_s, decoded, self._video, connection)
                if not self._retry_s or self._is_whole(num_frames, connection):
                    return
            except DecodeError as error:
                if not self._retry_s:
                    raise
                reason = error.reason
            if not self._connect(stop, reason, last_arrived_s, is_early=not num_frames):
                return
            connection += 1
            if self._video.stated_s is None and last_s >= 0:
                origin_s = last_s + max(time.monotonic() - last_arrived_s, 1 / self.info.fps)

    def _is_whole(self, num_frames: int, connection: int) -> bool:
        """Whether a source of a stated length has ended: another connection would bring no more."""
        return self._video.stated_s is not None and (not self._video.is_cut or (connection > 0 and not num_frames))

    def _connect(self, stop: threading.Event, reason: str, last_arrived_s: float, *, is_early: bool) -> bool:
        """Opens the source again, with growing waits; returns whether it did so before `stop` was set.

        Args:
            is_early: the latest connection gave no frame, so that the next attempt waits longer.
        """
        self._lost_frames += self._video.damaged_frames
        self._video.close()
        wait_s = 4 * FIRST_WAIT_S if is_early else FIRST_WAIT_S
        while not stop.wait(wait_s):
            try:
                self._video = self._open_again()
                return True
            except DecodeError as error:
                reason = error.reason
            if time.monotonic() - last_arrived_s > self._retry_s:
                raise DecodeError(
                    self.name, f"no frame came for {self._retry_s:g} s ({reason})", "check the source, or set --retry-s"
                )
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)
        return False

    @property
    def damaged_frames(self) -> int:
        return self._lost_frames + self._video.damaged_frames

    def close(self) -> None:
        self._video.close()


def open_source(source: str, *, fast: bool = False, retry_s: float = 60.0) -> Source:
    """Opens a camera (`webcam:0`, `/dev/video0`), a URL, standard input (`-`), or a file.

    Args:
        fast: wait for the network instead of losing frames, and do not wait for the times of a file.
        retry_s: for URLs; see `LiveSource`.

    Raises:
        DecodeError: it cannot be opened.
        ConfigError: the kind of URL is not known.
    """
    if source == "-":
        return LiveSource(lambda: open_pipe(sys.stdin.buffer, name="standard input"), drops=not fast)
    if is_url(source):
        return LiveSource(lambda: open_url(source), retry_s=retry_s, drops=not fast)
    if is_camera(source):
        return LiveSource(lambda: open_camera(source))
    return FileSource(open_video(source), fast=fast)
