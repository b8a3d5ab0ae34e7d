"""The one path of inference: stretches of a video become samples, batches, outputs of the network, and answers.

Samples and answers are made one batch at a time, so memory does not grow with the number of stretches.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol, TypeVar, cast

import numpy as np

from videozoo.contracts.answer import Answer
from videozoo.contracts.backend import Outputs
from videozoo.contracts.features import Features
from videozoo.contracts.input import Batch, Pipeline, Sample
from videozoo.contracts.network import Network
from videozoo.contracts.record import ClipRecord, FeatureRecord
from videozoo.contracts.video import VideoInfo
from videozoo.errors import ConfigError, DataError
from videozoo.io.reader import VideoReader
from videozoo.predict.prediction import Place
from videozoo.predict.windows import chunks, shared_reader

__all__ = ["Content", "FeatureContent", "FeatureVideo", "FrameContent", "answers", "batches", "checked"]

P = TypeVar("P")


def batches(
    network: Network, samples: Iterable[tuple[P, Sample]], *, batch_size: int, graph: str = "main"
) -> Iterator[tuple[list[P], Outputs, Batch]]:
    """Runs one of the network's graphs over (place, sample) pairs; yields (places, outputs, batch).

    Raises:
        ConfigError: `batch_size` is below 1.
        DataError: the outputs are nan.
    """
    if batch_size < 1:
        raise ConfigError(f"batch_size: got {batch_size}; needs at least 1")
    for chunk in chunks(samples, batch_size):
        places, made = zip(*chunk, strict=True)
        batch = network.backend.collate(made)
        yield list(places), checked(network.backend.outputs(batch, graph=graph), where=batch["id"][0]), batch


def answers(network: Network, samples: Iterable[tuple[P, Sample]], *, batch_size: int) -> Iterator[tuple[P, Answer]]:
    """Yields each place with the network's answer for its sample."""
    for places, outputs, batch in batches(network, samples, batch_size=batch_size):
        yield from zip(places, network.decoder(outputs, batch), strict=True)


def checked(outputs: Outputs, *, where: str) -> Outputs:
    """Returns the outputs of a network if they are valid.

    Raises:
        DataError: some are nan, since finite weights overflow in half precision.
    """
    for values in outputs.values():
        if np.issubdtype(values.dtype, np.floating) and np.isnan(values).any():
            raise DataError(f"{where}: the model's scores are nan; check its weights, or use --precision fp32")
    return outputs


class Content(abc.ABC):
    """The frames or the features of one video, from which samples are made.

    Attributes:
        name: the name of the video in messages and answers.
        info: its properties.
    """

    name: str
    info: VideoInfo

    @property
    @abc.abstractmethod
    def damaged_frames(self) -> int:
        """The number of frames decoded so far whose pixels the decoder guessed."""

    @abc.abstractmethod
    def sample(self, place: Place | None) -> Sample:
        """Returns the sample of a stretch, or of the whole video."""

    def samples(self, places: Iterable[Place]) -> Iterator[tuple[Place, Sample]]:
        """Yields each place with its sample."""
        return ((place, self.sample(place)) for place in places)

    def in_windows(self, window_s: float, stride_s: float) -> Content:
        """Returns content that reads windows faster, in the order of their start."""
        return self


class ClipReading(Protocol):
    """The pipeline of a clip input: it also takes the open video."""

    def __call__(
        self, record: ClipRecord, rng: np.random.Generator | None = None, reader: VideoReader | None = None
    ) -> Sample: ...


@dataclasses.dataclass(frozen=True)
class FrameContent(Content):
    """The frames of an open video, for a network on clips."""

    name: str
    info: VideoInfo
    reader: VideoReader
    network: Network
    pipeline: Pipeline

    @property
    def damaged_frames(self) -> int:
        return self.reader.damaged_frames

    def sample(self, place: Place | None) -> Sample:
        if place is None:
            record = ClipRecord(id=self.name, path=Path(self.name))
        else:
            id_ = f"{self.name}@{place.start_s:.3f}"
            record = ClipRecord(id=id_, path=Path(self.name), start_s=place.start_s, end_s=place.end_s)
        return cast(ClipReading, self.pipeline)(record, reader=self.reader)  # every clip pipeline is one

    def in_windows(self, window_s: float, stride_s: float) -> FrameContent:
        reader = shared_reader(self.reader, window_s, stride_s, network=self.network)
        return dataclasses.replace(self, reader=reader)


@dataclasses.dataclass(frozen=True)
class FeatureContent(Content):
    """The features of a video, for a network on features."""

    name: str
    info: VideoInfo
    features: Features
    pipeline: Pipeline
    damaged_frames: int = 0

    def sample(self, place: Place | None) -> Sample:
        content = self.features if place is None else self.features.between(place.start_s, place.end_s)
        return self.pipeline(FeatureVideo(self.name, Path(self.name), content, content.duration_s))


@dataclasses.dataclass(frozen=True)
class FeatureVideo(FeatureRecord):
    """One video's features as a record without truth, for an evaluation pipeline."""

    id: str
    path: Path
    content: Features = dataclasses.field(repr=False)
    duration_s: float | None

    @property
    def location(self) -> str:
        return str(self.path)

    def features(self) -> Features:
        return self.content
