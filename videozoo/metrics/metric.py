"""The contract of a metric: update with predictions, merge with another rank's, compute at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from typing_extensions import Self

__all__ = ["Metric"]


class Metric(Protocol):
    """Computes scores over samples; merging two parts equals one pass over both."""

    def update(self, predictions: Sequence[Any], batch: Mapping[str, Any]) -> None:
        """Adds one batch: the predictions, and the batch with the ground truth."""

    def merge(self, other: Self) -> None:
        """Adds the counts of another process."""

    def compute(self) -> dict[str, float]:
        """Returns the scores by name, each in its published unit."""
        ...
