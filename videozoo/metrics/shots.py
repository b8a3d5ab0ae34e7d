"""Precision, recall and F1 of shot boundaries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from videozoo.contracts.answer import Shots
from videozoo.errors import DataError
from videozoo.metrics.interval import batch_units, score_intervals, unit_numbers
from videozoo.metrics.parts import Interval

__all__ = ["ShotScores", "match_transitions"]


class ShotScores:
    """F1, precision and recall of boundaries over all videos, in percent.

    Paper: TransNet V2, arXiv:2008.04838, section 4: a predicted transition is right if it overlaps a true one that no
    other prediction has matched; both are extended by the tolerance.

    Batches hold `film` and `transitions`, the last and the first frame around each true transition.

    Args:
        tolerance_frames: distance of two cuts that still match, in frames.
    """

    def __init__(self, *, tolerance_frames: int = 2):
        self.tolerance_frames = tolerance_frames
        self._counts: list[tuple[int, int, int]] = []  # right, found, true boundaries of each video
        self._units: list[str] = []

    def update(self, predictions: Sequence[Shots], batch: Mapping[str, Any]) -> None:
        if "transitions" not in batch:
            raise DataError("shots: the data has no true transitions; evaluate on annotated videos")
        for answer, film, truth in zip(predictions, batch["film"], batch["transitions"], strict=True):
            found = _in_frames(answer, film.times_s)
            right = match_transitions(found, truth, tolerance_frames=self.tolerance_frames)
            self._counts.append((right, len(found), len(truth)))
        self._units += batch_units(batch)

    def merge(self, other: ShotScores) -> None:
        self._counts = self._counts + other._counts
        self._units = self._units + other._units

    def compute(self) -> dict[str, float]:
        if not self._counts:
            raise DataError("shots: no video was scored; there is nothing to average")
        return self._scores(np.ones(len(self._counts), bool))

    def intervals(self) -> list[Interval]:
        return score_intervals(self._scores, unit_numbers(self._units))

    def _scores(self, kept: np.ndarray) -> dict[str, float]:
        right, found, true = np.array(self._counts)[kept].sum(0).tolist()
        return {
            "f1": 200 * right / max(found + true, 1),
            "precision": 100 * right / max(found, 1),
            "recall": 100 * right / max(true, 1),
        }


def match_transitions(
    found: Sequence[tuple[int, int]], truth: Sequence[tuple[int, int]], *, tolerance_frames: int = 2
) -> int:
    """Returns how many transitions match, each at most once; a transition is (last frame, first frame after it)."""
    slack = tolerance_frames / 2 - 0.5
    true = sorted(truth)
    right = 0
    for last, first in sorted(found):
        while true and true[0][1] + slack < last - slack:  # it ends before this one begins
            true.pop(0)
        if true and true[0][0] - slack <= first + slack:
            true.pop(0)
            right += 1
    return right


def _in_frames(answer: Shots, times_s: np.ndarray) -> list[tuple[int, int]]:
    """Returns the transitions of an answer as (last frame of a shot, first frame of the next)."""
    starts, ends = ([getattr(each, name) for each in answer.boundaries] for name in ("start_s", "end_s"))
    last = np.searchsorted(times_s, np.array(starts) - 1e-6) - 1
    first = np.searchsorted(times_s, np.array(ends) - 1e-6)
    return list(zip(last.tolist(), first.tolist(), strict=True))
