"""How often one of the best moments found for a sentence is the one that it tells of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from videozoo.errors import DataError
from videozoo.metrics.parts import Interval, Part, Table, bootstrap_interval
from videozoo.metrics.segment import pair_iou
from videozoo.types import Segments, best_first

__all__ = ["IOUS", "MomentRecall", "first_hits"]

IOUS = (0.1, 0.3, 0.5, 0.7)
SLACK = 0.05  # how much less than the asked overlap two answers to one sentence may share
NEVER = np.iinfo(np.int64).max


class MomentRecall:
    """R@n at each IoU and the mean IoU of the best answer, over all sentences, in percent.

    Paper: TALL, arXiv:1705.02101, section 5.2: a sentence is found at n and IoU m if one of its n best moments overlaps
    the truth by m or more. Before that, of moments that overlap by more than m - 0.05 the best one stays.

    Batches hold `id` and `moment` `[b 2]`, the truth in seconds.
    """

    def __init__(self, *, ious: Sequence[float] = IOUS, ranks: Sequence[int] = (1, 5)):
        self.ious, self.ranks = tuple(ious), tuple(ranks)
        self._hits: list[np.ndarray] = []  # [ious] each: the place of the first right answer
        self._iou: list[float] = []  # of the best answer

    def update(self, predictions: Sequence[Segments], batch: Mapping[str, Any]) -> None:
        if "moment" not in batch:
            raise DataError("grounding: the data has no moments for its sentences; there is nothing to score against")
        truths = np.asarray(batch["moment"], np.float64)
        for prediction, truth in zip(predictions, truths, strict=True):
            moments = np.array([(s.start_s, s.end_s) for s in prediction.spans], np.float64).reshape(-1, 2)
            scores = np.array([s.score for s in prediction.spans])
            self._hits.append(first_hits(moments, scores, truth, ious=self.ious, most=max(self.ranks)))
            self._iou.append(float(pair_iou(moments[:1], truth[None])[0]) if len(moments) else 0.0)

    def merge(self, other: MomentRecall) -> None:
        self._hits = self._hits + other._hits
        self._iou = self._iou + other._iou

    def compute(self) -> dict[str, float]:
        if not self._hits:
            raise DataError("grounding: no sentence was scored; there is nothing to average")
        hits = np.stack(self._hits)
        recall = {
            f"r{rank}_iou{iou:g}": 100 * float((hits[:, i] < rank).mean())
            for rank in self.ranks
            for i, iou in enumerate(self.ious)
        }
        return {**recall, "miou": 100 * float(np.sort(self._iou).mean())}  # sorted: the same in any order

    def report_parts(self) -> list[Part]:
        hits = np.stack(self._hits)
        scores = self.compute()
        rows: list[tuple[str | int | float | None, ...]] = [
            (iou, *(scores[f"r{rank}_iou{iou:g}"] for rank in self.ranks)) for iou in self.ious
        ]
        best = [
            Interval(f"r1_iou{iou:g}", *bootstrap_interval(100.0 * (hits[:, i] < 1)))
            for i, iou in enumerate(self.ious)
            if 1 in self.ranks
        ]
        columns = ("IoU", *(f"R@{rank} %" for rank in self.ranks))
        return [*best, Table("recall", "Sentences found", columns, rows)]


def first_hits(
    moments: np.ndarray, scores: np.ndarray, truth: np.ndarray, *, ious: Sequence[float] = IOUS, most: int = NEVER
) -> np.ndarray:
    """For each IoU the place, from 0, of the first moment `[n 2]` that overlaps the truth by it; `NEVER` without one.

    Moments are taken by falling score; one that overlaps a better one by more than the IoU less 0.05 has no place. Only
    the first `most` places are looked at.
    """
    order = best_first(scores)
    found = np.full(len(ious), NEVER)
    for k, iou in enumerate(ious):
        left = moments[order]
        place = 0
        while len(left) and place < most:
            best, left = left[:1], left[1:]
            if pair_iou(best, truth[None])[0] >= iou:
                found[k] = place
                break
            left = left[pair_iou(np.broadcast_to(best, left.shape), left) <= iou - SLACK]
            place += 1
    return found
