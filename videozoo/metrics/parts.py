"""What a metric offers to a report beyond its scores: intervals, tables and matrices, as plain values.

A metric with more to tell has a method `report_parts() -> list[Part]`; the report draws the parts in their
order and knows nothing of what they mean.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np

__all__ = ["HasParts", "Interval", "Matrix", "Part", "Table", "bootstrap_interval"]


@dataclasses.dataclass(frozen=True)
class Interval:
    """The confidence interval of one score of `compute()`, in the same unit."""

    score: str
    low: float
    high: float
    level: float = 0.95


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows of text and numbers; `name` is its key in the JSON report.

    `max_shown` limits the rows on the page (0 leaves the table to the JSON). A column whose name ends in " %"
    holds percents and is drawn with bars.
    """

    name: str
    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str | int | float | None, ...]]
    max_shown: int | None = None


@dataclasses.dataclass(frozen=True)
class Matrix:
    """Counts of truth (rows) against prediction (columns) over named classes; drawn as `<name>.png`."""

    name: str
    title: str
    class_names: Sequence[str]
    counts: np.ndarray  # [k k] int64


Part: TypeAlias = Interval | Table | Matrix


@runtime_checkable
class HasParts(Protocol):
    """A metric with more to report than its scores."""

    def report_parts(self) -> list[Part]:
        """Intervals, tables and matrices in the order they are to be read."""
        ...


def bootstrap_interval(
    values: np.ndarray, *, level: float = 0.95, num_resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """The percentile bootstrap interval of the mean of one value a sample.

    Resamples are drawn as counts of each distinct value (a multinomial): the same distribution as drawing
    samples one by one, a few numbers only for outcomes of 0 and 1, and independent of the order of samples.
    """
    distinct, counts = np.unique(np.asarray(values, dtype=np.float64), return_counts=True)
    rng = np.random.default_rng(seed)
    share = counts / counts.sum()
    means: list[np.ndarray[Any, Any]] = []
    for start in range(0, num_resamples, 100):  # bounds the memory where every value is distinct
        draws = rng.multinomial(counts.sum(), share, size=min(100, num_resamples - start))
        means.append(draws @ distinct / counts.sum())
    tail = 50 * (1 - level)
    low, high = np.percentile(np.concatenate(means), [tail, 100 - tail])
    return float(low), float(high)
