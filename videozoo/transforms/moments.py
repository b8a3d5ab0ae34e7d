"""The input spec of grounding: windows of several lengths over a video's features, each with its context."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from videozoo.contracts.features import Features
from videozoo.contracts.input import Batch, Form, InputSpec
from videozoo.contracts.intervals import interval_iou, interval_overlap
from videozoo.contracts.record import Candidates, FeatureRecord, Holds, Truth
from videozoo.errors import ConfigError, DataError, WidthError
from videozoo.transforms.registry import register_input

__all__ = [
    "MomentsInput",
    "MomentsPipeline",
    "Windows",
    "fits",
    "mean_rows",
    "sliding_windows",
]

SHORTEST_S = 0.05


@dataclasses.dataclass(frozen=True)
class Windows:
    """The candidates of one video: features `[n 3d]` (before, in and after each) and times `[n 2]` in seconds."""

    features: np.ndarray
    times_s: np.ndarray
    duration_s: float


@register_input
@dataclasses.dataclass(frozen=True)
class MomentsInput(InputSpec):
    """Sliding windows as TALL (arXiv:1705.02101, section 3.1) takes them.

    A window's feature is the mean of the rows with their middle in it, joined with the same mean over `context_s`
    before and after it. Where the video has no context, the window's own feature replaces it.

    Training takes one window for each sentence: a random one among the windows that fit its moment, else the nearest.

    Args:
        window_s: lengths of the windows; one window over the whole video replaces all longer ones.
        eval_window_s: lengths in evaluation and search; None takes the same.
        overlap: share of a window that the next window of its length also covers.
        context_s: length of the context before and after a window.
        feature_dim: width of a row, equal to the model's.
        min_iou: least overlap of a fitting window with its moment.
        max_outside: largest share of a fitting window outside its moment.
    """

    takes: ClassVar[Holds] = "features"
    learns_from: ClassVar[Truth] = "moments"
    gives: ClassVar[frozenset[str]] = frozenset({"id", "windows", "window", "moment", "sentence", "video"})

    window_s: tuple[float, ...] = (2.0, 4.0, 8.0, 16.0)
    eval_window_s: tuple[float, ...] | None = None
    overlap: float = 0.8
    context_s: float = 4.0
    feature_dim: int = 4096
    min_iou: float = 0.5
    max_outside: float = 0.15

    def __post_init__(self) -> None:
        for name, lengths in (("window_s", self.window_s), ("eval_window_s", self.eval_window_s)):
            if lengths is not None and not (lengths and min(lengths) >= SHORTEST_S):
                raise ConfigError(f"input.{name}: is {lengths}; give lengths of {SHORTEST_S} s or more")
        if not 0 <= self.overlap < 1:
            raise ConfigError(f"input.overlap: is {self.overlap}; needs 0 or more and less than 1")
        if not (self.context_s > 0 and self.feature_dim > 0):
            raise ConfigError(f"input: {self.context_s=} and {self.feature_dim=}; both must be above 0")

    def train_pipeline(self, *, num_classes: int | None = None) -> MomentsPipeline:
        """Returns the pipeline of training samples, one window each.

        They have `windows` `[3d]`, `window` and `moment` `[2]`, `sentence`, `video` and `id`.
        """
        return MomentsPipeline(self, training=True)

    def eval_pipeline(
        self, views: str | None = None, *, num_classes: int | None = None, form: Form = "tensors"
    ) -> MomentsPipeline:
        """Returns the pipeline of all windows of a video: `candidates`, `sentence`, `id`, and `moment` if known.

        Raises:
            ConfigError: `views` is not 1x1.
        """
        self.check_single_view(views)
        return MomentsPipeline(self, training=False)

    def to_arrays(self, batch: Batch) -> dict[str, Any]:
        return dict(batch)

    def to_device(self, batch: Batch, device: Any) -> dict[str, Any]:
        from videozoo.transforms import tensors

        return tensors.moved(self.to_arrays(batch), device)

    def model_sizes(self) -> dict[str, Any]:
        return {"feature_dim": self.feature_dim}

    def windows(self, features: Features, duration_s: float | None = None) -> Windows:
        """Returns all windows of a video, for evaluation and search.

        Raises:
            DataError: the features have a different width, or the length of the video is unknown.
        """
        return _all(self.candidates(features, duration_s))

    def candidates(
        self, features: Features, duration_s: float | None = None, *, training: bool = False
    ) -> FeatureCandidates:
        """Returns the windows of a video without their features; errors as in `windows`."""
        if features.dim != self.feature_dim:
            raise WidthError(f"is {features.dim} wide, but the recipe says input.feature_dim={self.feature_dim}")
        length_s = duration_s if duration_s is not None else features.duration_s
        rows_s = features.times_s(length_s)
        if length_s is None:
            length_s = float(rows_s[-1] + (features.stride_s or 0) / 2)
        lengths = self.window_s if training or self.eval_window_s is None else self.eval_window_s
        times_s = sliding_windows(length_s, lengths, overlap=self.overlap)
        return FeatureCandidates(times_s, length_s, features.values, rows_s, self.context_s)


@dataclasses.dataclass(frozen=True)
class FeatureCandidates:
    """Windows over rows of features `[t d]` with their middles at `rows_s`."""

    times_s: np.ndarray
    duration_s: float
    values: np.ndarray
    rows_s: np.ndarray
    context_s: float

    def look(self, times_s: np.ndarray) -> np.ndarray:
        """Returns the features `[m 3d]` of windows `[m 2]`."""
        start, end = times_s.T
        earlier = np.stack([np.maximum(start - self.context_s, 0), start], axis=1)
        later = np.stack([end, np.minimum(end + self.context_s, self.duration_s)], axis=1)
        own, before, after = (mean_rows(self.values, self.rows_s, times) for times in (times_s, earlier, later))
        # a shorter context holds no row
        gap_s = float(np.diff(self.rows_s).min()) / 2 if len(self.rows_s) > 1 else SHORTEST_S
        before = np.where((start < gap_s)[:, None], own, before)
        after = np.where((end > self.duration_s - gap_s)[:, None], own, after)
        return np.concatenate([before, own, after], axis=1)


def _all(candidates: Candidates) -> Windows:
    return Windows(candidates.look(candidates.times_s), candidates.times_s, candidates.duration_s)


@dataclasses.dataclass(frozen=True)
class MomentsPipeline:
    """Turns a record into a sample; see `MomentsInput`."""

    spec: MomentsInput
    training: bool

    def __call__(self, record: FeatureRecord, rng: np.random.Generator | None = None) -> dict[str, Any]:
        """Returns the sample of `record`.

        Raises:
            DataError: its features cannot be used, its moment begins after the video's end, or its moment is unknown
                in training.
        """
        if record.sentence is None:
            raise DataError(f"{record.id}: has no sentence; query a grounding run with `videozoo search`")
        cut = record.candidates(context_s=self.spec.context_s, feature_dim=self.spec.feature_dim)
        found = cut if cut is not None else record.features()  # errors in the features already name the record
        try:
            return self._sample(record, self._candidates(record, found) if isinstance(found, Features) else found, rng)
        except DataError as error:
            kind = WidthError if isinstance(error, WidthError) else DataError
            raise kind(f"{record.id}: {error}") from error

    def _candidates(self, record: FeatureRecord, features: Features) -> Candidates:
        found = self.spec.candidates(features, record.duration_s, training=self.training)
        if record.moments and record.moments[0][0] >= found.duration_s:
            raise DataError(
                f"its moment begins at {record.moments[0][0]:g} s, the video ends at {found.duration_s:g} s; correct it"
            )
        return found

    def _sample(self, record: FeatureRecord, found: Candidates, rng: np.random.Generator | None) -> dict[str, Any]:
        sample: dict[str, Any] = {"id": record.id, "video": record.video or record.id, "sentence": record.sentence}
        moments = record.moments
        if not self.training:
            truth = {"moments": list(moments), "moment": np.array(moments[0], np.float64)} if moments else {}
            return {**sample, **truth, "candidates": _all(found)}
        if rng is None:
            raise ConfigError("input: a training pipeline draws at random; call it as pipeline(record, rng)")
        if not moments:
            raise DataError("its moment is unknown; training needs it")
        moment = moments[int(rng.integers(len(moments))) if len(moments) > 1 else 0]
        window = found.times_s[self._choose(found.times_s, np.array(moment), rng)]
        sample["moment"] = np.array(moment, np.float64)
        return {**sample, "windows": found.look(window[None])[0], "window": window}

    def _choose(self, times_s: np.ndarray, moment: np.ndarray, rng: np.random.Generator) -> int:
        fitting = np.flatnonzero(fits(times_s, moment, min_iou=self.spec.min_iou, max_outside=self.spec.max_outside))
        if not len(fitting):
            return int(interval_iou(times_s, moment).argmax())
        return int(fitting[rng.integers(len(fitting))])


def sliding_windows(duration_s: float, lengths_s: Sequence[float], *, overlap: float) -> np.ndarray:
    """Returns (start, end) `[n 2]` of windows of each length, shortest first; the last of each ends with the video.

    One window over the whole video replaces all longer ones.
    """
    found: dict[tuple[float, float], None] = {}
    for length_s in sorted(lengths_s):
        if length_s >= duration_s:
            found[0.0, duration_s] = None
            break
        count = int(np.ceil((duration_s - length_s) / (length_s * (1 - overlap)) - 1e-6))
        starts = np.minimum(np.arange(count + 1) * (length_s * (1 - overlap)), duration_s - length_s)
        found |= {(float(start), float(start + length_s)): None for start in starts}
    return np.array(list(found), np.float64)


def mean_rows(values: np.ndarray, rows_s: np.ndarray, times_s: np.ndarray) -> np.ndarray:
    """Returns the mean `[n d]` of the rows `[t d]` in each window `[n 2]`, or its nearest row, as float32."""
    sums = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0, dtype=np.float64)])
    first, last = np.searchsorted(rows_s, times_s[:, 0], "left"), np.searchsorted(rows_s, times_s[:, 1], "left")
    nearest = np.abs(rows_s[None, :] - times_s.mean(axis=1)[:, None]).argmin(axis=1)
    is_empty = last <= first
    first, last = np.where(is_empty, nearest, first), np.where(is_empty, nearest + 1, last)
    means: np.ndarray = (sums[last] - sums[first]) / (last - first)[:, None]
    return means.astype(np.float32)


def fits(times_s: np.ndarray, moment: np.ndarray, *, min_iou: float, max_outside: float) -> np.ndarray:
    """Returns which windows `[n 2]` match a moment `[2]`: they overlap it enough, and little of them lies outside."""
    outside = 1 - interval_overlap(times_s, moment) / (times_s[:, 1] - times_s[:, 0])
    fitting: np.ndarray = (interval_iou(times_s, moment) > min_iou) & (outside < max_outside)
    return fitting
