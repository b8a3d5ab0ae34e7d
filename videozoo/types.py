"""Values that cross the borders between rooms; each checks itself when made."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from videozoo.errors import DataError

__all__ = ["Caption", "ClipRecord", "Labels", "ParamRule", "Segments", "Span", "VideoInfo", "best_first"]


def best_first(scores: np.ndarray) -> np.ndarray:
    """Returns the indices that sort `scores` along its last axis, highest first; equal scores keep their listed order.

    Every ranking of the package sorts with it. Its rule does not depend on the processor, unlike numpy's default sort,
    which many official scripts use.
    """
    return np.argsort(-np.asarray(scores), axis=-1, kind="stable")


@dataclasses.dataclass(frozen=True)
class VideoInfo:
    """What a video file says of itself.

    Width and height are those of the upright picture (after rotation). `fps` is the average rate; a file with
    variable frame rate is sampled by time. `num_frames` is None when the container does not state it. `timecode` is
    that of the first frame, HH:MM:SS:FF as cameras count, in files that carry one. `last_frame_s` is when the last
    frame comes on screen; None where nothing says so.
    """

    path: str
    duration_s: float
    fps: float
    num_frames: int | None
    width_px: int
    height_px: int
    rotation_deg: int
    codec: str
    pixel_format: str
    start_s: float
    size_bytes: int
    audio_rate_hz: int | None = None
    timecode: str | None = None
    last_frame_s: float | None = None

    @property
    def has_audio(self) -> bool:
        return self.audio_rate_hz is not None


@dataclasses.dataclass(frozen=True)
class Span:
    """A stretch of a video with what was found in it; times are seconds from the video's start."""

    start_s: float
    end_s: float
    label: str = ""
    score: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.start_s < self.end_s:
            raise DataError(f"span: needs 0 <= start_s < end_s, got {self.start_s=} {self.end_s=}")


@dataclasses.dataclass(frozen=True)
class Labels:
    """One score a class for one sample; probabilities unless the task says otherwise."""

    scores: np.ndarray  # [k]
    names: Sequence[str]

    def __post_init__(self) -> None:
        if self.scores.ndim != 1 or len(self.scores) != len(self.names):
            raise DataError(f"labels: {self.scores.shape} scores for {len(self.names)} names; needs one each")

    def top(self, k: int = 5) -> list[tuple[str, float]]:
        """The k best (name, score) pairs, best first; ties keep the class order."""
        order = best_first(self.scores)[:k]
        return [(self.names[i], float(self.scores[i])) for i in order]

    @property
    def best(self) -> str:
        return self.top(1)[0][0]


@dataclasses.dataclass(frozen=True)
class Segments:
    """What was found in one video and when: spans in seconds of the video, best score first; none is an answer too.

    `proposals` are the spans before a classifier named them, where they were found so: without labels, best first.
    """

    spans: tuple[Span, ...]
    proposals: tuple[Span, ...] = ()

    def __post_init__(self) -> None:
        for spans in (self.spans, self.proposals):
            if any(first.score < second.score for first, second in itertools.pairwise(spans)):
                raise DataError(f"segments: {len(spans)} spans are not sorted by score; give the best first")


@dataclasses.dataclass(frozen=True)
class Caption:
    """A sentence about a video, or about a stretch of it.

    Attributes:
        score: how likely the model holds it, 0..1.
        words: its words in order, as the model's vocabulary has them.
        attention: float `[words t]`, how far each word looked at each row of the features; rows sum to 1.
        times_s: the moments of those rows, the middle of each, in seconds of the video.
    """

    text: str
    score: float = 1.0
    words: tuple[str, ...] = ()
    attention: np.ndarray | None = None
    times_s: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        wanted = (len(self.words), len(self.times_s))
        if self.attention is not None and self.attention.shape != wanted:
            raise DataError(f"caption: attention of shape {self.attention.shape}; needs [words t] = {wanted}")


@dataclasses.dataclass(frozen=True)
class ClipRecord:
    """One sample of a clip data set, before anything is decoded.

    `id` is unique in its data set: reports, error messages and the check that each sample is scored once use it.
    `path` is a video file, or a folder of frames when `num_frames` is given. `labels` holds class indices: one for
    single-label data, any number for multi-label data, none for data without answers.
    """

    id: str
    path: Path
    labels: tuple[int, ...] = ()
    num_frames: int | None = None
    start_s: float | None = None
    end_s: float | None = None
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class ParamRule:
    """Parameters whose name matches `match` (`re.search`) learn at `lr_scale` times the rate, with their own decay.

    `weight_decay=None` keeps the optimizer's. The first rule that matches a name wins.
    """

    match: str
    lr_scale: float = 1.0
    weight_decay: float | None = None
