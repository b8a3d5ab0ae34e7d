"""Means of a run's values between two lines of its log."""

from __future__ import annotations

import math
from collections.abc import Mapping

__all__ = ["Meter"]


class Meter:
    """Sums losses, seconds and clips over steps.

    Attributes:
        sums: (sum, count) of each value; checkpoints store them, but not the seconds.
    """

    def __init__(self) -> None:
        self.sums: dict[str, tuple[float, int]] = {}
        self._seconds = {"wait": 0.0, "step": 0.0}
        self._num_clips = 0

    def add(self, values: Mapping[str, float]) -> None:
        """Adds the values of a step; values that are not finite are skipped."""
        for name, value in values.items():
            if math.isfinite(value):  # a step skipped by the scaler has no gradient norm
                total, count = self.sums.get(name, (0.0, 0))
                self.sums[name] = (total + value, count + 1)

    def add_time(self, *, wait_s: float, step_s: float, num_clips: int) -> None:
        """Adds the time of a step, of which `wait_s` was spent waiting for data."""
        self._seconds["wait"] += wait_s
        self._seconds["step"] += step_s
        self._num_clips += num_clips

    def take(self) -> tuple[dict[str, float], dict[str, float]]:
        """Returns (means, pace) so far, and resets both."""
        means = {name: total / count for name, (total, count) in self.sums.items()}
        step_s = max(self._seconds["step"], 1e-9)
        pace = {"clips_per_s": self._num_clips / step_s, "data_wait_share": self._seconds["wait"] / step_s}
        self.sums, self._num_clips = {}, 0
        self._seconds = dict.fromkeys(self._seconds, 0.0)
        return means, pace
