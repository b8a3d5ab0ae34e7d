"""Records: the samples of a data set before anything is decoded. Cheap values, which travel to loader workers."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np

from videozoo.contracts.features import Features
from videozoo.contracts.video import Span
from videozoo.errors import DataError

__all__ = [
    "Candidates",
    "ClipRecord",
    "DescribedRecord",
    "FeatureRecord",
    "Holds",
    "Modalities",
    "Record",
    "ShotRecord",
    "Truth",
]

Holds = Literal["clips", "features"]
Truth = Literal["labels", "segments", "captions", "moments", "shots"]  # the annotations that training learns from


class Record:
    """One sample of a data set.

    Attributes:
        id: unique in its data set: reports, error messages and the check that each sample is scored once use it.
        labels: class indices: one for single-label data, any number for multi-label data, none without truth.
    """

    id: str
    labels: tuple[int, ...] | None = None

    @property
    def location(self) -> str:
        """The file that error messages name."""
        return self.id

    @property
    def origin(self) -> tuple[Path, tuple[Hashable, ...]] | None:
        """The file with the sample's content and the part of it; None where unknown.

        Records of the same origin are the same sample, whatever their ids.
        """
        return None

    @property
    def columns(self) -> Mapping[str, Any]:
        """The values by which an evaluation can group its samples, by name."""
        return {}


@dataclasses.dataclass(frozen=True)
class ClipRecord(Record):
    """One sample of a clip data set: `path` is a video file, or a folder of frames when `num_frames` is given."""

    id: str
    path: Path
    labels: tuple[int, ...] = ()
    num_frames: int | None = None
    start_s: float | None = None
    end_s: float | None = None
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def location(self) -> str:
        return str(self.path)

    @property
    def origin(self) -> tuple[Path, tuple[Hashable, ...]]:
        return self.path, (self.start_s, self.end_s)

    @property
    def columns(self) -> Mapping[str, Any]:
        return self.extra


@dataclasses.dataclass(frozen=True)
class ShotRecord(ClipRecord):
    """A video with its transitions: for each, the last frame of a shot and the first frame of the next one."""

    transitions: tuple[tuple[int, int], ...] = ()


@dataclasses.dataclass(frozen=True)
class DescribedRecord(ClipRecord):
    """A video with one or more sentences about it."""

    captions: tuple[str, ...] = ()


class Modalities(NamedTuple):
    """The stored features of one video, one array `[t d]` for each modality, with its id and its labels, if any."""

    id: str
    arrays: list[np.ndarray]
    labels: tuple[int, ...] | None


class Candidates(Protocol):
    """The windows of a video before anything is computed.

    Attributes:
        times_s: start and end of each `[n 2]`.
        duration_s: of the video.
    """

    @property
    def times_s(self) -> np.ndarray: ...

    @property
    def duration_s(self) -> float: ...

    def look(self, times_s: np.ndarray) -> np.ndarray:
        """Returns the features `[m 3d]` of the windows `[m 2]`: before, in and after each."""
        ...


class FeatureRecord(Record):
    """A video with stored features, or a stretch of one, with its annotations as far as they are known.

    Attributes:
        video: the id of the record's video, if records share videos.
        duration_s: of the video.
        covered_s: the length of video that evenly spread features cover.
        start_s, end_s: the stretch that the captions describe; None means the whole video.
        segments: the annotated segments of the video.
        captions: sentences that describe the stretch.
        words: the words of each caption, as indices into the data set's vocabulary.
        sentence: a query to find in the video.
        moments: start and end of each moment that matches the sentence, the annotated one first.
    """

    video: str | None = None
    duration_s: float | None = None
    covered_s: float | None = None
    start_s: float | None = None
    end_s: float | None = None
    segments: tuple[Span, ...] = ()
    captions: tuple[str, ...] = ()
    words: tuple[tuple[int, ...], ...] = ()
    sentence: str | None = None
    moments: tuple[tuple[float, float], ...] = ()

    @property
    def columns(self) -> Mapping[str, Any]:
        columns = {"video": self.video, "sentence": self.sentence}
        return {name: value for name, value in columns.items() if value is not None}

    def features(self) -> Features:
        """Reads the features of the video.

        Raises:
            DataError: they are missing or damaged, or the data set stores them only by modality.
        """
        raise DataError(f"{self.id}: has modalities, not one table of features over time; use it with input features")

    def read(self, *, with_sound: bool = False) -> Modalities:
        """Reads the features by modality.

        Args:
            with_sound: adds separately stored sound features as a second modality.

        Raises:
            DataError: they are missing or damaged.
        """
        features = self.features()
        sound = [features.audio] if with_sound and features.audio is not None else []
        return Modalities(self.id, [features.values, *sound], self.labels)

    def candidates(self, *, context_s: float, feature_dim: int) -> Candidates | None:
        """Returns the precomputed windows of a video; None for features over time.

        Args:
            context_s: length of the context read before and after each window.
            feature_dim: width of a row.
        """
        return None
