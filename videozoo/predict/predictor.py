"""From a network and a video to a typed answer."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence

from videozoo.contracts.answer import Answer
from videozoo.contracts.features import FeatureRecipe, Features
from videozoo.contracts.input import Sample
from videozoo.contracts.network import Network
from videozoo.contracts.record import FeatureRecord
from videozoo.contracts.video import Span, VideoInfo
from videozoo.errors import ConfigError, DataError
from videozoo.io.features import is_feature_file, read_features
from videozoo.predict.extractor import Extractor
from videozoo.predict.frames import Video, name_of, open_source
from videozoo.predict.inference import Content, FeatureContent, FrameContent, answers
from videozoo.predict.prediction import Place, Prediction, Window
from videozoo.predict.windows import window_times

__all__ = ["Predictor", "Progress"]

Progress = Callable[[int, int], None]


class Predictor:
    """Answers for complete videos and over time.

        predictor = videozoo.load("runs/tsm")
        predictor("a.mp4").labels.top(3)
        predictor("a.mp4", window_s=2.0, stride_s=1.0).windows

    A network on features takes videos, too, if its extractor is stored with it; see `Extractor`.

    Args:
        network: the network, in any backend.
        views: the protocol, "clips x crops" as in "10x3"; None takes the one stored with the weights.

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
        """Returns the answer for a video and, with `window_s`, for each of its windows, or for each of `spans`.

        The evaluation protocol applies to the complete video, and to each window as if it were a video of its own.
        Apart from the answers, the memory needed does not grow with the video's length.

        Args:
            video: a file, a folder of frames, or RGB frames uint8 `[t h w 3]` or `[t 3 h w]`; for a model on features
                also `Features`, or a file of them.
            window_s: length of the windows; a shorter video gives one window.
            stride_s: from one window's start to the next; by default half a window.
            spans: stretches that another run found, possibly none; they replace the windows.
            fps: rate of a folder's or an array's frames.
            batch_size: windows that go through the model together.
            progress: called repeatedly with (windows done, number of windows).

        Raises:
            DecodeError: the file cannot be read.
            DataError: frames of a wrong form or without a rate; features whose recipe differs from the model's.
            ConfigError: a window, a stride or a batch size that is not above 0, or windows and spans together; a video
                for a model on features whose checkpoint holds no extractor, or features for a model on videos.
        """
        window_s, stride_s = _check_windows(window_s, stride_s)
        if spans is not None and window_s is not None:
            raise ConfigError("spans: windows and spans exclude each other; give one of them")
        with self._open(video, fps, batch_size, progress) as content:
            ((_, answer),) = answers(self.network, [(None, content.sample(None))], batch_size=batch_size)
            windows: list[Window] = []
            num_places = 0
            places: Iterable[Place] = ()
            if spans is not None:
                num_places, places = len(spans), (Place(span.start_s, span.end_s, span) for span in spans)
            elif window_s is not None and stride_s is not None:
                times = window_times(content.info, window_s, stride_s)
                num_places, places = len(times), (Place(*each) for each in times)
                content = content.in_windows(window_s, stride_s) if num_places > 1 else content
            for place, found in answers(self.network, content.samples(places), batch_size=batch_size):
                windows.append(place.answered(found.shifted(place.start_s)))
                if progress is not None:
                    progress(len(windows), num_places)
            return Prediction(
                content.name,
                answer,
                content.info,
                tuple(windows),
                over_spans=spans is not None,
                damaged_frames=content.damaged_frames,
            )

    def of_records(
        self, records: Iterable[FeatureRecord], *, batch_size: int = 64
    ) -> Iterator[tuple[str, Answer | DataError]]:
        """Yields (id, answer) of each record of a data set; the answer of an unusable record is a DataError."""
        failed: list[tuple[str, DataError]] = []

        def samples() -> Iterator[tuple[str, Sample]]:
            for record in records:
                try:
                    sample = self._pipeline(record)
                except DataError as error:
                    failed.append((record.id, error))
                else:
                    yield sample["id"], sample

        for answered in answers(self.network, samples(), batch_size=batch_size):
            yield answered
            yield from _taken(failed)
        yield from _taken(failed)

    @contextlib.contextmanager
    def _open(
        self, video: Video | Features, fps: float | None, batch_size: int, progress: Progress | None
    ) -> Iterator[Content]:
        if self.takes_features:
            yield self.features(video, fps=fps, batch_size=batch_size, progress=progress)
            return
        if isinstance(video, Features) or is_feature_file(video):
            raise ConfigError(f"{_name_of(video)}: these are features, but the model takes videos; give the video")
        with open_source(video, fps=fps) as reader:
            yield FrameContent(name_of(video), reader.info, reader, self.network, self._pipeline)

    # ---- networks on features --------------------------------------------------------------------------------

    @property
    def takes_features(self) -> bool:
        """Whether the network takes features of a video instead of its frames."""
        return self.network.takes_features

    @functools.cached_property
    def extractor(self) -> Extractor:
        """The extractor of the features that the network takes.

        Raises:
            ConfigError: the checkpoint does not contain it.
        """
        if self.network.open_extractor is None or self.feature_recipe is None:
            raise ConfigError(
                "predictor: the model takes features, but its checkpoint contains no extractor for them; give "
                "features instead of videos (--features), or train on features from `videozoo extract`"
            )
        return Extractor.of_recipe(self.network.open_extractor(), self.feature_recipe)

    def features(
        self,
        video: Video | Features,
        *,
        fps: float | None = None,
        batch_size: int = 8,
        progress: Progress | None = None,
    ) -> FeatureContent:
        """Returns the features of a video, extracted or given, with the video's properties; see `__call__`."""
        name = _name_of(video)
        if isinstance(video, Features) or is_feature_file(video):
            found = video if isinstance(video, Features) else read_features(name, self.spec.modalities)
            if self.feature_recipe is not None and found.recipe is not None:
                self.feature_recipe.check_same(found.recipe, where=name)
            return FeatureContent(name, _info_of(found, name), found, self._pipeline)
        extractor = self.extractor
        with open_source(video, fps=fps) as reader:
            found = extractor(reader, batch_size=batch_size, progress=progress)
            return FeatureContent(name, reader.info, found, self._pipeline, damaged_frames=reader.damaged_frames)


def _taken(items: list[tuple[str, DataError]]) -> list[tuple[str, DataError]]:
    """Returns the items and empties the list."""
    taken = items.copy()
    items.clear()
    return taken


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
    """Returns the video's properties as far as features have them; without times, a row counts as a second."""
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
