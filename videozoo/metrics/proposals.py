"""Average recall of temporal proposals against their average number per video, by the ActivityNet protocol."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence, Set
from typing import Any

import numpy as np
from typing_extensions import Self

from videozoo.contracts.intervals import interval_iou
from videozoo.contracts.ranking import best_first
from videozoo.contracts.video import Span
from videozoo.errors import DataError, counted
from videozoo.metrics.interval import batch_units, score_intervals, unit_numbers
from videozoo.metrics.parts import Interval
from videozoo.metrics.segment import group_pairs

__all__ = ["ACTIVITYNET_TIOUS", "ProposalRecall", "RecallCurve", "average_recall"]

ACTIVITYNET_TIOUS = tuple(np.linspace(0.5, 0.95, 10).tolist())

NUM_POINTS = 100  # of the curve


@dataclasses.dataclass(frozen=True)
class RecallCurve:
    """Recall, 0..1, by tIoU and average number of proposals per video."""

    num_proposals: np.ndarray  # [100]
    recall: np.ndarray  # [tIoUs 100]

    @property
    def average(self) -> np.ndarray:
        """Mean over tIoUs `[100]`."""
        mean: np.ndarray = self.recall.mean(0)
        return mean

    @property
    def auc(self) -> float:
        """Area below the average recall, as a percentage of the largest area."""
        heights, steps = self.average[1:] + self.average[:-1], np.diff(self.num_proposals)
        return 100 * float(heights @ steps / 2 / self.num_proposals[-1])


def average_recall(
    truth: Mapping[str, np.ndarray],
    proposals: Mapping[str, np.ndarray],
    *,
    tious: Sequence[float] = ACTIVITYNET_TIOUS,
    max_proposals: float | None = 100,
) -> RecallCurve:
    """Returns the share of annotated segments that the best proposals of their video overlap by the tIoU.

    The number of proposals is an average: each video keeps the same share of its proposals, so long lists keep more.

    Args:
        truth: segments `[m 2]` of each video, in seconds.
        proposals: rows (start, end, score) `[n 3]` of each video, in any order. Videos without proposals find
            nothing. Proposals of videos without annotation find nothing either, but count in the average number, like
            in the official code.
        max_proposals: end of the curve; None uses the average number of proposals.

    Raises:
        DataError: there is no annotated segment, or no proposal for any annotated video.
    """
    num_listed = {video: len(proposals[video]) for video in proposals}
    return _ranked(truth, proposals, tious).curve(num_listed, max_proposals)


@dataclasses.dataclass(frozen=True)
class _Ranked:
    """The annotated segments of all videos, each with the rank of the first proposal that finds it."""

    videos: Sequence[str]  # those with segments
    totals: np.ndarray  # proposals of each
    video_of: np.ndarray  # number of each segment's video
    first: np.ndarray  # [tIoUs segments]

    def without(self, dropped: Set[str]) -> _Ranked:
        """Returns a copy without some of the videos."""
        kept = np.array([video not in dropped for video in self.videos], bool)
        mine = kept[self.video_of]
        number = np.cumsum(kept) - 1
        videos = [video for video, keep in zip(self.videos, kept, strict=True) if keep]
        return _Ranked(videos, self.totals[kept], number[self.video_of[mine]], self.first[:, mine])

    def curve(self, num_listed: Mapping[str, int], max_proposals: float | None) -> RecallCurve:
        """Returns recall over the average number of proposals; `num_listed` is the number of proposals by video."""
        num_videos, all_listed = len(self.videos), sum(num_listed.values())
        if not self.totals.sum():
            with_segments = counted(num_videos, "video")
            raise DataError(f"proposals: there are none for the {with_segments} with annotated segments; check the ids")
        end = all_listed / num_videos if max_proposals is None else float(max_proposals)
        counts = np.minimum((self.totals * (end * num_videos / all_listed)).astype(np.int64), self.totals)
        if not counts.sum():
            raise DataError(
                f"proposals: max_proposals of {end} leaves none of {self.totals.sum()}; use a larger number"
            )
        shares = np.arange(1, NUM_POINTS + 1) / NUM_POINTS * (end * num_videos / counts.sum())
        kept = np.minimum((counts[:, None] * shares).astype(np.int64), counts[:, None])[self.video_of]
        recall = np.stack([(first[:, None] < kept).mean(0) for first in self.first])
        return RecallCurve(shares * (counts.sum() / num_videos), recall)


def _ranked(truth: Mapping[str, np.ndarray], proposals: Mapping[str, np.ndarray], tious: Sequence[float]) -> _Ranked:
    """Finds the first proposal of each segment; equal scores keep the given order."""
    videos = [video for video in truth if len(truth[video])]
    rows = [np.asarray(proposals.get(video, ()), np.float64).reshape(-1, 3) for video in videos]
    totals = np.array([len(r) for r in rows], np.int64)
    candidates = np.concatenate([np.zeros((0, 3)), *(r[best_first(r[:, 2])] for r in rows)])
    rank = np.concatenate([np.zeros(0, np.int64), *(np.arange(total) for total in totals)])
    segments = np.concatenate([np.zeros((0, 2)), *(np.asarray(truth[v], np.float64).reshape(-1, 2) for v in videos)])
    video_of = np.repeat(np.arange(len(videos)), [len(truth[video]) for video in videos])
    i, j = group_pairs(video_of, np.repeat(np.arange(len(videos)), totals))
    iou = interval_iou(segments[i], candidates[j, :2])
    first = np.full((len(tious), len(segments)), max(len(candidates), 1))
    for row, tiou in zip(first, tious, strict=True):
        hit = iou >= tiou
        np.minimum.at(row, i[hit], rank[j[hit]])
    return _Ranked(videos, totals, video_of, first)


class ProposalRecall:
    """AR@1, 5, 10, 100 and the area under the curve, 0..100 each.

    Predictions are the proposals of each video, as spans; the batch holds `id` and the true `spans`.
    """

    def __init__(self, *, max_proposals: float = 100):
        self.max_proposals = max_proposals
        self.truth: dict[str, np.ndarray] = {}
        self.proposals: dict[str, np.ndarray] = {}
        self.units: dict[str, str] = {}  # the recording of each video

    def update(self, predictions: Sequence[Sequence[Span]], batch: Mapping[str, Any]) -> None:
        for id_, unit, found, spans in zip(batch["id"], batch_units(batch), predictions, batch["spans"], strict=True):
            if id_ in self.truth:
                raise DataError(f"{id_}: was scored twice; ids must be unique in a data set")
            self.units[id_] = unit
            self.truth[id_] = np.array([(s.start_s, s.end_s) for s in spans]).reshape(-1, 2)
            self.proposals[id_] = np.array([(s.start_s, s.end_s, s.score) for s in found]).reshape(-1, 3)

    def merge(self, other: Self) -> None:
        for id_ in other.truth:
            if id_ in self.truth:
                raise DataError(f"{id_}: was scored twice; ids must be unique in a data set")
        self.truth |= other.truth
        self.proposals |= other.proposals
        self.units |= other.units

    def compute(self) -> dict[str, float]:
        return self._points(self._all_ranked(), set())

    def intervals(self) -> list[Interval]:
        ids, ranked = sorted(self.truth), self._all_ranked()

        def scores(kept: np.ndarray) -> dict[str, float]:
            dropped = {id_ for id_, keep in zip(ids, kept, strict=True) if not keep}
            try:
                return self._points(ranked.without(dropped), dropped)
            except DataError:  # the remaining videos have no match
                return {}

        return score_intervals(scores, unit_numbers([self.units[id_] for id_ in ids]))

    def _all_ranked(self) -> _Ranked:
        ids = sorted(self.truth)  # makes the result independent of the order of merging
        return _ranked({id_: self.truth[id_] for id_ in ids}, self.proposals, ACTIVITYNET_TIOUS)

    def _points(self, ranked: _Ranked, dropped: Set[str]) -> dict[str, float]:
        num_listed = {id_: len(rows) for id_, rows in self.proposals.items() if id_ not in dropped}
        curve = ranked.curve(num_listed, self.max_proposals)
        at = [n for n in (1, 5, 10, 100) if n <= self.max_proposals]
        points = {n: round(n * NUM_POINTS / self.max_proposals) - 1 for n in at}
        return {"auc": curve.auc, **{f"ar{n}": 100 * float(curve.average[max(p, 0)]) for n, p in points.items()}}
