"""Readers for all inputs of a predictor (files, folders of frames, arrays), and one for overlapping windows."""

from __future__ import annotations

import bisect
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from videozoo.contracts.video import VideoInfo
from videozoo.errors import ConfigError, DataError, DecodeError
from videozoo.io.decode import VideoReader, open_video
from videozoo.io.frame_folder import FrameFolder, frame_files
from videozoo.io.reader import TIME_SLACK_S, Frames, stack_pictures

__all__ = ["FrameArray", "HeldFrames", "SlidingReader", "Video", "name_of", "open_source"]

Video = str | os.PathLike[str] | np.ndarray | Any  # also a tensor of frames


def open_source(video: Video, *, fps: float | None = None) -> VideoReader:
    """Opens a video file, a folder of frames, or RGB frames uint8 `[t h w 3]` or `[t 3 h w]`.

    Args:
        fps: frame rate of a folder or an array; a file has its own rate.

    Raises:
        DecodeError: the file cannot be read.
        DataError: there are no frames, or they have a wrong shape or type, or no rate.
    """
    if fps is not None and not fps > 0:
        raise ConfigError(f"fps: got {fps}; needs a rate above 0")
    if isinstance(video, str | os.PathLike) and not Path(video).is_dir():
        return open_video(video)
    if isinstance(video, str | os.PathLike):
        frame_files(Path(video))  # raises for a folder without permission, with or without a rate
    if fps is None:
        raise DataError(f"{name_of(video)}: frames need a rate; give it, e.g. fps=25 (or --fps 25)")
    if isinstance(video, str | os.PathLike):
        return FrameFolder(video, fps=fps)
    return FrameArray(video, fps=fps)


def name_of(video: Video) -> str:
    """Returns the name of a video in messages and results: its path, or "frames"."""
    return os.fspath(video) if isinstance(video, str | os.PathLike) else "frames"


class FrameArray(VideoReader):
    """Frames in memory with the interface of a video file; see `VideoReader`.

    Raises:
        DataError: they are not uint8 `[t h w 3]` or `[t 3 h w]`, or there are none.
    """

    def __init__(self, frames: Any, *, fps: float):
        data = frames if isinstance(frames, np.ndarray) else np.asarray(frames.cpu())
        if data.dtype != np.uint8 or data.ndim != 4 or 0 in data.shape or 3 not in (data.shape[1], data.shape[3]):
            raise DataError(
                f"frames: got {data.dtype} {tuple(data.shape)}; "
                "needs uint8 [t h w 3] or [t 3 h w] with at least one frame"
            )
        self.data = data.transpose(0, 2, 3, 1) if data.shape[1] == 3 and data.shape[3] != 3 else data
        num, height, width, _ = self.data.shape
        self.info = VideoInfo(
            path="frames",
            duration_s=num / fps,
            fps=fps,
            num_frames=num,
            width_px=width,
            height_px=height,
            rotation_deg=0,
            codec="rawvideo",
            pixel_format="rgb24",
            start_s=0.0,
            size_bytes=data.nbytes,
        )

    def close(self) -> None:
        pass  # the caller owns the frames

    @property
    def num_frames(self) -> int:
        return len(self.data)

    def frames_at(self, times_s: Sequence[float]) -> Frames:
        indices = np.floor((np.asarray(times_s, float) + TIME_SLACK_S) * self.info.fps).astype(int)
        return self._frames_by_index(np.clip(indices, 0, self.num_frames - 1).tolist())

    def _frames_by_index(self, indices: list[int]) -> Frames:
        return Frames(self.data[indices], tuple(i / self.info.fps for i in indices))

    def sources(self, start_s: float) -> Iterator[tuple[float, Any]]:
        for i, picture in enumerate(self.data):
            if i / self.info.fps >= start_s - TIME_SLACK_S:
                yield i / self.info.fps, picture

    def picture(self, source: Any) -> Any:
        return source


class HeldFrames(VideoReader):
    """The latest frames of a video, decoded; only the requested ones become pictures.

    Args:
        info: the properties of the video.
        picture: makes the picture `[h w c]` of a frame.
        scaled: scales frames `[t h w c]` down, once for all requests.
    """

    def __init__(self, info: VideoInfo, picture: Callable[[Any], Any], *, scaled: Callable[[Any], Any] | None = None):
        self.info = info
        self._picture, self._scaled = picture, scaled
        self._pictures: dict[float, Any] = {}  # scaled pictures of held frames, by time
        self._held: deque[tuple[float, Any]] = deque()

    def add(self, time_s: float, source: Any) -> None:
        """Holds one more frame; times increase."""
        self._held.append((time_s, source))

    def drop_before(self, first_s: float) -> None:
        """Drops the frames that have ended by `first_s`."""
        while len(self._held) > 1 and self._held[1][0] <= first_s + TIME_SLACK_S:
            time_s, _ = self._held.popleft()
            self._pictures.pop(time_s, None)

    def close(self) -> None:
        self._held.clear()
        self._pictures.clear()

    @property
    def num_frames(self) -> int:
        return len(self._held)

    @property
    def first_s(self) -> float:
        return self._held[0][0]

    @property
    def last_s(self) -> float:
        return self._held[-1][0]

    def frames_at(self, times_s: Sequence[float]) -> Frames:
        starts_s = [time_s for time_s, _ in self._held]
        return self._frames_by_index([max(0, bisect.bisect_right(starts_s, t + TIME_SLACK_S) - 1) for t in times_s])

    def _frames_by_index(self, indices: list[int]) -> Frames:
        pictures = {i: self._seen(*self._held[i]) for i in set(indices)}
        times_s = tuple(self._held[i][0] for i in indices)
        return Frames(stack_pictures([pictures[i] for i in indices]), times_s)

    def _seen(self, time_s: float, source: Any) -> Any:
        if self._scaled is None:
            return self._picture(source)
        if time_s not in self._pictures:
            self._pictures[time_s] = self._scaled(self._picture(source)[None])[0]
        return self._pictures[time_s]

    def sources(self, start_s: float) -> Iterator[tuple[float, Any]]:
        return (item for item in tuple(self._held) if item[0] >= start_s - TIME_SLACK_S)

    def picture(self, source: Any) -> Any:
        return self._picture(source)


class SlidingReader(VideoReader):
    """Reads overlapping windows in the order of their start and decodes each frame of `reader` once.

    It holds the decoded frames between the first and the last time of the latest call, and converts only the requested
    ones to pictures. `reader` itself reads earlier times, and damaged files.

    Args:
        scaled: scales frames `[t h w c]` down, once for all windows that contain them.
    """

    def __init__(self, reader: VideoReader, *, scaled: Callable[[Any], Any] | None = None):
        self.reader = reader
        self.info = reader.info
        self._coming: Iterator[tuple[float, Any]] | None = reader.sources(0.0)
        self._held = HeldFrames(reader.info, reader.picture, scaled=scaled)

    def close(self) -> None:
        self._held.close()
        self._coming = None

    @property
    def num_frames(self) -> int:
        return self.reader.num_frames

    @property
    def damaged_frames(self) -> int:
        return self.reader.damaged_frames

    def frames_at(self, times_s: Sequence[float]) -> Frames:
        if not times_s or (self._held.num_frames and min(times_s) < self._held.first_s - TIME_SLACK_S):
            return self.reader.frames_at(times_s)
        try:
            self._advance(min(times_s), max(times_s))
        except DecodeError:  # `reader` may find a way around the damage
            self.close()
        return (self._held if self._held.num_frames else self.reader).frames_at(times_s)

    def _advance(self, first_s: float, last_s: float) -> None:
        """Decodes up to the frame after `last_s`; drops frames that end before `first_s`."""
        held = self._held
        while self._coming is not None and not (held.num_frames and held.last_s > last_s + TIME_SLACK_S):
            item = next(self._coming, None)
            if item is None:
                break
            held.add(*item)
            held.drop_before(first_s)
        held.drop_before(first_s)

    def _frames_by_index(self, indices: list[int]) -> Frames:
        return self.reader.frames_by_index(indices)

    def sources(self, start_s: float) -> Iterator[tuple[float, Any]]:
        return self.reader.sources(start_s)

    def picture(self, source: Any) -> Any:
        return self.reader.picture(source)
