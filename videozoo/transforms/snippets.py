"""The input spec of localizers: a video's features over time as sequences of a fixed number of snippets."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np

from videozoo.contracts.features import Features
from videozoo.contracts.input import Batch, Form, InputSpec
from videozoo.contracts.record import FeatureRecord, Holds, Truth
from videozoo.contracts.video import Span
from videozoo.errors import ConfigError, DataError, WidthError
from videozoo.transforms.registry import register_input

__all__ = ["ClassTrack", "Extent", "SnippetPipeline", "SnippetsInput", "Timeline", "segments_within"]


class Extent(NamedTuple):
    """The stretch of a video that one sequence of snippets covers."""

    start_s: float
    length_s: float


@dataclasses.dataclass(frozen=True)
class ClassTrack:
    """The feature extractor's class probabilities over the time of a video."""

    times_s: np.ndarray  # [t], increasing: the middle of each row's window
    probs: np.ndarray  # [t k]
    class_names: tuple[str, ...]

    def means(self, segments: np.ndarray) -> np.ndarray:
        """Returns the mean `[n k]` of the rows inside each segment `[n 2]` in seconds, or its nearest row."""
        first = np.searchsorted(self.times_s, segments[:, 0])
        last = np.searchsorted(self.times_s, segments[:, 1], side="right")
        lone = last <= first
        nearest = np.abs(self.times_s - segments.mean(1)[lone, None]).argmin(1)
        first[lone], last[lone] = nearest, nearest + 1
        sums = np.concatenate([np.zeros((1, self.probs.shape[1])), self.probs.cumsum(0, dtype=np.float64)])
        return np.asarray((sums[last] - sums[first]) / (last - first)[:, None])


@dataclasses.dataclass(frozen=True)
class Timeline:
    """The stretches that the sequences of one video cover, and its class probabilities over time, if stored."""

    video_s: float
    extents: tuple[Extent, ...]
    track: ClassTrack | None = None

    def allowance(self, num: int) -> int:
        """Returns the largest number of answers for the video, given `num` for the time of one sequence."""
        return math.ceil(num * max(self.video_s / self.extents[0].length_s, 1.0))


@register_input
@dataclasses.dataclass(frozen=True)
class SnippetsInput(InputSpec):
    """Stored features of a video, interpolated at evenly spaced times.

    Args:
        num_snippets: length of a sequence.
        feature_dim: width of a row, checked against the features.
        rows: content of a row: the extractor's "features", its class "scores", or "both" side by side.
        sampling: "rescale" makes one sequence of a whole video, however long (BMN, BSN); "windows" cuts it into
            overlapping sequences of num_snippets at a fixed rate (long videos, THUMOS14), with zeros after its end.
            Training takes one random window around one of the segments in each epoch.
        snippet_s: seconds between snippets of "windows"; None takes the distance of the feature rows.
        overlap: share that two successive windows in evaluation have in common.
        num_points: samples averaged for a snippet, spread from its start to its end. 1 reads its middle; BSN's own
            preparation of features takes 3.
        crop_range: training on "rescale" takes a random stretch of this share of the video; None the whole.
    """

    num_snippets: int = 100
    feature_dim: int = 400
    rows: Literal["features", "scores", "both"] = "features"
    sampling: Literal["rescale", "windows"] = "rescale"
    snippet_s: float | None = None
    overlap: float = 0.5
    num_points: int = 1
    crop_range: tuple[float, float] | None = None

    takes: ClassVar[Holds] = "features"
    learns_from: ClassVar[Truth] = "segments"
    gives: ClassVar[frozenset[str]] = frozenset({"id", "features", "timeline", "spans"})

    def __post_init__(self) -> None:
        counts = {"num_snippets": self.num_snippets, "feature_dim": self.feature_dim, "num_points": self.num_points}
        for name, value in counts.items():
            if value < 1:
                raise ConfigError(f"input.{name}: is {value}; it must be at least 1")
        if not 0 <= self.overlap < 1:
            raise ConfigError(f"input.overlap: is {self.overlap}; it must be at least 0 and below 1")
        if self.snippet_s is not None and not self.snippet_s > 0:
            raise ConfigError(f"input.snippet_s: is {self.snippet_s}; give seconds above 0, or null")
        if self.snippet_s is not None and self.sampling != "windows":
            raise ConfigError(f"input.snippet_s: is {self.snippet_s}; set it only with sampling 'windows'")
        if self.crop_range is not None:
            if self.sampling != "rescale":
                raise ConfigError("input.crop_range: set it only with sampling 'rescale'; windows are stretches")
            if not 0 < self.crop_range[0] <= self.crop_range[1] <= 1:
                raise ConfigError(f"input.crop_range: is {self.crop_range}; give [least, most], above 0 and up to 1")

    def train_pipeline(self, *, num_classes: int | None = None) -> SnippetPipeline:
        """Returns the pipeline of training samples, one sequence each."""
        return SnippetPipeline(self, training=True)

    def eval_pipeline(
        self, views: str | None = None, *, num_classes: int | None = None, form: Form = "tensors"
    ) -> SnippetPipeline:
        """Returns the pipeline of evaluation samples, each with the whole video.

        Raises:
            ConfigError: `views` is not 1x1.
        """
        self.check_single_view(views)
        return SnippetPipeline(self, training=False)

    def to_arrays(self, batch: Batch) -> dict[str, Any]:
        """Stacks the sequences of all videos of a batch: `features` `[n t d]`."""
        return {**batch, "features": np.stack([sequence for video in batch["features"] for sequence in video])}

    def to_device(self, batch: Batch, device: Any) -> dict[str, Any]:
        from videozoo.transforms import tensors

        return tensors.moved(self.to_arrays(batch), device)

    def model_sizes(self) -> dict[str, Any]:
        return {"num_snippets": self.num_snippets, "feature_dim": self.feature_dim}

    def extents(self, video_s: float, row_s: float) -> list[Extent]:
        """Returns the stretches that cover a video of `video_s` seconds whose rows are `row_s` apart."""
        if self.sampling == "rescale":
            return [Extent(0.0, video_s)]
        length_s = self.window_s(row_s)
        num = 1 + math.ceil(max(video_s - length_s, 0.0) / (length_s * (1 - self.overlap)) - 1e-9)
        return [Extent(float(start_s), length_s) for start_s in np.linspace(0.0, max(video_s - length_s, 0.0), num)]

    def draw_extent(self, video_s: float, row_s: float, segments: Sequence[Span], rng: np.random.Generator) -> Extent:
        """Draws a random stretch of the video."""
        if self.sampling == "rescale":
            share = 1.0 if self.crop_range is None else rng.uniform(*self.crop_range)
            return Extent(float(rng.uniform(0, (1 - share) * video_s)), float(share * video_s))
        length_s = self.window_s(row_s)
        latest = max(video_s - length_s, 0.0)
        if not segments:
            return Extent(float(rng.uniform(0, latest)), length_s)
        segment = segments[int(rng.integers(len(segments)))]
        middle = (segment.start_s + segment.end_s) / 2
        return Extent(float(np.clip(middle - rng.uniform(0, length_s), 0.0, latest)), length_s)

    def window_s(self, row_s: float) -> float:
        """Returns the seconds of a sequence with sampling "windows"."""
        return self.num_snippets * (row_s if self.snippet_s is None else self.snippet_s)


@dataclasses.dataclass(frozen=True)
class SnippetPipeline:
    """Turns a record into its sequences of snippets.

    A sample has `id`; `features`, a list of sequences `[t d]` float32; `timeline`, a `Timeline` with the stretches
    that they cover; and `spans`, the record's segments.
    """

    spec: SnippetsInput
    training: bool

    def __call__(self, record: FeatureRecord, rng: np.random.Generator | None = None) -> dict[str, Any]:
        """Returns the sample of `record`.

        Raises:
            DataError: its features are missing, damaged or of a different width, or their times are unknown.
        """
        if self.training and rng is None:
            raise ConfigError("input: a training pipeline draws at random; call it as pipeline(record, rng)")
        features = record.features()
        rows = self._rows(record, features)
        evenly = features.stride_s is None  # rows without times are spread over the covered part
        covered_s = (record.covered_s if evenly else None) or record.duration_s
        times_s = features.times_s(covered_s, where=str(record.id))
        row_s = features.stride_s if features.stride_s is not None else 2 * float(times_s[0])
        covered_s = covered_s or features.duration_s or float(times_s[-1]) + row_s / 2
        spans = record.segments
        if self.training and rng is not None:
            extents = [self.spec.draw_extent(covered_s, row_s, spans, rng)]
        else:
            extents = self.spec.extents(covered_s, row_s)
        track = None
        if features.scores is not None and not self.training:
            track = ClassTrack(times_s, features.scores, features.class_names)
        return {
            "id": record.id,
            "features": [self._read(rows, times_s, covered_s, extent) for extent in extents],
            "timeline": Timeline(record.duration_s or features.duration_s or covered_s, tuple(extents), track),
            "spans": spans,
        }

    def _rows(self, record: FeatureRecord, features: Features) -> np.ndarray:
        wanted = self.spec.rows
        if wanted != "features" and features.scores is None:
            raise DataError(
                f"{record.id}: its features hold no class scores, but the recipe says input.rows={wanted}; "
                "extract them with the scores, or set it to features"
            )
        parts = {
            "features": (features.values,),
            "scores": (features.scores,),
            "both": (features.values, features.scores),
        }
        rows = np.concatenate([part for part in parts[wanted] if part is not None], axis=1)
        if rows.shape[1] != self.spec.feature_dim:
            raise WidthError(
                f"{record.id}: its {wanted} are {rows.shape[1]} wide, but "
                f"the recipe says input.feature_dim={self.spec.feature_dim}"
            )
        return rows

    def _read(self, rows: np.ndarray, times_s: np.ndarray, covered_s: float, extent: Extent) -> np.ndarray:
        """Returns snippets `[t d]` of a stretch: interpolated, clamped at both ends of the video, zero outside."""
        spec = self.spec
        snippet_s = extent.length_s / spec.num_snippets
        shares = (np.arange(spec.num_points) / (spec.num_points - 1)) if spec.num_points > 1 else np.array([0.5])
        at_s = extent.start_s + (np.arange(spec.num_snippets)[:, None] + shares) * snippet_s
        place = np.interp(at_s, times_s, np.arange(len(rows)))
        below = np.floor(place).astype(np.int64)
        above = np.minimum(below + 1, len(rows) - 1)
        share = (place - below)[..., None].astype(np.float32)
        read = (rows[below] * (1 - share) + rows[above] * share).mean(1)
        middles_s = extent.start_s + (np.arange(spec.num_snippets) + 0.5) * snippet_s
        read[middles_s > covered_s] = 0.0
        return np.ascontiguousarray(read, dtype=np.float32)


def segments_within(spans: Sequence[Span], extent: Extent, *, min_share: float = 0.5) -> tuple[np.ndarray, list[str]]:
    """Returns the segments in a stretch as shares of its length `[m 2]`, cut at its ends, and their labels.

    Segments with less than `min_share` of their length inside are left out.
    """
    ends = np.array([(span.start_s, span.end_s) for span in spans], np.float64).reshape(-1, 2)
    cut = np.clip((ends - extent.start_s) / extent.length_s, 0.0, 1.0)
    shares = (cut[:, 1] - cut[:, 0]) * extent.length_s / np.maximum(ends[:, 1] - ends[:, 0], 1e-9)
    kept = (shares >= min_share) & (cut[:, 1] > cut[:, 0])
    return cut[kept], [span.label for span, keep in zip(spans, kept, strict=True) if keep]
