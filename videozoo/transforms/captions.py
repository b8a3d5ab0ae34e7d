"""The input spec of captioners: the features of a stretch of a video, and the words of its captions."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from videozoo.contracts.features import Features
from videozoo.contracts.input import Batch, Form, InputSpec
from videozoo.contracts.record import FeatureRecord, Holds, Truth
from videozoo.errors import ConfigError, DataError, WidthError
from videozoo.transforms.registry import register_input

__all__ = ["CaptionsInput", "CaptionsPipeline"]


@register_input
@dataclasses.dataclass(frozen=True)
class CaptionsInput(InputSpec):
    """Features of a stretch of a video: the rows whose middle lies in it, or the nearest one.

    Args:
        feature_dim: width of a row, checked against the features.
        max_rows: number of rows that are read, evenly spaced, from a longer stretch.
    """

    feature_dim: int = 2048
    max_rows: int = 1000

    takes: ClassVar[Holds] = "features"
    learns_from: ClassVar[Truth] = "captions"
    gives: ClassVar[frozenset[str]] = frozenset({"id", "features", "mask", "words"})

    def __post_init__(self) -> None:
        for name, value in (("feature_dim", self.feature_dim), ("max_rows", self.max_rows)):
            if value < 1:
                raise ConfigError(f"input.{name}: is {value}; it must be at least 1")

    def train_pipeline(self, *, num_classes: int | None = None) -> CaptionsPipeline:
        """Returns the pipeline of training samples, each with one random caption of its record."""
        return CaptionsPipeline(self, training=True)

    def eval_pipeline(
        self, views: str | None = None, *, num_classes: int | None = None, form: Form = "tensors"
    ) -> CaptionsPipeline:
        """Returns the pipeline of evaluation samples; features have one view.

        Raises:
            ConfigError: `views` is not 1x1.
        """
        self.check_single_view(views)
        return CaptionsPipeline(self, training=False)

    def to_arrays(self, batch: Batch) -> dict[str, Any]:
        """Pads a batch: `features` `[b t d]`, `mask` `[b t]`, True on rows, and `words` `[b n]`, -1 on padding."""
        features, lengths = padded([rows for (rows,) in batch["features"]])
        arrays = {**batch, "features": features, "mask": np.arange(features.shape[1]) < lengths[:, None]}
        if "words" in batch:
            arrays["words"], _ = padded([np.array(words, np.int64) for words in batch["words"]], value=-1)
        return arrays

    def to_device(self, batch: Batch, device: Any) -> dict[str, Any]:
        from videozoo.transforms import tensors

        return tensors.moved(self.to_arrays(batch), device)

    def model_sizes(self) -> dict[str, Any]:
        return {"feature_dim": self.feature_dim}


def padded(rows: Sequence[np.ndarray], *, value: float = 0) -> tuple[np.ndarray, np.ndarray]:
    """Returns arrays `[t ...]` of different lengths as one `[b t ...]`, padded with `value`, and their lengths."""
    rows = [np.asarray(row) for row in rows]
    lengths = np.array([len(row) for row in rows])
    made = np.full((len(rows), lengths.max(), *rows[0].shape[1:]), value, rows[0].dtype)
    for place, row in zip(made, rows, strict=True):
        place[: len(row)] = row
    return made, lengths


@dataclasses.dataclass(frozen=True)
class CaptionsPipeline:
    """Turns a record into a sample.

    A sample has `id`; `features`, a list with one array `[t d]`; for training `words`, the indices of a caption's
    words; for evaluation `video`, `segment` (start_s, end_s, or None), `references`, all captions, and the rows'
    `times_s`.
    """

    spec: CaptionsInput
    training: bool

    def __call__(self, record: FeatureRecord, rng: np.random.Generator | None = None) -> dict[str, Any]:
        """Returns the sample of `record`.

        Raises:
            DataError: its features are missing, damaged or of a different width, or it has no caption to learn from.
        """
        features = record.features()
        if features.dim != self.spec.feature_dim:
            raise WidthError(
                f"{record.id}: its features are {features.dim} wide, but "
                f"the recipe says input.feature_dim={self.spec.feature_dim}"
            )
        if not len(features):
            raise DataError(f"{record.id}: its features have no rows; extract them again")
        start_s, end_s = record.start_s, record.end_s
        segment = (start_s, end_s) if start_s is not None and end_s is not None else None
        rows, times_s = self._rows(record, features, segment)
        sample = {"id": record.id, "features": [features.values[rows]]}
        if not self.training:
            about = {"video": record.video or record.id, "segment": segment, "times_s": [times_s]}
            return {**sample, **about, "references": record.captions}
        if rng is None:
            raise ConfigError("input: a training pipeline draws at random; call it as pipeline(record, rng)")
        if not record.words:
            raise DataError(f"{record.id}: has no caption; training needs one")
        return {**sample, "words": list(record.words[int(rng.integers(len(record.words)))])}

    def _rows(
        self, record: FeatureRecord, features: Features, segment: tuple[float, float] | None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Returns the indices of the rows to read, and their times if they are known."""
        known = features.stride_s is not None or features.duration_s is not None or record.duration_s is not None
        times_s = features.times_s(record.duration_s, where=str(record.id)) if known or segment is not None else None
        rows = np.arange(len(features))
        if segment is not None and times_s is not None:
            start_s, end_s = segment
            inside = np.flatnonzero((times_s >= start_s) & (times_s < end_s))
            rows = inside if len(inside) else rows[[np.abs(times_s - (start_s + end_s) / 2).argmin()]]
        if len(rows) > self.spec.max_rows:
            places = (np.arange(self.spec.max_rows) + 0.5) * len(rows) / self.spec.max_rows
            rows = rows[places.astype(np.int64)]
        return rows, times_s[rows] if times_s is not None else None
