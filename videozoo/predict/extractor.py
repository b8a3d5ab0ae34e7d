"""Extracts features of a video over time: the inputs of a trained network's classifier, one row a window."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import get_args

import numpy as np
from typing_extensions import Self

from videozoo.contracts.backend import Outputs
from videozoo.contracts.features import FeatureRecipe, Features, Output
from videozoo.contracts.network import Network
from videozoo.contracts.video import VideoInfo
from videozoo.decoding.classify import ClassifyDecoder
from videozoo.errors import ConfigError
from videozoo.io.decode import VideoReader
from videozoo.io.features import dequantize, quantize
from videozoo.predict.frames import Video, name_of, open_source
from videozoo.predict.inference import FrameContent, batches
from videozoo.predict.prediction import Place
from videozoo.predict.projection import Projection
from videozoo.predict.windows import window_times
from videozoo.transforms.input import ClipInput, ClipPipeline
from videozoo.transforms.sound import silence, sound_features

__all__ = ["Extractor"]


@dataclasses.dataclass(frozen=True)
class Extractor:
    """Features of videos over time, by a clip classifier or by an image network of timm.

        extractor = videozoo.load_extractor("runs/tsm", window_s=1.28, stride_s=0.32)
        features = extractor("a.mp4")       # values [t d], scores [t k], and the times of the rows

    The network's own evaluation pipeline (one clip, the center crop) reads each window as if it were a video of its
    own. Frames shared by windows are decoded once, and the memory needed does not grow with the video's length.

    Args:
        network: a clip classifier.
        window_s: length of a row's window. By default the length of a clip, if the input is sampled densely (at the
            rate of each video, unless the input has one; `settled` fixes it), else 1 s.
        stride_s: from one row to the next; by default a quarter of the window in hundredths of a second, and for
            one-frame inputs the window.
        output: "features" for the classifier's inputs, "scores" for its class probabilities.
        projection: principal components to keep; a stored extractor has its own.
        audio: adds 128 numbers of the sound to each row; see `transforms.sound`. A video without sound is silent.
        quantised: quantises the values to YouTube-8M's bytes and back, as in features stored as tfrecord.

    Raises:
        ConfigError: the network is not a clip classifier, or an argument is out of range.
    """

    network: Network
    window_s: float | None = None
    stride_s: float | None = None
    output: Output = "features"
    projection: Projection | None = None
    audio: bool = False
    quantised: bool = False

    def __post_init__(self) -> None:
        for name, value in (("window_s", self.window_s), ("stride_s", self.stride_s)):
            if value is not None and not 0 < value < float("inf"):
                raise ConfigError(f"{name}: got {value}; needs seconds above 0")
        if self.output not in get_args(Output):
            raise ConfigError(f"output: there is no '{self.output}'; it is {' or '.join(get_args(Output))}")
        network = self.network
        if not (isinstance(network.spec, ClipInput) and isinstance(network.decoder, ClassifyDecoder)):
            raise ConfigError(
                f"{network.source}: '{network.name}' does not take clips to class scores; features are made by a clip "
                "classifier (classify), or by timm:NAME"
            )
        if self.output == "scores" and not self.class_names:
            raise ConfigError(f"output: '{network.name}' has no classes, so no scores; take features")
        if self.projection is None:
            object.__setattr__(self, "projection", Projection.from_arrays(network.arrays))

    @classmethod
    def of_recipe(cls, network: Network, recipe: FeatureRecipe) -> Self:
        """Returns the extractor that makes features of `recipe`.

        Raises:
            DataError: this network makes different features; the message names both recipes.
        """
        made = cls(
            network,
            window_s=recipe.window_s,
            stride_s=recipe.stride_s,
            output=recipe.output,
            audio=recipe.audio,
            quantised=recipe.quantised,
        )
        recipe.check_same(made.recipe, where=network.source)
        return made

    @property
    def spec(self) -> ClipInput:
        assert isinstance(self.network.spec, ClipInput)
        return self.network.spec

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the scores; empty for an image network."""
        return self.network.class_names

    @functools.cached_property
    def sha256(self) -> str:
        """The SHA-256 of the network's weights."""
        return self.network.fingerprint()

    @property
    def recipe(self) -> FeatureRecipe:
        """The recipe of its features.

        Raises:
            ConfigError: the window follows the frame rate of the video; see `settled`.
        """
        recipe = dataclasses.replace(self.raw_recipe, quantised=self.quantised)
        if self.projection is None:
            return recipe
        return dataclasses.replace(recipe, dim=self.projection.dim, pca=self.projection.sha256)

    @property
    def raw_recipe(self) -> FeatureRecipe:
        """The same without the projection and the quantization."""
        window_s, stride_s = self._times(None)
        return FeatureRecipe(
            extractor=self.network.name,
            sha256=self.sha256,
            output=self.output,
            window_s=round(window_s, 6),
            stride_s=round(stride_s, 6),
            input={k: v for k, v in self.spec.to_dict().items() if k not in ("augment", "views")},
            dim=len(self.class_names) if self.output == "scores" else self.network.num_features,
            audio=self.audio,
        )

    def settled(self, info: VideoInfo) -> Self:
        """Returns an extractor with a fixed window and stride, which may follow the frame rate of this video."""
        window_s, stride_s = self._times(info)
        return dataclasses.replace(self, window_s=window_s, stride_s=stride_s)

    def write(self, path: Path) -> None:
        """Writes the network and the projection, which make the same features again, to a file of weights."""
        self.network.write(path, self.projection.to_arrays() if self.projection is not None else {})

    def __call__(
        self,
        video: Video | VideoReader,
        *,
        fps: float | None = None,
        batch_size: int = 8,
        raw: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> Features:
        """Returns the features of a video; one that is shorter than a window has one row.

        Threads may call it at the same time: they decode side by side, and take turns at the network.

        Args:
            video: a file, a folder of frames, RGB frames, or an open reader.
            fps: rate of a folder's or an array's frames.
            batch_size: windows that go through the network together.
            raw: returns unprojected, unquantized rows; `finished` applies both.
            progress: called with (windows done, windows in all) after each batch.

        Raises:
            DecodeError: the file cannot be read.
            DataError: frames of a wrong form or without a rate.
        """
        with contextlib.ExitStack() as stack:
            if isinstance(video, VideoReader):
                reader, name = video, video.info.path
            else:
                reader, name = stack.enter_context(open_source(video, fps=fps)), name_of(video)
            info = reader.info
            recipe = self.settled(info).raw_recipe
            times = window_times(info, recipe.window_s, recipe.stride_s)
            content = FrameContent(name, info, reader, self.network, self._pipeline)
            if len(times) > 1:
                content = content.in_windows(recipe.window_s, recipe.stride_s)
            samples = content.samples(Place(*each) for each in times)
            rows, done = [], 0
            for places, outputs, _ in batches(self.network, samples, batch_size=batch_size, graph="features"):
                rows.append(self._rows(outputs))
                done += len(places)
                if progress is not None:
                    progress(done, len(times))
        values, scores = (np.concatenate(parts) for parts in zip(*rows, strict=True))
        made = Features(
            values=values,
            stride_s=recipe.stride_s,
            offset_s=min(recipe.window_s, info.duration_s) / 2,
            duration_s=info.duration_s,
            scores=scores if self.class_names else None,
            class_names=self.class_names,
            audio=_sound(name, info, times) if self.audio else None,
            recipe=recipe,
        )
        return made if raw else self.finished(made)

    def finished(self, features: Features) -> Features:
        """Applies the projection and the quantization to raw features."""
        if features.recipe is None or (self.projection is None and not self.quantised):
            return features
        recipe, values, audio = features.recipe, features.values, features.audio
        if self.projection is not None:
            values = self.projection(values)
            recipe = dataclasses.replace(recipe, dim=self.projection.dim, pca=self.projection.sha256)
        if self.quantised:
            values = dequantize(quantize(values))
            audio = dequantize(quantize(audio)) if audio is not None else None
            recipe = dataclasses.replace(recipe, quantised=True)
        return dataclasses.replace(features, values=values, audio=audio, recipe=recipe)

    def _times(self, info: VideoInfo | None) -> tuple[float, float]:
        """Returns (window_s, stride_s), with the defaults for a video."""
        window_s = self.window_s if self.window_s is not None else self._clip_s(info)
        if self.stride_s is not None:
            return window_s, self.stride_s
        return window_s, window_s if self.spec.num_frames == 1 else max(round(window_s / 4, 2), 0.01)

    def _clip_s(self, info: VideoInfo | None) -> float:
        if not self.spec.sampling.startswith("dense"):
            return 1.0
        rate_hz = self.spec.fps or (info.fps if info is not None else None)
        if rate_hz is None:
            raise ConfigError("window_s: depends on the frame rate of the first video; give it, or a video first")
        return round(self.spec.num_frames * self.spec.frame_stride / rate_hz, 3)

    @functools.cached_property
    def _pipeline(self) -> ClipPipeline:
        return self.spec.eval_pipeline("1x1", form=self.network.backend.form)

    def _rows(self, outputs: Outputs) -> tuple[np.ndarray, np.ndarray]:
        """Returns (features or scores `[b d]`, class probabilities `[b k]`) of a batch."""
        features = outputs["features"][:, 0]
        if not self.class_names:
            return features, np.zeros((len(features), 0), np.float32)
        assert isinstance(self.network.decoder, ClassifyDecoder)
        scores = self.network.decoder.probs(outputs["scores"])
        return (scores if self.output == "scores" else features), scores


def _sound(name: str, info: VideoInfo, times: Sequence[tuple[float, float]]) -> np.ndarray:
    return sound_features(name, times) if info.has_audio else silence(len(times))
