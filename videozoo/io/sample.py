"""Selects the frames of clips: pure functions from counts to frame indices.

Every function returns int64 indices `[num_clips frames]`, counted from 0 and always inside the video. With `rng` the
clip is drawn at random, for training; without it the clips are deterministic, for evaluation. "Frames" are the units
that the
caller counts: files of a folder, or ticks of a clock at the model's frame rate.

`short` selects the treatment of videos shorter than the clip:

    spread  repeats every frame evenly: slow motion
    wrap    starts again from the first frame
    hold    repeats the last frame
    first   uses the first frame only (PaddleVideo's `select_left`)
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
    """Samples one snippet of consecutive frames from each of `num_segments` equal parts of the video.

    Paper: TSN, arXiv:1608.00859, section 3.1. Training uses a random position inside each part, evaluation its center;
    several clips divide each part among them.

    Args:
        split: "even" divides the video at real-valued borders and covers all of it. "floor" gives each part
            `num_frames // num_segments` frames and leaves out the rest (PaddleVideo's default); its clips are
            identical.
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
    """Samples `clip_frames` frames from windows of `clip_frames * stride` consecutive frames.

    Training places the windows at random. In evaluation one clip is centered; `place` positions several.

    Args:
        place: "ends" spaces clips from the first possible start to the last (PP-TSM); "centers" puts them at the
            centers of equal intervals of the possible starts (Video Swin); "starts" at the beginnings of those
            intervals, also for a single clip (SlowFast).
        spacing: "stride" takes every stride-th frame; "ends" spaces the frames so as to include the first and the last
            frame of the window (SlowFast, TimeSformer).
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
    """Returns `count` frame indices `[1 count]` evenly spaced from position `start` to `end`, both included.

    Positions beyond the video use its last frame.
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
    spread: Indices = np.broadcast_to(evenly, indices.shape).copy()
    return spread


def _check(num_frames: int, **counts: int) -> None:
    for name, value in {"num_frames": num_frames, **counts}.items():
        if value < 1:
            raise DataError(f"sampling: {name} is {value}; must be at least 1")
