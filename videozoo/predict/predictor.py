"""From a network and a video to a typed answer: the only inference path."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from videozoo.contracts.answer import Answer
from videozoo.contracts.features import FeatureRecipe, Features
from videozoo.contracts.network import Network
from videozoo.errors import ConfigError, DataError
from videozoo.io.decode import VideoReader
from videozoo.io.features import is_feature_file, read_features
from videozoo.predict.extractor import Extractor, FeatureVideo, numbers
from videozoo.predict.frames import Video, name_of, open_source
from videozoo.predict.prediction import Place, Prediction, Window
from videozoo.predict.windows import chunks, shared_reader, window_times
from videozoo.types import ClipRecord, Span, VideoInfo

__all__ = ["Predictor"]

Progress = Callable[[int, int], None]


class Predictor:
    """Answers for whole videos and over time.

        predictor = videozoo.load("runs/tsm")
        predictor("a.mp4").labels.top(3)
        predictor("a.mp4", window_s=2.0, stride_s=1.0).windows

    A network on features takes videos, too, if its extractor is stored with it; see `Extractor`.

    Args:
        network: the network, in whatever backend.
        views: the protocol, "clips x crops" as in "10x3"; None takes the one that the weights carry.

    Attributes:
        spec: the input spec; it builds the preprocessing.
        class_names: the names of the outputs, in order.
    """

    def __init__(self, network: Network, *, views: str | None = None):
        self.network = network
        self.spec = network.spec
        self.class_names = network.class_names
        self._pipeline = network.spec.eval_pipeline(views, form=network.backend.form)
        recipe = network.feature_recipe
        self.feature_recipe = FeatureRecipe.from_dict(recipe) if recipe is not None else None

    def __call__(
        self,
        video: Video | Features,
        *,
        window_s: float | None = None,
        stride_s: float | None = None,
        spans: Sequence[Span] | None = None,
        fps: float | None = None,
        batch_size: int = 8,
        progress: Progress | None = None,
    ) -> Prediction:
        """The answer for a whole video and, with `window_s`, for each window of it, or for each of `spans`.

        The whole video is seen by the evaluation protocol; a window is seen by the same protocol as if it
        were a video of its own. The memory needed does not grow with the video's length.

        Args:
            video: a file, a folder of frames, or RGB frames uint8 `[t h w 3]` or `[t 3 h w]`; for a model on features
                also `Features`, or a file of them.
            window_s: length of the windows; a shorter video gives one window.
            stride_s: from one window's start to the next; by default half a window.
            spans: stretches that another run found, possibly none; they become the windows.
            fps: rate of a folder's or an array's frames.
            batch_size: windows that go through the model together.
            progress: called with (windows done, windows in all) now and then.

        Raises:
            DecodeError: the file cannot be read.
            DataError: frames of a wrong form or without a rate; features of another recipe than the model's.
            ConfigError: a window, a stride or a batch size that is not above 0, or windows and spans together; a video
                for a model on features whose checkpoint holds no extractor, or features for a model on videos.
        """
        window_s, stride_s = _check_windows(window_s, stride_s)
        if spans is not None and window_s is not None:
            raise ConfigError("spans: windows and spans are two ways to cut a video; give one of them")
        if batch_size < 1:
            raise ConfigError(f"batch_size: got {batch_size}; needs at least 1")
        if self.takes_features:
            return self._of_features(video, window_s, stride_s, spans, fps, batch_size, progress)
        if isinstance(video, Features) or is_feature_file(video):
            raise ConfigError(f"{_name_of(video)}: these are features, and the model takes videos; give the video")
        name = name_of(video)
        with open_source(video, fps=fps) as reader:
            (answer,) = self._answers([ClipRecord(id=name, path=Path(name))], reader, batch_size=1)
            windows: list[Window] = []
            if spans is not None:
                places = [Place(span.start_s, span.end_s, span) for span in spans]
                windows = self._windows(name, reader, places, batch_size, progress)
            elif window_s is not None and stride_s is not None:
                places = [Place(*times) for times in window_times(reader.info, window_s, stride_s)]
                frames = shared_reader(reader, window_s, stride_s, network=self.network) if len(places) > 1 else reader
                windows = self._windows(name, frames, places, batch_size, progress)
            return Prediction(
                name,
                answer,
                reader.info,
                tuple(windows),
                over_spans=spans is not None,
                damaged_frames=reader.damaged_frames,
            )

    def _windows(
        self, name: str, reader: VideoReader, places: Sequence[Place], batch_size: int, progress: Progress | None
    ) -> list[Window]:
        """The places with their answers."""
        records = (
            ClipRecord(id=f"{name}@{place.start_s:.3f}", path=Path(name), start_s=place.start_s, end_s=place.end_s)
            for place in places
        )
        windows: list[Window] = []
        for place, answer in zip(places, self._answers(records, reader, batch_size=batch_size), strict=True):
            windows.append(place.answered(answer))
            if progress is not None:
                progress(len(windows), len(places))
        return windows

    def _answers(self, records: Iterable[ClipRecord], reader: VideoReader, *, batch_size: int) -> Iterator[Any]:
        for chunk in chunks(records, batch_size):
            samples = [self._pipeline(record, reader=reader) for record in chunk]
            yield from self._predict(samples)

    def _predict(self, samples: Sequence[dict[str, Any]]) -> list[Answer]:
        batch = self.network.backend.collate(samples)
        return self.network.decoder(numbers(self.network.backend.outputs(batch), batch), batch)

    def of_records(self, records: Iterable[Any], *, batch_size: int = 64) -> Iterator[tuple[str, Any]]:
        """(id, answer) of each record of a data set; of one that cannot be used, a DataError is the answer."""
        for chunk in chunks(records, batch_size):
            samples, failed = [], []
            for record in chunk:
                try:
                    samples.append(self._pipeline(record))
                except DataError as error:
                    failed.append((record.id, error))
            if samples:
                yield from zip([sample["id"] for sample in samples], self._predict(samples), strict=True)
            yield from failed

    # ---- models on features --------------------------------------------------------------------------------

    @property
    def takes_features(self) -> bool:
        """Whether the network takes features of a video, not its frames."""
        return self.network.takes_features

    @functools.cached_property
    def extractor(self) -> Extractor:
        """What makes the features that the model takes.

        Raises:
            ConfigError: the checkpoint does not hold it.
        """
        if self.network.open_extractor is None or self.feature_recipe is None:
            raise ConfigError(
                "predictor: the model takes features, and its checkpoint holds no extractor that makes them; give "
                "features instead of videos (--features), or train on features that `videozoo extract` made"
            )
        return Extractor.of_recipe(self.network.open_extractor(), self.feature_recipe)

    def features(
        self,
        video: Video | Features,
        *,
        fps: float | None = None,
        batch_size: int = 8,
        progress: Progress | None = None,
    ) -> tuple[Features, VideoInfo]:
        """What a model on features sees of a video, and what is known of the video; as for a call."""
        if isinstance(video, Features) or is_feature_file(video):
            name = _name_of(video)
            found = video if isinstance(video, Features) else read_features(name)
            if self.feature_recipe is not None and found.recipe is not None:
                self.feature_recipe.check_same(found.recipe, where=name)
            return found, _info_of(found, name)
        extractor = self.extractor
        with open_source(video, fps=fps) as reader:
            return extractor(reader, batch_size=batch_size, progress=progress), reader.info

    def _of_features(
        self,
        video: Video | Features,
        window_s: float | None,
        stride_s: float | None,
        spans: Sequence[Span] | None,
        fps: float | None,
        batch_size: int,
        progress: Progress | None,
    ) -> Prediction:
        name = _name_of(video)
        content, info = self.features(video, fps=fps, batch_size=batch_size, progress=progress)

        def answers(parts: Sequence[Features]) -> Sequence[Any]:
            return self._predict([self._pipeline(FeatureVideo(name, Path(name), p)) for p in parts])

        (answer,) = answers([content])
        places = [Place(span.start_s, span.end_s, span) for span in spans or ()]
        if window_s is not None and stride_s is not None:
            places = [Place(*times) for times in window_times(info, window_s, stride_s)]
        windows: list[Window] = []
        for chunk in chunks(places, batch_size):
            found = answers([content.between(place.start_s, place.end_s) for place in chunk])
            windows += [place.answered(a.shifted(place.start_s)) for place, a in zip(chunk, found, strict=True)]
        return Prediction(name, answer, info, tuple(windows), over_spans=spans is not None)


def _check_windows(window_s: float | None, stride_s: float | None) -> tuple[float | None, float | None]:
    if window_s is None:
        if stride_s is not None:
            raise ConfigError(f"stride_s: got {stride_s} without a window; give window_s (--window), too")
        return None, None
    stride_s = window_s / 2 if stride_s is None else stride_s
    for name, value in (("window_s", window_s), ("stride_s", stride_s)):
        if not 0 < value < float("inf"):
            raise ConfigError(f"{name}: got {value}; needs seconds above 0")
    return window_s, stride_s


def _name_of(video: Video | Features) -> str:
    return "features" if isinstance(video, Features) else name_of(video)


def _info_of(features: Features, name: str) -> VideoInfo:
    """What features say of their video, which is not at hand; where nothing says when, there is a second a row."""
    length_s = features.duration_s
    if length_s is None:
        times_s = features.times_s(duration_s=float(len(features)))
        length_s = float(times_s[-1] + times_s[0])
    return VideoInfo(
        path=name,
        duration_s=length_s,
        fps=len(features) / length_s,
        num_frames=None,
        width_px=0,
        height_px=0,
        rotation_deg=0,
        codec="features",
        pixel_format="",
        start_s=0.0,
        size_bytes=features.values.nbytes,
    )
