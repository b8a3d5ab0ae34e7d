"""Average recall of temporal proposals against their average number a video, as ActivityNet's evaluation defines it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from typing_extensions import Self

from videozoo.errors import DataError, counted
from videozoo.metrics.segment import group_pairs, pair_iou
from videozoo.types import Span, best_first

__all__ = ["ACTIVITYNET_TIOUS", "ProposalRecall", "RecallCurve", "average_recall"]

ACTIVITYNET_TIOUS = tuple(np.linspace(0.5, 0.95, 10).tolist())

NUM_POINTS = 100  # of the curve


@dataclasses.dataclass(frozen=True)
class RecallCurve:
    """Recall, 0..1, by tIoU and average number of proposals a video."""

    num_proposals: np.ndarray  # [100]
    recall: np.ndarray  # [tIoUs 100]

    @property
    def average(self) -> np.ndarray:
        """Mean over tIoUs `[100]`."""
        return self.recall.mean(0)

    @property
    def auc(self) -> float:
        """Area below the average recall as a share of the whole, 0..100."""
        heights, steps = self.average[1:] + self.average[:-1], np.diff(self.num_proposals)
        return 100 * float(heights @ steps / 2 / self.num_proposals[-1])


def average_recall(
    truth: Mapping[str, np.ndarray],
    proposals: Mapping[str, np.ndarray],
    *,
    tious: Sequence[float] = ACTIVITYNET_TIOUS,
    max_proposals: float | None = 100,
) -> RecallCurve:
    """The share of annotated segments that the best proposals of their video overlap enough.

    The number is an average: each video keeps the same share of its proposals, so that long lists keep more.

    Args:
        truth: segments `[m 2]` of each video, in seconds.
        proposals: rows (start, end, score) `[n 3]` of each video, in any order. Videos without any find nothing;
            those of videos outside of the truth find nothing either, but count among the proposals that share the
            allowance, as in the official code.
        max_proposals: where the curve ends; None takes the average number that there is.

    Raises:
        DataError: there is no annotated segment, or no proposal for a video that has one.
    """
    videos = [video for video in truth if len(truth[video])]
    rows = [np.asarray(proposals.get(video, ()), np.float64).reshape(-1, 3) for video in videos]
    totals = np.array([len(r) for r in rows])
    if not totals.sum():
        with_segments = counted(len(videos), "video")
        raise DataError(f"proposals: none for the {with_segments} with annotated segments; check the ids")
    num_listed = sum(len(r) for r in proposals.values())
    end = num_listed / len(videos) if max_proposals is None else float(max_proposals)
    counts = np.minimum((totals * (end * len(videos) / num_listed)).astype(np.int64), totals)
    if not counts.sum():
        raise DataError(f"proposals: max_proposals of {end} leaves none of {totals.sum()}; use a larger number")
    ranked = [r[best_first(r[:, 2])[:count]] for r, count in zip(rows, counts, strict=True)]
    candidates = np.concatenate(ranked)
    rank = np.concatenate([np.arange(count) for count in counts])

    segments = np.concatenate([np.asarray(truth[video], np.float64).reshape(-1, 2) for video in videos])
    video_of = np.repeat(np.arange(len(videos)), [len(truth[video]) for video in videos])
    i, j = group_pairs(video_of, np.repeat(np.arange(len(videos)), counts))
    iou = pair_iou(segments[i], candidates[j, :2])

    shares = np.arange(1, NUM_POINTS + 1) / NUM_POINTS * (end * len(videos) / counts.sum())
    kept = np.minimum((counts[:, None] * shares).astype(np.int64), counts[:, None])[video_of]
    recall = np.empty((len(tious), NUM_POINTS))
    for row, tiou in enumerate(tious):
        first = np.full(len(segments), len(candidates))  # rank of the first proposal that finds the segment
        hit = iou >= tiou
        np.minimum.at(first, i[hit], rank[j[hit]])
        recall[row] = (first[:, None] < kept).mean(0)
    return RecallCurve(shares * (counts.sum() / len(videos)), recall)


class ProposalRecall:
    """AR@1, 5, 10, 100 and the area under the curve, 0..100 each.

    Predictions are the proposals of each video, as spans; the batch holds `id` and the true `spans`.
    """

    def __init__(self, *, max_proposals: float = 100):
        self.max_proposals = max_proposals
        self.truth: dict[str, np.ndarray] = {}
        self.proposals: dict[str, np.ndarray] = {}

    def update(self, predictions: Sequence[Sequence[Span]], batch: Mapping[str, Any]) -> None:
        for id_, found, spans in zip(batch["id"], predictions, batch["spans"], strict=True):
            if id_ in self.truth:
                raise DataError(f"{id_}: was scored twice; ids must be unique in a data set")
            self.truth[id_] = np.array([(s.start_s, s.end_s) for s in spans]).reshape(-1, 2)
            self.proposals[id_] = np.array([(s.start_s, s.end_s, s.score) for s in found]).reshape(-1, 3)

    def merge(self, other: Self) -> None:
        for id_ in other.truth:
            if id_ in self.truth:
                raise DataError(f"{id_}: was scored twice; ids must be unique in a data set")
        self.truth |= other.truth
        self.proposals |= other.proposals

    def compute(self) -> dict[str, float]:
        ids = sorted(self.truth)  # the order in which ranks were merged must not change a digit
        curve = average_recall({id_: self.truth[id_] for id_ in ids}, self.proposals, max_proposals=self.max_proposals)
        at = [n for n in (1, 5, 10, 100) if n <= self.max_proposals]
        points = {n: round(n * NUM_POINTS / self.max_proposals) - 1 for n in at}
        return {"auc": curve.auc, **{f"ar{n}": 100 * float(curve.average[max(p, 0)]) for n, p in points.items()}}
