"""The interface of video decoders, independent of the library."""

from __future__ import annotations

import abc
import bisect
import dataclasses
import math
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from typing_extensions import Self

from videozoo.contracts.video import VideoInfo
from videozoo.errors import DataError, counted

__all__ = ["TIME_SLACK_S", "Frames", "VideoReader", "check_times", "stack_pictures"]

# Some containers round to milliseconds: a frame at 66.67 ms is stored at 67 and must be found at 66.67.
TIME_SLACK_S = 0.0005


@dataclasses.dataclass(frozen=True)
class Frames:
    """Decoded frames with their presentation times.

    data: uint8 [t h w c], RGB, upright; an array, or the tensor of a reader that decodes on a GPU.
    times_s: presentation times of the frames in seconds from the first frame; not the requested times.
    """

    data: Any
    times_s: tuple[float, ...]

    def __post_init__(self) -> None:
        shape, dtype = tuple(self.data.shape), str(self.data.dtype).removeprefix("torch.")
        if len(shape) != 4 or shape[-1] != 3 or dtype != "uint8" or shape[0] != len(self.times_s):
            raise DataError(
                f"frames: {shape} {dtype} with {len(self.times_s)} times; needs uint8 [t h w 3] and one time per frame"
            )

    def __len__(self) -> int:
        return len(self.times_s)


class VideoReader(abc.ABC):
    """Random and sequential access to one file's frames; times are seconds from the first frame.

    A context manager. Not thread-safe.
    """

    info: VideoInfo

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abc.abstractmethod
    def close(self) -> None:
        """Closes the file; the reader cannot be used afterwards."""

    @property
    @abc.abstractmethod
    def num_frames(self) -> int:
        """The exact number of presented frames.

        Raises:
            DecodeError: the file cannot be read to its end.
        """

    @property
    def damaged_frames(self) -> int:
        """Number of frames so far with damage concealed by the decoder, whose pixels are guessed."""
        return 0

    @abc.abstractmethod
    def frames_at(self, times_s: Sequence[float]) -> Frames:
        """Returns, for each time, the frame on screen: the last one that starts at or before it.

        Times may be in any order and repeated; times outside the video give its first or last frame.

        Raises:
            DecodeError: one of these frames cannot be decoded.
        """

    def frames_by_index(self, indices: Sequence[int]) -> Frames:
        """Returns the frames with these indices in presentation order; indices may be in any order and repeated.

        Raises:
            DataError: an index is outside 0..num_frames-1.
            DecodeError: one of these frames cannot be decoded.
        """
        for index in indices:
            if not 0 <= index < self.num_frames:
                raise DataError(
                    f"{self.info.path}: frame {index} is outside the video; "
                    f"it has {counted(self.num_frames, 'frame')}, 0..{self.num_frames - 1}"
                )
        return self._frames_by_index([int(i) for i in indices])

    @abc.abstractmethod
    def sources(self, start_s: float) -> Iterator[tuple[float, Any]]:
        """Yields (time_s, argument of `picture`) of each frame from start_s, independent of other reads.

        Use it to decode the pictures of a few frames; `stream` decodes all.
        """

    @abc.abstractmethod
    def picture(self, source: Any) -> Any:
        """Returns uint8 [h w c], upright RGB, of an item of `sources`."""

    def stream(self, *, start_s: float = 0.0, end_s: float | None = None) -> Iterator[tuple[float, Any]]:
        """Yields every frame with start_s <= time < end_s as (time_s, uint8 [h w c]), in bounded memory.

        Raises:
            DecodeError: the next frame cannot be decoded; earlier frames have been yielded.
        """
        check_times(self.info.path, [start_s] if end_s is None else [start_s, end_s])
        for time_s, source in self.sources(start_s):
            if end_s is not None and time_s >= end_s - TIME_SLACK_S:
                return
            yield time_s, self.picture(source)

    def windows(self, *, window_s: float, stride_s: float, fps: float | None = None) -> Iterator[Frames]:
        """Yields windows [k * stride_s, k * stride_s + window_s) over the video; each frame is decoded once.

        The last window is the first one that reaches the end, possibly with fewer frames. Memory holds one window.

        Args:
            fps: rate at which each window is sampled, at k * stride_s + i / fps; None gives all frames that start in
                it.
        """
        if not (window_s > 0 and stride_s > 0 and (fps is None or fps > 0)):
            raise DataError(
                f"{self.info.path}: windows need window_s, stride_s and fps above 0, got {window_s=} {stride_s=} {fps=}"
            )
        held: deque[tuple[float, Any]] = deque()
        k = 0
        for time_s, source in self.sources(0.0):
            while time_s >= k * stride_s + window_s - TIME_SLACK_S:
                yield from self._window(held, k * stride_s, k * stride_s + window_s, fps)
                k += 1
                self._let_go(held, k * stride_s)
            held.append((time_s, source))
            self._let_go(held, k * stride_s)
        end_s = self._end_s(held)  # the last frame may last for many windows
        while k * stride_s + window_s < end_s - TIME_SLACK_S:
            yield from self._window(held, k * stride_s, k * stride_s + window_s, fps)
            k += 1
            self._let_go(held, k * stride_s)
        yield from self._window(held, k * stride_s, min(k * stride_s + window_s, end_s), fps)

    @staticmethod
    def _let_go(held: deque[tuple[float, Any]], start_s: float) -> None:
        """Drops the frames that have ended by start_s."""
        while len(held) > 1 and held[1][0] <= start_s + TIME_SLACK_S:
            held.popleft()

    def _window(
        self, held: Sequence[tuple[float, Any]], start_s: float, end_s: float, fps: float | None
    ) -> Iterator[Frames]:
        """Yields the frames of a window, if it has any."""
        times = [time_s for time_s, _ in held]
        if fps is None:
            chosen = [i for i, t in enumerate(times) if start_s - TIME_SLACK_S <= t < end_s - TIME_SLACK_S]
        else:
            num = max(0, math.ceil((end_s - start_s) * fps - 1e-6))
            chosen = [max(0, bisect.bisect_right(times, start_s + i / fps + TIME_SLACK_S) - 1) for i in range(num)]
        if chosen and held:
            pictures = {i: self.picture(held[i][1]) for i in set(chosen)}
            yield Frames(stack_pictures([pictures[i] for i in chosen]), tuple(times[i] for i in chosen))

    def _end_s(self, held: Sequence[tuple[float, Any]]) -> float:
        last_s = held[-1][0] if held else 0.0
        return self.info.duration_s if self.info.duration_s > last_s + TIME_SLACK_S else last_s + 1.0 / self.info.fps

    @abc.abstractmethod
    def _frames_by_index(self, indices: list[int]) -> Frames:
        """Returns frames like `frames_by_index`, for checked indices."""


def stack_pictures(pictures: Sequence[Any]) -> Any:
    """Stacks pictures [h w c] to frames [t h w c] on their device: in memory, or on the GPU of their reader."""
    if isinstance(pictures[0], np.ndarray):
        return np.stack(pictures)
    import torch

    return torch.stack(list(pictures))


def check_times(path: str, times_s: Sequence[float]) -> None:
    """Refuses times that are not numbers."""
    bad = [t for t in times_s if not math.isfinite(t)]
    if bad:
        raise DataError(f"{path}: cannot look up the time {bad[0]}; times are finite seconds")
