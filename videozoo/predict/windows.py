"""Where the windows of a long video lie, and reading those that overlap in one pass."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from videozoo.io.decode import VideoReader
from videozoo.predict.frames import SlidingReader
from videozoo.transforms.input import ClipInput
from videozoo.types import VideoInfo

__all__ = ["chunks", "shared_reader", "window_times"]

T = TypeVar("T")

# Windows that overlap are decoded in one pass as long as the frames of one window stay within this; else by
# seeking.
HELD_BYTES = 1 << 30
BYTES_PER_PIXEL = 1.5  # of decoded frames, before they become RGB


def window_times(info: VideoInfo, window_s: float, stride_s: float) -> list[tuple[float, float]]:
    """(start_s, end_s) of the windows that cover a video, each `window_s` long.

    They begin every `stride_s`; where the end of the video would be left out, a last one is laid against it.
    A video that is shorter than a window is one window.
    """
    duration_s = info.duration_s
    slack_s = min(0.5 / info.fps, duration_s / 2)  # less than a frame is nothing to look at
    if duration_s <= window_s + slack_s:
        return [(0.0, duration_s)]
    count = int((duration_s - window_s + slack_s) / stride_s) + 1
    times = [(k * stride_s, min(k * stride_s + window_s, duration_s)) for k in range(count)]
    if duration_s - times[-1][1] > slack_s:
        times.append((duration_s - window_s, duration_s))
    return times


def shared_reader(reader: VideoReader, window_s: float, stride_s: float, *, spec: Any = None) -> VideoReader:
    """`reader`, or one that decodes each frame once where windows touch or overlap and their frames fit in memory.

    With the input spec of who reads, frames are also scaled once.
    """
    info = reader.info
    held_bytes = window_s * info.fps * info.width_px * info.height_px * BYTES_PER_PIXEL
    if stride_s > window_s or held_bytes > HELD_BYTES:
        return reader
    scales = isinstance(spec, ClipInput) and spec.resize != "float"  # which makes no bytes of bytes
    return SlidingReader(reader, scaled=spec.scaled if scales else None)


def chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """`items` in lists of `size`, the last one shorter."""
    iterator = iter(items)
    while chunk := list(itertools.islice(iterator, size)):
        yield chunk
