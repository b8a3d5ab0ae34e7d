"""Means of a run's numbers between two lines of its log."""

from __future__ import annotations

import math
from collections.abc import Mapping

__all__ = ["Meter"]


class Meter:
    """Adds up the losses of steps, their seconds and their clips.

    Attributes:
        sums: (sum, count) of each number, which travel in the checkpoint; seconds do not.
    """

    def __init__(self) -> None:
        self.sums: dict[str, tuple[float, int]] = {}
        self._seconds = {"wait": 0.0, "step": 0.0}
        self._num_clips = 0

    def add(self, values: Mapping[str, float]) -> None:
        """Takes in the numbers of a step; those that are not finite have no mean."""
        for name, value in values.items():
            if math.isfinite(value):  # a step that the scaler skipped has no norm
                total, count = self.sums.get(name, (0.0, 0))
                self.sums[name] = (total + value, count + 1)

    def add_time(self, *, wait_s: float, step_s: float, num_clips: int) -> None:
        """Takes in the time of a step, `wait_s` of it spent waiting for data."""
        self._seconds["wait"] += wait_s
        self._seconds["step"] += step_s
        self._num_clips += num_clips

    def take(self) -> tuple[dict[str, float], dict[str, float]]:
        """Returns (means, pace) so far, and begins anew."""
        means = {name: total / count for name, (total, count) in self.sums.items()}
        step_s = max(self._seconds["step"], 1e-9)
        pace = {"clips_per_s": self._num_clips / step_s, "data_wait_share": self._seconds["wait"] / step_s}
        self.sums, self._num_clips = {}, 0
        self._seconds = dict.fromkeys(self._seconds, 0.0)
        return means, pace
