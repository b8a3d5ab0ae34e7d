"""The metrics of YouTube-8M: GAP, Hit@1, PERR and mAP over the best 20 classes of each video."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from videozoo.contracts.answer import Labels
from videozoo.contracts.ranking import best_first
from videozoo.errors import DataError
from videozoo.metrics.classification import Ties, average_precision, batch_labels, batch_scores, multi_hot
from videozoo.metrics.interval import batch_units, proportions, score_intervals, unit_numbers
from videozoo.metrics.parts import Interval, Part, Table, tie_notes

__all__ = ["YouTube8M"]


class YouTube8M:
    """YouTube-8M's scores of multi-label tagging over the data set, in percent.

    Paper: arXiv:1609.08675, section 5.

    - gap: global average precision; the `top_k` best classes of every video are pooled and ranked together.
      All positives count in the recall, listed or not. A score of 0 is not a prediction.
    - map: the same ranking for each class, averaged over the classes with a positive.
    - hit1: share of videos whose best class is correct.
    - perr: precision at equal recall rate; of a video with n labels, the share of its n best classes that are
      correct; a score of 0 is never correct. A video without labels counts 0 in both.

    Differs from the original code in ties, which it shuffles with a seed. Here classes of equal score rank in class
    order within a video, and pooled entries of equal score count as one step, so their order does not matter. The
    report states the largest effect of ties on each score.

    Stores about 220 bytes per video (at `top_k` 20), independent of the number of classes, and a checksum of each id.
    """

    def __init__(self, class_names: Sequence[str], *, top_k: int = 20):
        self.class_names = tuple(class_names)
        self.top_k = min(top_k, len(self.class_names))
        self._chunks: dict[str, list[np.ndarray]] = {name: [] for name in _CHUNKS}

    def update(self, predictions: Sequence[Labels], batch: Mapping[str, Any]) -> None:
        ids = list(batch["id"])
        scores = batch_scores(predictions, ids, len(self.class_names))
        labels = batch_labels(batch, ids)
        if labels.ndim == 1:  # data with one label each
            labels = labels[:, None] == np.arange(scores.shape[1])
        truth = multi_hot(labels, scores.shape)
        listed = _top(scores, self.top_k)
        right = np.take_along_axis(truth, listed, axis=1)
        self._add("unit", unit_numbers(batch_units(batch)))
        self._add("label", np.nonzero(truth)[1])
        self._add("num_labels", truth.sum(axis=1))
        self._add("class", listed.ravel())
        self._add("score", np.take_along_axis(scores, listed, axis=1).ravel())
        self._add("positive", right.ravel())
        self._add("hit", right[:, 0])
        self._add("perr", _equal_recall_precision(scores, truth))

    def merge(self, other: YouTube8M) -> None:
        for name, chunks in other._chunks.items():
            self._chunks[name] = self._chunks[name] + chunks

    @property
    def num_positive(self) -> np.ndarray:
        """Number of videos with each class `[k]`."""
        return np.bincount(self._column("label"), minlength=len(self.class_names))

    def compute(self) -> dict[str, float]:
        if not len(self._column("label")):
            raise DataError("youtube8m: no scored video has a label; there is nothing to average")
        perr = self._column("perr")
        return {
            **self._precisions(self._pooled()),
            "hit1": 100 * float(self._column("hit").mean()),
            "perr": 100 * math.fsum(perr) / len(perr),  # an exact sum, hence independent of the order
        }

    def class_precision(self) -> np.ndarray:
        """Returns the average precision of each class, 0..1; nan for a class without positives."""
        return _by_class(self._pooled())

    def intervals(self) -> list[Interval]:
        units, perr = self._column("unit"), self._column("perr")

        def scores(kept: np.ndarray) -> dict[str, float]:
            return {
                **self._precisions(self._pooled(kept)),
                "perr": 100 * math.fsum(perr[kept]) / np.count_nonzero(kept),
            }

        return [*score_intervals(scores, units), *proportions({"hit1": self._column("hit")}, units)]

    def report_parts(self) -> list[Part]:
        pooled = self._pooled()
        rows: list[tuple[str | int | float | None, ...]] = [
            (i, name, int(n), 100 * float(p) if n else None)
            for i, (name, n, p) in enumerate(zip(self.class_names, pooled.num_positive, _by_class(pooled), strict=True))
        ]
        rows.sort(key=lambda row: (row[3] is None, row[3]))
        columns = ("index", "class", "positives", "AP %")
        notes = tie_notes(self._precisions(pooled, ties="worst"), self._precisions(pooled, ties="best"))
        return [Table("classes", "Classes, worst first", columns, rows, max_shown=500), *notes]

    def _pooled(self, kept: np.ndarray | None = None) -> _Pool:
        """Returns the listed classes of all videos, or of the videos in a mask."""
        columns = [self._column(name) for name in ("class", "score", "positive")]
        labels = self._column("label")
        if kept is not None:
            columns = [column[np.repeat(kept, self.top_k)] for column in columns]
            labels = labels[np.repeat(kept, self._column("num_labels"))]
        is_found = columns[1] > 0
        classes, scores, positive = (column[is_found] for column in columns)
        return _Pool(classes, scores, positive, np.bincount(labels, minlength=len(self.class_names)))

    @staticmethod
    def _precisions(pool: _Pool, *, ties: Ties = "step") -> dict[str, float]:
        total = int(pool.num_positive.sum())
        if not total:
            return {"gap": math.nan, "map": math.nan}
        gap = average_precision(pool.scores, pool.positive, num_positive=total, ties=ties)
        return {"gap": 100 * gap, "map": 100 * float(np.nanmean(_by_class(pool, ties=ties)))}

    def _add(self, name: str, values: np.ndarray) -> None:
        self._chunks[name].append(values.astype(_CHUNKS[name]))

    def _column(self, name: str) -> np.ndarray:
        """Concatenates all chunks and stores the result in their place."""
        if len(self._chunks[name]) != 1:
            self._chunks[name] = [np.concatenate([np.zeros(0, _CHUNKS[name]), *self._chunks[name]])]
        return self._chunks[name][0]


class _Pool(NamedTuple):
    """Predictions of many videos in one list, and the number of positives of each class."""

    classes: np.ndarray
    scores: np.ndarray
    positive: np.ndarray
    num_positive: np.ndarray  # [k]


def _by_class(pool: _Pool, *, ties: Ties = "step") -> np.ndarray:
    """Returns average precision `[k]`, 0..1; nan for classes without positives."""
    order = np.argsort(pool.classes, kind="stable")
    ends = np.cumsum(np.bincount(pool.classes, minlength=len(pool.num_positive)))
    precision = np.full(len(pool.num_positive), np.nan)
    for i, mine in enumerate(np.split(order, ends[:-1])):
        if n := int(pool.num_positive[i]):
            precision[i] = average_precision(pool.scores[mine], pool.positive[mine], num_positive=n, ties=ties)
    return precision


GROUP = 8  # classes
_CHUNKS = {
    "class": np.int32,
    "score": np.float32,
    "positive": np.bool_,
    "hit": np.bool_,
    "perr": np.float64,
    "unit": np.uint32,
    "label": np.int32,
    "num_labels": np.int32,
}


def _top(scores: np.ndarray, k: int) -> np.ndarray:
    """Returns the k best classes of each row, best first; among equal scores, the first classes.

    The k-th largest maximum over groups of classes is a lower bound of the k best scores; only scores above it are
    sorted.
    """
    num_rows, num_classes = scores.shape
    if k * 2 > num_classes // GROUP:
        return best_first(scores)[:, :k]
    num_groups = num_classes // GROUP
    maxima = scores[:, : GROUP * num_groups].reshape(num_rows, GROUP, num_groups).max(axis=1)
    bound = np.partition(maxima, -k, axis=1)[:, -k, None]
    rows, classes = np.nonzero(scores >= bound)
    order = np.lexsort((classes, -scores[rows, classes], rows))
    starts = np.searchsorted(rows, np.arange(num_rows))
    found: np.ndarray = classes[order[starts[:, None] + np.arange(k)]]
    return found


def _equal_recall_precision(scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Returns, for each row, the share of correct classes among its n best, n being its number of labels."""
    num_labels = truth.sum(axis=1)
    if not num_labels.any():
        return np.zeros(len(scores))
    best = _top(scores, int(num_labels.max()))
    right = np.take_along_axis(truth, best, axis=1) & (np.take_along_axis(scores, best, axis=1) > 0)
    among = np.arange(best.shape[1]) < num_labels[:, None]
    precision: np.ndarray = (right & among).sum(axis=1) / np.maximum(num_labels, 1)
    return precision
