"""Recall and precision of the moments predicted for sentences with one or several true moments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from videozoo.contracts.answer import Segments
from videozoo.contracts.intervals import interval_iou
from videozoo.contracts.ranking import best_first
from videozoo.errors import DataError
from videozoo.metrics.detection import Table as Rows
from videozoo.metrics.detection import average_precision
from videozoo.metrics.interval import batch_units, proportions, score_intervals, unit_numbers
from videozoo.metrics.parts import Interval, Part, Table
from videozoo.metrics.proposals import ACTIVITYNET_TIOUS

__all__ = ["IOUS", "MomentRecall", "first_hits"]

IOUS = (0.1, 0.3, 0.5, 0.7)
SLACK = 0.05  # margin below the IoU threshold for suppressing overlapping answers
NEVER = np.iinfo(np.int64).max
MAP_IOUS = tuple(round(iou, 2) for iou in ACTIVITYNET_TIOUS)
MAP_RANKS = 10  # number of moments included in precision


class MomentRecall:
    """R@n at each IoU and the mean IoU of the best answer, over all sentences, in percent.

    Paper: TALL, arXiv:1705.02101, section 5.2: a sentence is found at n and IoU m if one of its n best moments
    overlaps a true moment by m or more. Before that, moments that overlap a better one by more than m - 0.05 are
    suppressed.

    If a sentence of the data has several true moments, the scores include the mean average precision "map" over IoU
    0.5:0.05:0.95 and "map@0.5", "map@0.75". Paper: QVHighlights, arXiv:2107.09609, section 5: the precision of each
    sentence over its 10 best moments, without suppression, averaged over sentences.

    Batches hold `id` and the truth in seconds: `moment` `[b 2]`, or `moments`, a sequence `[m 2]` for each sentence.
    Sentences about one `video` are not independent; intervals treat them as one unit.
    """

    def __init__(self, *, ious: Sequence[float] = IOUS, ranks: Sequence[int] = (1, 5)):
        self.ious, self.ranks = tuple(ious), tuple(ranks)
        self.has_several = False
        self._hits: list[np.ndarray] = []  # [ious] each: rank of the first correct answer
        self._iou: list[float] = []  # of the best answer
        self._precision: list[np.ndarray] = []  # [IoUs] each
        self._units: list[str] = []

    def update(self, predictions: Sequence[Segments], batch: Mapping[str, Any]) -> None:
        if "moment" not in batch and "moments" not in batch:
            raise DataError("grounding: the data has no true moments for its sentences; evaluate on annotated data")
        rows = batch["moments"] if "moments" in batch else batch["moment"]
        truths = [np.asarray(row, np.float64).reshape(-1, 2) for row in rows]
        answers = []
        for prediction, truth in zip(predictions, truths, strict=True):
            moments = np.array([(s.start_s, s.end_s) for s in prediction.spans], np.float64).reshape(-1, 2)
            scores = np.array([s.score for s in prediction.spans])
            self._hits.append(first_hits(moments, scores, truth, ious=self.ious, most=max(self.ranks)))
            self._iou.append(_best_iou(moments[:1], truth) if len(moments) else 0.0)
            answers.append((moments[:MAP_RANKS], scores[:MAP_RANKS]))
        self.has_several |= any(len(truth) > 1 for truth in truths)
        self._precision += list(_precision_of_each(truths, answers))
        self._units += batch_units(batch if "group" in batch else {"id": batch.get("video", batch["id"])})

    def merge(self, other: MomentRecall) -> None:
        self.has_several |= other.has_several
        self._hits = self._hits + other._hits
        self._iou = self._iou + other._iou
        self._precision = self._precision + other._precision
        self._units = self._units + other._units

    def compute(self) -> dict[str, float]:
        if not self._hits:
            raise DataError("grounding: no sentence was scored; there is nothing to average")
        recall = {name: 100 * float(right.mean()) for name, right in self._right().items()}
        return {**recall, **self._means(np.ones(len(self._hits), bool))}

    def intervals(self) -> list[Interval]:
        units = unit_numbers(self._units)
        return [*proportions(self._right(), units), *score_intervals(self._means, units)]

    def report_parts(self) -> list[Part]:
        scores = self.compute()
        rows: list[tuple[str | int | float | None, ...]] = [
            (iou, *(scores[f"r{rank}_iou{iou:g}"] for rank in self.ranks)) for iou in self.ious
        ]
        columns = ("IoU", *(f"R@{rank} %" for rank in self.ranks))
        return [Table("recall", "Sentences found", columns, rows)]

    def _right(self) -> dict[str, np.ndarray]:
        """Returns whether each sentence is found, by score."""
        hits = np.stack(self._hits)
        return {f"r{n}_iou{iou:g}": hits[:, i] < n for n in self.ranks for i, iou in enumerate(self.ious)}

    def _means(self, kept: np.ndarray) -> dict[str, float]:
        iou = np.sort(np.array(self._iou)[kept])  # sorted: the same in any order
        means = {"miou": 100 * float(iou.mean())}
        if self.has_several:
            rows = 100 * np.sort(np.stack(self._precision)[kept], axis=0).mean(0)
            at = {f"map@{iou:g}": float(rows[MAP_IOUS.index(iou)]) for iou in (0.5, 0.75)}
            means |= {"map": float(rows.mean()), **at}
        return means


def _precision_of_each(truths: Sequence[np.ndarray], answers: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Returns average precision `[sentences IoUs]`; each sentence counts as a video with its own class."""
    moments, scores = zip(*answers, strict=True)
    true, found = (np.repeat(np.arange(len(rows)), [len(row) for row in rows]) for rows in (truths, moments))
    truth = Rows(true, true, np.concatenate(truths), np.ones(len(true)))
    predictions = Rows(found, found, np.concatenate(moments), np.concatenate(scores))
    precision = average_precision(truth, predictions, num_classes=len(truths), tious=MAP_IOUS)
    defined: np.ndarray = np.nan_to_num(precision.T)
    return defined


def _best_iou(moment: np.ndarray, truth: np.ndarray) -> float:
    """Returns the largest overlap of a moment `[1 2]` with its true moments `[m 2]`."""
    return float(interval_iou(moment, truth).max(initial=0.0))


def first_hits(
    moments: np.ndarray, scores: np.ndarray, truth: np.ndarray, *, ious: Sequence[float] = IOUS, most: int = NEVER
) -> np.ndarray:
    """Returns, for each IoU, the rank (from 0) of the first moment `[n 2]` that overlaps the truth by it, or `NEVER`.

    The truth is one moment `[2]` or several `[m 2]`; a match with any of them counts. Moments are ranked by descending
    score; a moment that overlaps a better one by more than the IoU less 0.05 is suppressed. Only the first `most` ranks
    are considered.
    """
    truth = np.asarray(truth, np.float64).reshape(-1, 2)
    order = best_first(scores)
    found = np.full(len(ious), NEVER)
    for k, iou in enumerate(ious):
        left = moments[order]
        place = 0
        while len(left) and place < most:
            best, left = left[:1], left[1:]
            if _best_iou(best, truth) >= iou:
                found[k] = place
                break
            left = left[interval_iou(best, left) <= iou - SLACK]
            place += 1
    return found
