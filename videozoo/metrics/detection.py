"""Mean average precision of temporal segments by the ActivityNet and THUMOS protocols, and of event spotting."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from typing_extensions import Self

from videozoo.contracts.intervals import interval_iou
from videozoo.contracts.ranking import best_first
from videozoo.contracts.video import Span
from videozoo.errors import DataError, counted
from videozoo.metrics.interval import batch_units, score_intervals, unit_numbers
from videozoo.metrics.parts import Interval, Note, tie_notes
from videozoo.metrics.proposals import ACTIVITYNET_TIOUS
from videozoo.metrics.segment import group_pairs

__all__ = ["THUMOS_TIOUS", "DetectionMap", "SpottingMap", "Table", "average_precision", "spotting_precision"]

THUMOS_TIOUS = (0.3, 0.4, 0.5, 0.6, 0.7)


@dataclasses.dataclass(frozen=True)
class Table:
    """Segments of many videos, one per row."""

    video: np.ndarray  # [n] int, with the same numbering in truth and predictions
    label: np.ndarray  # [n] int
    segment: np.ndarray  # [n 2], seconds
    score: np.ndarray  # [n]; unused in the truth

    @classmethod
    def of(cls, spans: Mapping[str, Sequence[Span]], videos: Sequence[str], class_names: Sequence[str]) -> Table:
        """Returns the spans of the given videos; spans of unknown classes are left out and do not count as wrong."""
        number = {name: i for i, name in enumerate(class_names)}
        rows = [
            (v, number[s.label], s.start_s, s.end_s, s.score)
            for v, video in enumerate(videos)
            for s in spans.get(video, ())
            if s.label in number
        ]
        array = np.array(rows, np.float64).reshape(-1, 5)
        return cls(array[:, 0].astype(np.int64), array[:, 1].astype(np.int64), array[:, 2:4], array[:, 4])


def average_precision(
    truth: Table, predictions: Table, *, num_classes: int, tious: Sequence[float] = ACTIVITYNET_TIOUS
) -> np.ndarray:
    """Returns interpolated average precision `[tIoUs k]`, 0..1; nan for classes without an annotated segment.

    Predictions are matched by descending score, equal ones in the given order. Each matches the free segment of its
    class and video with the largest overlap, if that reaches the tIoU. Predictions in videos without annotation count
    as wrong.
    """
    return _matches(truth, predictions, np.asarray(tious, np.float64), interval_iou).precision(num_classes)


def spotting_precision(
    truth: Table, predictions: Table, *, num_classes: int, tolerances_s: Sequence[float]
) -> np.ndarray:
    """Returns interpolated average precision `[tolerances k]` of segment centers.

    A prediction is correct if a free event of its class lies within the tolerance; it matches the nearest one.
    """
    return _matches(truth, predictions, -np.asarray(tolerances_s, np.float64), _closeness).precision(num_classes)


def _closeness(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    closeness: np.ndarray = -np.abs(a.mean(1) - b.mean(1))
    return closeness


@dataclasses.dataclass(frozen=True)
class _Matches:
    """Predictions of all videos, best first, and whether each is correct."""

    truth: Table
    right: np.ndarray  # bool [thresholds n]
    video: np.ndarray
    label: np.ndarray
    score: np.ndarray

    def precision(
        self, num_classes: int, *, kept: np.ndarray | None = None, ties: Literal["listed", "best", "worst"] = "listed"
    ) -> np.ndarray:
        """Returns average precision `[thresholds k]`; nan for classes without an annotated segment.

        Args:
            kept: mask of the videos to include, bool by number; None includes all.
            ties: order of equal scores: as given, or correct ones first ("best") or last ("worst"). The matching of
                predictions and segments does not change.
        """
        right, label, score, true_label = self.right, self.label, self.score, self.truth.label
        if kept is not None:
            mine = kept[self.video]
            right, label, score = right[:, mine], label[mine], score[mine]
            true_label = true_label[kept[self.truth.video]]
        result = np.full((len(right), num_classes), np.nan)
        positives = np.bincount(true_label, minlength=num_classes)
        for k in np.nonzero(positives)[0]:
            ranked = right[:, label == k]
            if ties != "listed":
                own = np.broadcast_to(-score[label == k], ranked.shape)
                order = np.lexsort((ranked if ties == "worst" else ~ranked, own))
                ranked = np.take_along_axis(ranked, order, axis=1)
            result[:, k] = _interpolated(ranked, int(positives[k]))
        return result


def _matches(truth: Table, predictions: Table, thresholds: np.ndarray, similarity: Any) -> _Matches:
    """Returns which predictions are correct if a match needs a similarity of at least the threshold."""
    order = best_first(predictions.score)
    video, label, segment = predictions.video[order], predictions.label[order], predictions.segment[order]
    right = np.zeros((len(thresholds), len(order)), bool)
    num_videos = 1 + max(truth.video.max(initial=0), video.max(initial=0))
    by_group = np.argsort(truth.label * num_videos + truth.video, kind="stable")
    groups = (truth.label * num_videos + truth.video)[by_group]
    p, t = group_pairs(label * num_videos + video, groups)
    value = similarity(segment[p], truth.segment[by_group][t])
    near = value >= thresholds.min()
    p, t, value = p[near], t[near], value[near]
    by_turn = np.lexsort((-t, -value, p))  # predictions by score, then segments by similarity
    p, t, value = p[by_turn], t[by_turn], value[by_turn]

    # Groups (a class in a video) are independent, so the n-th pairs of all groups are matched at once.
    taken = np.zeros((len(thresholds), len(groups)), bool)
    turn = _position_in_group(groups[t])
    by_step = np.argsort(turn, kind="stable")
    for step in np.split(by_step, np.bincount(turn).cumsum()[:-1]) if len(turn) else ():
        ps, ts = p[step], t[step]
        match = (value[step] >= thresholds[:, None]) & ~taken[:, ts] & ~right[:, ps]
        taken[:, ts] |= match
        right[:, ps] |= match

    return _Matches(truth, right, video, label, predictions.score[order])


def _position_in_group(groups: np.ndarray) -> np.ndarray:
    """Returns, for each entry, the number of earlier entries in its group."""
    order = np.argsort(groups, kind="stable")
    ranked = groups[order]
    first = np.searchsorted(ranked, ranked, "left")
    position = np.empty_like(order)
    position[order] = np.arange(len(groups)) - first
    return position


def _interpolated(right: np.ndarray, num_truths: int) -> np.ndarray:
    """Returns the area below the interpolated (non-decreasing) precision for ranked hits `[thresholds n]`."""
    hits = right.cumsum(1)
    precision = hits / np.arange(1, right.shape[1] + 1)
    best_from_here = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    return np.asarray((best_from_here * right).sum(1) / num_truths)


class DetectionMap:
    """Mean average precision of labeled spans: `map@<tIoU>` and `map`, their mean, 0..1.

    Predictions are the spans of each video; the batch holds `id` and the true `spans`. The mean covers the classes that
    occur in the data set.
    """

    def __init__(self, class_names: Sequence[str], *, tious: Sequence[float] = ACTIVITYNET_TIOUS):
        self.class_names = tuple(class_names)
        self.thresholds = tuple(tious)
        self.truth: dict[str, Sequence[Span]] = {}
        self.found: dict[str, Sequence[Span]] = {}
        self.units: dict[str, str] = {}  # the recording of each video

    def update(self, predictions: Sequence[Sequence[Span]], batch: Mapping[str, Any]) -> None:
        rows = zip(batch["id"], batch["spans"], predictions, batch_units(batch), strict=True)
        for row in rows:
            self._add(*row)

    def merge(self, other: Self) -> None:
        for id_, spans in other.truth.items():
            self._add(id_, spans, other.found[id_], other.units[id_])

    def _add(self, id_: str, spans: Sequence[Span], found: Sequence[Span], unit: str) -> None:
        if id_ in self.truth:
            raise DataError(f"{id_}: was scored twice; ids must be unique in a data set")
        for span in spans:
            if span.label not in self.class_names:
                raise DataError(f"{id_}: the annotated class '{span.label}' is unknown; add it to the class names")
        self.truth[id_], self.found[id_], self.units[id_] = tuple(spans), tuple(found), unit

    def _tables(self) -> tuple[Table, Table]:
        videos = sorted(self.truth)  # makes the result independent of the order of merging
        truth, found = (Table.of(spans, videos, self.class_names) for spans in (self.truth, self.found))
        if not len(truth.label):
            raise DataError(
                f"detection: no annotated segment in {counted(len(videos), 'video')}; evaluate on annotated data"
            )
        return truth, found

    def by_class(self) -> np.ndarray:
        """Returns average precision `[tIoUs k]`; nan for classes that do not occur."""
        return self._matched().precision(len(self.class_names))

    def compute(self) -> dict[str, float]:
        return self._means(self.by_class())

    def intervals(self) -> list[Interval]:
        matches, units = self._matched(), unit_numbers([self.units[id_] for id_ in sorted(self.truth)])
        num_classes = len(self.class_names)

        def scores(kept: np.ndarray) -> dict[str, float]:
            return self._means(matches.precision(num_classes, kept=kept))

        # Interpolated precision is a maximum, hence biased upwards for few videos.
        return score_intervals(scores, units, highest=1.0, is_biased=True)

    def tie_notes(self) -> list[Note]:
        matches = self._matched()
        worst, best = (self._means(matches.precision(len(self.class_names), ties=t)) for t in ("worst", "best"))
        return tie_notes(worst, best, highest=1.0)

    def _matched(self) -> _Matches:
        return _matches(*self._tables(), np.asarray(self.thresholds, np.float64), interval_iou)

    def _names(self) -> list[str]:
        return [f"map@{tiou:.2f}" for tiou in self.thresholds]

    def _means(self, table: np.ndarray) -> dict[str, float]:
        shown = ~np.isnan(table[0])
        rows = table[:, shown].mean(1) if shown.any() else np.full(len(table), np.nan)
        return {"map": float(rows.mean()), **dict(zip(self._names(), rows.tolist(), strict=True))}


class SpottingMap(DetectionMap):
    """Mean average precision of events located by time only: `map@<tolerance>s` and `map`, their mean, 0..1."""

    def __init__(self, class_names: Sequence[str], *, tolerances_s: Sequence[float] = (1.0, 2.0, 3.0, 4.0, 5.0)):
        super().__init__(class_names)
        self.thresholds = tuple(tolerances_s)

    def _matched(self) -> _Matches:
        return _matches(*self._tables(), -np.asarray(self.thresholds, np.float64), _closeness)

    def _names(self) -> list[str]:
        return [f"map@{tolerance:g}s" for tolerance in self.thresholds]
