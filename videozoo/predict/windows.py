"""The times of the windows of a long video, and a reader that reads overlapping windows in one pass."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import operator
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar, overload

from videozoo.contracts.network import Network
from videozoo.contracts.video import VideoInfo
from videozoo.io.decode import VideoReader
from videozoo.predict.frames import SlidingReader
from videozoo.transforms.input import ClipInput

__all__ = ["WindowTimes", "chunks", "held_bytes", "scaling", "shared_reader", "window_times"]

T = TypeVar("T")

# Overlapping windows are decoded in one pass if the frames of one window fit in this size, else by seeking.
HELD_BYTES = 1 << 30
BYTES_PER_PIXEL = 1.5  # of decoded frames, before they become RGB


@dataclasses.dataclass(frozen=True)
class WindowTimes(Sequence[tuple[float, float]]):
    """(start_s, end_s) of the windows that cover a video, computed on access, since their number may be huge.

    Windows begin every `stride_s`; if they miss the end of the video, one more window ends there. A video that is
    shorter than a window is one window. A remainder below `slack_s` at the end is ignored.
    """

    duration_s: float
    window_s: float
    stride_s: float
    slack_s: float

    def __len__(self) -> int:
        return self._num_regular + self._has_last

    @overload
    def __getitem__(self, index: int) -> tuple[float, float]: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[tuple[float, float]]: ...
    def __getitem__(self, index: int | slice) -> tuple[float, float] | Sequence[tuple[float, float]]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        k = operator.index(index)
        k += len(self) if k < 0 else 0
        if not 0 <= k < len(self):
            raise IndexError(f"window {index} of {len(self)}")
        if self._is_short:
            return 0.0, self.duration_s
        if k == self._num_regular:
            return self.duration_s - self.window_s, self.duration_s
        return self._regular(k)

    @property
    def _is_short(self) -> bool:
        return self.duration_s <= self.window_s + self.slack_s

    @property
    def _num_regular(self) -> int:
        if self._is_short:
            return 1
        num = (self.duration_s - self.window_s + self.slack_s) / self.stride_s + 1
        return int(min(num, sys.maxsize - 1))

    @property
    def _has_last(self) -> bool:
        return not self._is_short and self.duration_s - self._regular(self._num_regular - 1)[1] > self.slack_s

    def _regular(self, k: int) -> tuple[float, float]:
        return k * self.stride_s, min(k * self.stride_s + self.window_s, self.duration_s)


def window_times(info: VideoInfo, window_s: float, stride_s: float) -> WindowTimes:
    """Returns the windows that cover a video; with a stride up to `window_s`, each frame is in at least one."""
    last_frame_s = None if info.last_frame_s is None else info.duration_s - info.last_frame_s
    shortest_s = 1 / info.fps if last_frame_s is None else min(1 / info.fps, last_frame_s)
    return WindowTimes(info.duration_s, window_s, stride_s, slack_s=0.5 * min(shortest_s, window_s, info.duration_s))


def shared_reader(
    reader: VideoReader, window_s: float, stride_s: float, *, network: Network | None = None
) -> VideoReader:
    """Returns a reader that decodes each frame once if windows touch or overlap and their frames fit in memory.

    Otherwise it returns `reader`. If the network that reads the windows is given, frames are also scaled once.
    """
    if stride_s > window_s or held_bytes(reader.info, window_s) > HELD_BYTES:
        return reader
    return SlidingReader(reader, scaled=None if network is None else scaling(network))


def held_bytes(info: VideoInfo, window_s: float) -> float:
    """Returns the size of the decoded frames of a window."""
    return window_s * info.fps * info.width_px * info.height_px * BYTES_PER_PIXEL


def scaling(network: Network) -> Callable[[Any], Any] | None:
    """Returns a function that scales frames `[t h w c]` as the network's input does; None if it cannot be separated."""
    if not isinstance(network.spec, ClipInput) or network.spec.resize == "float":
        return None  # "float" returns float32, which cannot be held as frames
    return functools.partial(network.spec.scaled, form=network.backend.form)


def chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yields `items` in lists of `size`; the last one may be shorter."""
    iterator = iter(items)
    while chunk := list(itertools.islice(iterator, size)):
        yield chunk
