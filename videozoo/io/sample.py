"""Which frames of a video make a clip: pure functions from counts to frame indices.

Every function gives int64 indices `[num_clips frames]`, counted from 0 and always inside the video. With
`rng` the clip is drawn at random, as in training; without it the same clips come out each time, as in
evaluation. "Frames" are whatever the caller counts: files of a folder, or ticks of a clock that runs at the
rate the model wants.

A video that is shorter than the clip is treated by `short`:
    spread  every frame is shown, and repeated evenly: time only slows down
    wrap    starts again from the first frame
    hold    stays on the last frame
    first   the first frame only (what PaddleVideo's `select_left` does)
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from videozoo.errors import DataError

__all__ = ["Indices", "Place", "Short", "Spacing", "Split", "segments", "spaced", "windows"]

Indices = NDArray[np.int64]
Short = Literal["spread", "wrap", "hold", "first"]
Split = Literal["even", "floor"]
Place = Literal["ends", "centers", "starts"]
Spacing = Literal["stride", "ends"]


def segments(
    num_frames: int,
    num_segments: int,
    *,
    segment_frames: int = 1,
    num_clips: int = 1,
    rng: np.random.Generator | None = None,
    split: Split = "even",
    short: Short = "spread",
) -> Indices:
    """One snippet of consecutive frames from each of `num_segments` equal parts of the video.

    Paper: TSN, arXiv:1608.00859, section 3.1. Training takes a random place inside each part, evaluation its
    middle; several clips share each part out between them.

    Args:
        split: "even" cuts the video at real-valued borders, so that all of it is seen. "floor" gives each
            part `num_frames // num_segments` frames and leaves the rest out (PaddleVideo's default); its
            clips are alike.
    """
    _check(num_frames, num_segments=num_segments, segment_frames=segment_frames, num_clips=num_clips)
    if short == "first" and num_frames <= num_segments:
        return np.zeros((num_clips, num_segments * segment_frames), np.int64)
    if split == "even":
        starts = _even_starts(num_frames, num_segments, segment_frames, num_clips, rng)
    else:
        starts = np.tile(_floor_starts(num_frames, num_segments, segment_frames, rng), (num_clips, 1))
    indices = starts[..., None] + np.arange(segment_frames)
    return _inside(indices.reshape(num_clips, -1), num_frames, short)


def _even_starts(
    num_frames: int, num_segments: int, segment_frames: int, num_clips: int, rng: np.random.Generator | None
) -> Indices:
    length = num_frames / num_segments
    borders = length * np.arange(num_segments)
    if rng is None:
        share = (2 * np.arange(num_clips)[:, None] + 1) / (2 * num_clips)
        starts = np.floor(borders + length * share).astype(np.int64) - (segment_frames - 1) // 2
    else:
        room = max(length - segment_frames + 1, 0.0) if segment_frames > 1 else length
        starts = np.floor(borders + rng.random((num_clips, num_segments)) * room).astype(np.int64)
    return np.clip(starts, 0, max(num_frames - segment_frames, 0))


def _floor_starts(num_frames: int, num_segments: int, segment_frames: int, rng: np.random.Generator | None) -> Indices:
    length = num_frames // num_segments
    room = length - segment_frames
    if length == 0:
        return np.arange(num_segments)
    if room <= 0:
        offset: Indices | int = 0
    elif rng is None:
        offset = room // 2
    else:
        offset = rng.integers(0, room + 1, size=num_segments)
    return np.arange(num_segments) * length + offset


def windows(
    num_frames: int,
    clip_frames: int,
    *,
    stride: int = 1,
    num_clips: int = 1,
    rng: np.random.Generator | None = None,
    place: Place = "ends",
    spacing: Spacing = "stride",
    short: Short = "spread",
) -> Indices:
    """Stretches of `clip_frames * stride` consecutive frames, each seen through `clip_frames` of them.

    Training puts them anywhere. In evaluation one clip comes from the middle of the video, several are laid
    out by `place`.

    Args:
        place: "ends" from the first possible start to the last (PP-TSM); "centers" in the middle of equal
            intervals of the possible starts (Video Swin); "starts" at the beginning of those intervals, one
            clip included (SlowFast).
        spacing: "stride" takes every stride-th frame; "ends" spaces the frames so that the first and the
            last frame of the stretch are both among them (SlowFast, TimeSformer).
    """
    _check(num_frames, clip_frames=clip_frames, stride=stride, num_clips=num_clips)
    span = clip_frames * stride
    room = max(num_frames - span, 0)
    starts: NDArray[np.float64] | Indices
    if rng is not None:
        starts = rng.integers(0, room + 1, size=num_clips)
    elif place == "starts":
        starts = np.arange(num_clips) * room / num_clips
    elif place == "centers" or num_clips == 1:
        starts = ((np.arange(num_clips) + 0.5) * (room + 1) / num_clips).astype(np.int64)
    else:
        starts = np.linspace(0, room, num_clips).astype(np.int64)
    if spacing == "stride":
        steps = np.arange(clip_frames) * float(stride)
    else:
        steps = np.linspace(0, span - 1, clip_frames)
    return _inside((starts[:, None] + steps).astype(np.int64), num_frames, short)


def spaced(start: float, end: float, count: int, *, num_frames: int) -> Indices:
    """`count` frames `[1 count]` from position `start` to position `end`, both included.

    The video's last frame stands for all places behind it.
    """
    _check(num_frames, count=count)
    return _inside(np.linspace(start, end, count).astype(np.int64)[None], num_frames, "hold")


def _inside(indices: Indices, num_frames: int, short: Short) -> Indices:
    if indices.max() < num_frames:
        return indices
    if short == "wrap":
        return indices % num_frames
    if short == "hold":
        return np.minimum(indices, num_frames - 1)
    if short == "first":
        return np.zeros_like(indices)
    count = indices.shape[1]
    evenly = (2 * np.arange(count) + 1) * num_frames // (2 * count)
    return np.broadcast_to(evenly, indices.shape).copy()


def _check(num_frames: int, **counts: int) -> None:
    for name, value in {"num_frames": num_frames, **counts}.items():
        if value < 1:
            raise DataError(f"sampling: {name} is {value}; it must be at least 1")
