"""The contract of a metric: update with predictions, merge with another rank's, compute at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from typing_extensions import Self

__all__ = ["Metric"]


class Metric(Protocol):
    """Counts over samples; merging two halves gives exactly what one pass over both would."""

    def update(self, predictions: Sequence[Any], batch: Mapping[str, Any]) -> None:
        """Adds one batch: typed predictions beside the batch that holds the truth."""

    def merge(self, other: Self) -> None:
        """Adds what another process counted."""

    def compute(self) -> dict[str, float]:
        """The scores by name, each in its published unit."""
        ...
