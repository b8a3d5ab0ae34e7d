"""Report contents beyond the scores: intervals, tables, matrices and notes, as plain values.

A metric may have two methods: `report_parts() -> list[Part]`, shown by the report in this order, and
`intervals() -> list[Interval]`, which may take much longer than the scores and is not called during training.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np

__all__ = ["HasIntervals", "HasParts", "Interval", "Matrix", "Note", "Part", "Table", "tie_notes"]


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
    holds percentages and is drawn with bars.
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


@dataclasses.dataclass(frozen=True)
class Note:
    """One sentence about the scores, shown below them."""

    text: str


Part: TypeAlias = Table | Matrix | Note


TIE_POINTS = 0.05  # percent; ties with a smaller effect are not reported


def tie_notes(worst: Mapping[str, float], best: Mapping[str, float], *, highest: float = 100.0) -> list[Note]:
    """Returns a note for each score that varies by more than 0.05 points with the order of equal scores.

    Args:
        worst: the scores with wrong predictions first among equal scores.
        best: the scores with correct predictions first.
        highest: the best value of the scores.
    """
    return [
        Note(
            f"{name}: ties between predictions leave it between {low:.4g} and {best[name]:.4g}, depending on their "
            "order; store scores with more digits"
        )
        for name, low in worst.items()
        if 100 * (best[name] - low) / highest > TIE_POINTS
    ]


@runtime_checkable
class HasParts(Protocol):
    """A metric with report parts in addition to its scores."""

    def report_parts(self) -> list[Part]:
        """Returns tables, matrices and notes in the order of reading."""
        ...


@runtime_checkable
class HasIntervals(Protocol):
    """A metric with confidence intervals of its scores."""

    def intervals(self) -> list[Interval]:
        """Returns the confidence intervals of some of its scores."""
        ...
