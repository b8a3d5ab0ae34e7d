"""From a video to features over time: what a trained network sees in windows of it."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np

from videozoo.contracts.backend import Outputs
from videozoo.contracts.input import Batch
from videozoo.decoding.classify import ClassifyDecoder
from videozoo.errors import ConfigError, DataError
from videozoo.io.decode import VideoReader
from videozoo.io.features import FeatureRecipe, Features, Output, dequantised, quantised
from videozoo.predict.frames import Video, name_of, open_source
from videozoo.predict.projection import Projection
from videozoo.predict.windows import chunks, shared_reader, window_times
from videozoo.tasks.backend import TorchBackend
from videozoo.tasks.build import task_from_checkpoint
from videozoo.tasks.device import pick_device
from videozoo.tasks.precision import check_precision
from videozoo.transforms.input import ClipInput
from videozoo.transforms.sound import silence, sound_features
from videozoo.types import ClipRecord, VideoInfo
from videozoo.weights import checkpoint
from videozoo.weights.checkpoint import Checkpoint

__all__ = ["Extractor", "FeatureVideo"]

TIMM = "timm:"


class Extractor:
    """Features of videos over time, by a clip classifier or by an image network of timm.

        extractor = Extractor("runs/tsm", window_s=1.28, stride_s=0.32)
        features = extractor("a.mp4")       # values [t d], scores [t k], and the times of the rows

    Each window is seen by the network's own evaluation pipeline (one clip, the centre crop), as if it were a video of
    its own. Frames that windows share are decoded once, and the memory needed does not grow with the video's length.

    Args:
        source: a run directory, a weight file, a checkpoint that was read, or "timm:NAME" for the image network NAME.
        window_s: what a row sees. By default what a clip covers, where the input is sampled densely (at the rate of the
            first video, unless the input says one), else 1 s.
        stride_s: from one row to the next; by default a quarter of the window in hundredths of a second, and of
            one-frame inputs the window.
        output: "features" are what the classifier sees; "scores" its class probabilities.
        projection: principal components to keep; a stored extractor has its own.
        audio: also give 128 numbers of the sound to each row; see `transforms.sound`. A video without sound is silent.
        quantised: put the values through YouTube-8M's bytes, as features stored in tfrecord have gone.
        device, precision: as for `Predictor`.

    Attributes:
        class_names: of the scores; empty for an image network.

    Raises:
        WeightsError: no such weights, or they do not fit.
        ConfigError: the weights are no clip classifier, or an argument is out of range.
    """

    def __init__(
        self,
        source: str | os.PathLike[str] | Checkpoint,
        *,
        window_s: float | None = None,
        stride_s: float | None = None,
        output: Output = "features",
        projection: Projection | None = None,
        audio: bool = False,
        quantised: bool = False,
        device: str = "auto",
        precision: str = "fp32",
    ):
        for name, value in (("window_s", window_s), ("stride_s", stride_s)):
            if value is not None and not 0 < value < float("inf"):
                raise ConfigError(f"{name}: got {value}; needs seconds above 0")
        if output not in get_args(Output):
            raise ConfigError(f"output: there is no '{output}'; it is {' or '.join(get_args(Output))}")
        check_precision(precision)
        source = _read(source)
        weights, stored = Projection.split(source.model)
        self.projection = projection if projection is not None else stored
        self.device, self.precision = pick_device(device), precision
        self.name = str(source.record.get("name") or source.section("model")["name"])
        task, self.spec = task_from_checkpoint(dataclasses.replace(source, model=weights))
        if not (isinstance(self.spec, ClipInput) and isinstance(task.decoder, ClassifyDecoder)):
            raise ConfigError(
                f"{source.path}: '{self.name}' does not take clips to class scores; features are made by a clip "
                "classifier (classify), or by timm:NAME"
            )
        self.task, self.decoder = task, task.decoder
        self.class_names = source.class_names
        if output == "scores" and not self.class_names:
            raise ConfigError(f"output: '{self.name}' has no classes, so no scores; take features")
        self.output, self.audio, self.quantised = output, audio, quantised
        self.window_s, self.stride_s = window_s, stride_s
        self.sha256 = checkpoint.fingerprint(weights)
        self._source = dataclasses.replace(source, model={}, resume={}, extractor=None)
        self._pipeline = self.spec.eval_pipeline("1x1")
        self.backend = TorchBackend(task, self.spec, device=self.device, precision=self.precision)

    @classmethod
    def of_recipe(
        cls, source: Checkpoint, recipe: FeatureRecipe, *, device: str = "auto", precision: str = "fp32"
    ) -> Extractor:
        """The extractor that makes features of `recipe`.

        Raises:
            DataError: these weights make other features; the message names both recipes.
        """
        made = cls(
            source,
            window_s=recipe.window_s,
            stride_s=recipe.stride_s,
            output=recipe.output,
            audio=recipe.audio,
            quantised=recipe.quantised,
            device=device,
            precision=precision,
        )
        recipe.check_same(made.recipe, where=str(source.path))
        return made

    @property
    def recipe(self) -> FeatureRecipe:
        """How its features are made.

        Raises:
            ConfigError: the window is to come from the first video's frame rate, and there was none yet.
        """
        recipe = dataclasses.replace(self.raw_recipe, quantised=self.quantised)
        if self.projection is None:
            return recipe
        return dataclasses.replace(recipe, dim=self.projection.dim, pca=self.projection.sha256)

    @property
    def raw_recipe(self) -> FeatureRecipe:
        """The same without the projection and the quantisation."""
        return self._recipe(None)

    @property
    def checkpoint(self) -> Checkpoint:
        """All that makes the same features again, to be stored beside them and in checkpoints."""
        parts = ("name", "model", "task", "input")
        record = {key: value for key, value in self._source.record.items() if key in parts}
        model = self.task.model.state_dict()
        if self.projection is not None:
            model |= self.projection.to_tensors()
        return dataclasses.replace(self._source, record=record, model=model)

    def settle(self, info: VideoInfo) -> None:
        """Takes the window from the frame rate of this video, where nothing else has said it."""
        self._recipe(info)

    def __call__(
        self,
        video: Video | VideoReader,
        *,
        window_s: float | None = None,
        stride_s: float | None = None,
        fps: float | None = None,
        batch_size: int = 8,
        raw: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> Features:
        """The features of a video; one that is shorter than a window has one row.

        Threads may call it at the same time: they decode side by side, and take turns at the network.

        Args:
            video: a file, a folder of frames, RGB frames, or an open reader.
            window_s, stride_s: instead of the extractor's own.
            fps: rate of a folder's or an array's frames.
            batch_size: windows that go through the network together.
            raw: leave the projection and the quantisation out; `finished` makes up for it.
            progress: is told (windows done, windows in all) after each batch.

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
            recipe = self._recipe(info, window_s, stride_s)
            times = window_times(info, recipe.window_s, recipe.stride_s)
            if len(times) > 1:
                reader = shared_reader(reader, recipe.window_s, recipe.stride_s, spec=self.spec)
            values, scores, done = [], [], 0
            for seen, probs in self._rows(name, times, reader, batch_size):
                values.append(seen)
                scores.append(probs)
                done += len(probs)
                if progress is not None:
                    progress(done, len(times))
        made = Features(
            values=np.concatenate(values),
            stride_s=recipe.stride_s,
            offset_s=min(recipe.window_s, info.duration_s) / 2,
            duration_s=info.duration_s,
            scores=np.concatenate(scores) if self.class_names else None,
            class_names=self.class_names,
            audio=_sound(name, info, times) if self.audio else None,
            recipe=recipe,
        )
        return made if raw else self.finished(made)

    def finished(self, features: Features) -> Features:
        """Raw features with the projection and the quantisation."""
        if features.recipe is None or (self.projection is None and not self.quantised):
            return features
        recipe = features.recipe
        tables: dict[str, Any] = {"values": features.values}
        if self.projection is not None:
            tables["values"] = self.projection(features.values)
            recipe = dataclasses.replace(recipe, dim=self.projection.dim, pca=self.projection.sha256)
        if self.quantised:
            tables |= {"audio": features.audio} if features.audio is not None else {}
            tables = {name: dequantised(quantised(table)) for name, table in tables.items()}
            recipe = dataclasses.replace(recipe, quantised=True)
        return dataclasses.replace(features, **tables, recipe=recipe)

    def _recipe(
        self, info: VideoInfo | None, window_s: float | None = None, stride_s: float | None = None
    ) -> FeatureRecipe:
        window_s = window_s if window_s is not None else self.window_s
        if window_s is None:
            window_s = self.window_s = self._clip_s(info)
        stride_s = stride_s if stride_s is not None else self.stride_s
        if stride_s is None:
            stride_s = window_s if self.spec.num_frames == 1 else max(round(window_s / 4, 2), 0.01)
        for name, value in (("window_s", window_s), ("stride_s", stride_s)):
            if not 0 < value < float("inf"):
                raise ConfigError(f"{name}: got {value}; needs seconds above 0")
        return FeatureRecipe(
            extractor=self.name,
            sha256=self.sha256,
            output=self.output,
            window_s=round(window_s, 6),
            stride_s=round(stride_s, 6),
            input={k: v for k, v in self.spec.to_dict().items() if k not in ("augment", "views")},
            dim=len(self.class_names) if self.output == "scores" else self.task.model.num_features,
            audio=self.audio,
        )

    def _clip_s(self, info: VideoInfo | None) -> float:
        if not self.spec.sampling.startswith("dense"):
            return 1.0
        rate_hz = self.spec.fps or (info.fps if info is not None else None)
        if rate_hz is None:
            raise ConfigError("window_s: comes from the frame rate of the first video; give it, or a video first")
        return round(self.spec.num_frames * self.spec.frame_stride / rate_hz, 3)

    def _rows(
        self, name: str, times: Sequence[tuple[float, float]], reader: VideoReader, batch_size: int
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        if batch_size < 1:
            raise ConfigError(f"batch_size: got {batch_size}; needs at least 1")
        records = (
            ClipRecord(id=f"{name}@{start_s:.3f}", path=Path(name), start_s=start_s, end_s=end_s)
            for start_s, end_s in times
        )
        for chunk in chunks(records, batch_size):
            yield self._forward([self._pipeline(record, reader=reader) for record in chunk])

    def _forward(self, samples: list[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
        """(features or scores `[b d]`, class probabilities `[b k]`) of samples."""
        batch = self.backend.collate(samples)
        outputs = numbers(self.backend.outputs(batch, graph="features"), batch)
        features = outputs["features"][:, 0]
        if not self.class_names:
            return features, np.zeros((len(features), 0), np.float32)
        scores = self.decoder.probs(outputs["scores"])
        return (scores if self.output == "scores" else features), scores


def numbers(outputs: Outputs, batch: Batch) -> Outputs:
    """Returns the outputs of a network, checked.

    Raises:
        DataError: some are nan: finite weights overflow in half precision.
    """
    for values in outputs.values():
        if np.issubdtype(values.dtype, np.floating) and np.isnan(values).any():
            first = batch["id"][0]
            raise DataError(f"{first}: the model's scores are nan; check its weights, or use --precision fp32")
    return outputs


def _sound(name: str, info: VideoInfo, times: Sequence[tuple[float, float]]) -> np.ndarray:
    return sound_features(name, times) if info.has_audio else silence(len(times))


@dataclasses.dataclass(frozen=True)
class FeatureVideo:
    """One video's features as the record of a data set without truth, for an evaluation pipeline."""

    id: str
    path: Path
    content: Features = dataclasses.field(repr=False)
    labels: tuple[int, ...] | None = None
    segments: tuple[Any, ...] = ()
    captions: tuple[Any, ...] = ()

    @property
    def duration_s(self) -> float | None:
        return self.content.duration_s

    def features(self) -> Features:
        return self.content


def _read(source: str | os.PathLike[str] | Checkpoint) -> Checkpoint:
    if isinstance(source, Checkpoint):
        return source
    text = os.fspath(source)
    if not text.startswith(TIMM):
        return checkpoint.read(text)
    from videozoo.weights.timm_images import timm_checkpoint  # timm takes a second to load, and few need it

    return timm_checkpoint(text.removeprefix(TIMM))
