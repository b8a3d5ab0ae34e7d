"""Features: one video's rows of numbers over time, and how they were made."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from numbers import Real
from typing import Any, Literal, get_args

import numpy as np
from typing_extensions import Self

from videozoo.errors import DataError
from videozoo.structured import checked, shown

__all__ = ["FeatureRecipe", "Features", "Output"]

Output = Literal["features", "scores"]
ADVICE = "is not a feature recipe; extract the features again"


@dataclasses.dataclass(frozen=True)
class FeatureRecipe:
    """How features were made; a model takes only features of the recipe that it was trained on.

    Attributes:
        extractor: name of the network.
        sha256: of its weights; see `weights.checkpoint.fingerprint`.
        output: "features" for the input of its classifier, "scores" for its class probabilities.
        window_s, stride_s: the length of video that a row covers, and the distance to the next row.
        input: the input spec, without its training options.
        dim: width of a row.
        pca: SHA-256 of the projection applied to the rows, or None.
        audio: whether each row also has 128 sound features.
        quantised: whether the values were quantised to YouTube-8M's bytes.
    """

    extractor: str
    sha256: str
    output: Output
    window_s: float
    stride_s: float
    input: Mapping[str, Any]
    dim: int
    pca: str | None = None
    audio: bool = False
    quantised: bool = False

    def __post_init__(self) -> None:
        if self.output not in get_args(Output):
            raise DataError(f"feature recipe: output is {shown(self.output)}; it must be features or scores")
        if not (self.window_s > 0 and self.stride_s > 0 and self.dim > 0):
            raise DataError(
                f"feature recipe: window_s, stride_s and dim must be above 0; got {self.window_s}, {self.stride_s}, "
                f"{self.dim}"
            )
        object.__setattr__(self, "input", json.loads(json.dumps(dict(self.input))))  # as it comes back from a file

    def to_dict(self) -> dict[str, Any]:
        """Returns the recipe as plain values; `from_dict` takes them back."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], *, where: str = "feature recipe") -> Self:
        """Returns the recipe in plain values, as `to_dict` gives them.

        Raises:
            DataError: a value is missing, unknown or out of range.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        if unknown := sorted(set(checked(values, dict[str, Any], where=where, advice=ADVICE)) - known):
            raise DataError(f"{where}: has {shown(', '.join(unknown))}, unknown to this videozoo; upgrade it")
        return checked(values, cls, where=where, advice=ADVICE)

    def describe(self) -> str:
        """Returns the recipe in one line, for messages."""
        more = f", PCA {self.pca[:8]}" if self.pca else ""
        more += ", with sound" if self.audio else ""
        more += ", quantised" if self.quantised else ""
        return (
            f"{self.output} of {self.extractor} (weights {self.sha256[:8]}), {self.dim} wide, "
            f"{self.window_s:g} s every {self.stride_s:g} s{more}"
        )

    def check_same(self, other: FeatureRecipe, *, where: str) -> None:
        """Refuses `other`, the recipe of the features at `where`, if it differs from this one.

        Raises:
            DataError: they differ; the message names both recipes and the differing values.
        """
        if self == other:
            return
        ours, theirs = self.to_dict(), other.to_dict()
        differing = ", ".join(key for key in ours if ours[key] != theirs[key])
        raise DataError(
            f"{where}: {other.describe()}; expected {self.describe()} (differing: {differing}); "
            "extract with the same weights and options"
        )


@dataclasses.dataclass(frozen=True)
class Features:
    """One video's features over time.

    Attributes:
        values: float32 `[t d]`.
        stride_s, offset_s: row k covers the window with its middle at `offset_s + k * stride_s`; the last window may
            lie less than a stride after the one before, at the video's end. None if unknown: the rows are then
            spread evenly over the video.
        duration_s: of the video, if known.
        scores: class probabilities `[t k]` of the extractor, if stored.
        class_names: the names of the classes in `scores`.
        audio: sound features `[t 128]`, one row for each row of values, if stored; see `transforms.sound`.
        recipe: how they were made; None for other projects' files.
    """

    values: np.ndarray
    stride_s: float | None = None
    offset_s: float | None = None
    duration_s: float | None = None
    scores: np.ndarray | None = None
    class_names: tuple[str, ...] = ()
    audio: np.ndarray | None = None
    recipe: FeatureRecipe | None = None

    def __post_init__(self) -> None:
        _check_table(self.values, "values", num_rows=None)
        for name, table in (("scores", self.scores), ("audio", self.audio)):
            if table is not None:
                _check_table(table, name, num_rows=len(self.values))
        if self.scores is not None and self.scores.shape[1] != len(self.class_names):
            raise DataError(f"features: {self.scores.shape[1]} scores for {len(self.class_names)} class names")
        times = {"stride_s": self.stride_s, "offset_s": self.offset_s, "duration_s": self.duration_s}
        for name, value in times.items():
            if value is not None and not (isinstance(value, Real) and math.isfinite(value)):
                raise DataError(f"features: {name} is {shown(value)}; give a number of seconds")
        if (self.stride_s is not None and self.stride_s <= 0) or (self.duration_s is not None and self.duration_s < 0):
            raise DataError(f"features: {self.stride_s=} and {self.duration_s=}; give seconds above 0")
        if (self.stride_s is None) != (self.offset_s is None):
            raise DataError(f"features: {self.stride_s=} and {self.offset_s=}; give both or neither")
        if self.recipe is not None and self.recipe.dim != self.values.shape[1]:
            raise DataError(f"features: are {self.values.shape[1]} wide, but their recipe says {self.recipe.dim}")

    def __len__(self) -> int:
        return len(self.values)

    @property
    def dim(self) -> int:
        return int(self.values.shape[1])

    def times_s(self, duration_s: float | None = None, *, where: str = "features") -> np.ndarray:
        """Returns the middle of each row's window `[t]`, in seconds of the video.

        Args:
            duration_s: of the video, for files that do not state it.
            where: begins the error message, such as the id of the video.

        Raises:
            DataError: neither the rows' times nor the duration are known.
        """
        rows = np.arange(len(self.values))
        if self.stride_s is not None and self.offset_s is not None:
            return self.offset_s + rows * self.stride_s
        length_s = self.duration_s if self.duration_s is not None else duration_s
        if length_s is None:
            raise DataError(
                f"{where}: the times of the feature rows are unknown; give the video's duration, or stride_s"
            )
        return (rows + 0.5) * length_s / len(rows)

    def between(self, start_s: float, end_s: float) -> Self:
        """Returns the rows whose middle lies in this stretch, else the nearest row, as features of a separate video."""
        times_s = self.times_s()
        rows = np.flatnonzero((times_s >= start_s) & (times_s < end_s))
        if not rows.size:
            rows = np.array([np.abs(times_s - (start_s + end_s) / 2).argmin()])
        part = slice(int(rows[0]), int(rows[-1]) + 1)
        return dataclasses.replace(
            self,
            values=self.values[part],
            scores=self.scores[part] if self.scores is not None else None,
            audio=self.audio[part] if self.audio is not None else None,
            stride_s=self.stride_s,
            offset_s=float(times_s[rows[0]]) - start_s if self.stride_s is not None else None,
            duration_s=end_s - start_s,
        )


def _check_table(array: np.ndarray, name: str, *, num_rows: int | None) -> None:
    if array.ndim != 2 or array.dtype != np.float32:
        raise DataError(f"features: {name} are {array.dtype} {array.shape}; they must be float32 [t d]")
    if not array.size:
        raise DataError(f"features: {name} are empty {array.shape}; a video has at least one row")
    if num_rows is not None and len(array) != num_rows:
        raise DataError(
            f"features: {len(array)} rows of {name} for {num_rows} rows of values; the numbers must be equal"
        )
    if not np.isfinite(array).all():
        row = int(np.argmin(np.isfinite(array).all(axis=1)))
        raise DataError(f"features: {name} of row {row} are not finite; extract them again")
