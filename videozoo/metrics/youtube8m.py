"""The metrics of YouTube-8M: GAP, Hit@1, PERR and mAP over the best 20 classes of each video."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from videozoo.errors import DataError
from videozoo.metrics.classification import average_precision, batch_labels, batch_scores, multi_hot
from videozoo.metrics.parts import Interval, Part, Table, bootstrap_interval
from videozoo.types import Labels, best_first

__all__ = ["YouTube8M"]


class YouTube8M:
    """Scores of multi-label tagging as YouTube-8M defines them, over the whole set, in percent.

    Paper: arXiv:1609.08675, section 5.

    - gap: global average precision; the `top_k` best classes of every video are pooled and ranked together.
      All positives count in the recall, listed or not.
    - map: the same ranking class by class, averaged over the classes with a positive.
    - hit1: share of videos whose best class is right.
    - perr: precision at equal recall rate; of a video with n labels, the share of its n best classes that are
      right, where a score of 0 is never right. A video without labels counts 0 in both.

    Differs from the original code in ties, which it shuffles by a seed: here classes of equal score rank in
    class order within a video, and pooled entries of equal score count as one step: no order matters.

    Keeps about 200 bytes a video (at `top_k` 20), whatever the number of classes. Sample ids are not kept.
    """

    def __init__(self, class_names: Sequence[str], *, top_k: int = 20):
        self.class_names = tuple(class_names)
        self.top_k = min(top_k, len(self.class_names))
        self.num_positive = np.zeros(len(self.class_names), np.int64)
        self._chunks: dict[str, list[np.ndarray]] = {name: [] for name in _CHUNKS}

    def update(self, predictions: Sequence[Labels], batch: Mapping[str, Any]) -> None:
        ids = list(batch["id"])
        scores = batch_scores(predictions, ids, len(self.class_names))
        truth = multi_hot(batch_labels(batch, ids), scores.shape)
        listed = _top(scores, self.top_k)
        right = np.take_along_axis(truth, listed, axis=1)
        self.num_positive += np.bincount(np.nonzero(truth)[1], minlength=len(self.class_names))
        self._add("class", listed.ravel())
        self._add("score", np.take_along_axis(scores, listed, axis=1).ravel())
        self._add("positive", right.ravel())
        self._add("hit", right[:, 0])
        self._add("perr", _equal_recall_precision(scores, truth))

    def merge(self, other: YouTube8M) -> None:
        self.num_positive = self.num_positive + other.num_positive
        for name, chunks in other._chunks.items():
            self._chunks[name] = self._chunks[name] + chunks

    def compute(self) -> dict[str, float]:
        total = int(self.num_positive.sum())
        if not total:
            raise DataError("youtube8m: no scored video has a label; there is nothing to average")
        hit, perr = self._column("hit"), self._column("perr")
        gap = average_precision(self._column("score"), self._column("positive"), num_positive=total)
        return {
            "gap": 100 * gap,
            "map": 100 * float(np.nanmean(self.class_precision())),
            "hit1": 100 * float(hit.mean()),
            "perr": 100 * math.fsum(perr) / len(perr),  # exact, hence the same in any order
        }

    def class_precision(self) -> np.ndarray:
        """The average precision of each class, 0..1; nan where it has no positive."""
        classes, scores, positive = (self._column(name) for name in ("class", "score", "positive"))
        order = np.argsort(classes, kind="stable")
        ends = np.cumsum(np.bincount(classes, minlength=len(self.class_names)))
        precision = np.full(len(self.class_names), np.nan)
        for i, mine in enumerate(np.split(order, ends[:-1])):
            if self.num_positive[i]:
                n = int(self.num_positive[i])
                precision[i] = average_precision(scores[mine], positive[mine], num_positive=n)
        return precision

    def report_parts(self) -> list[Part]:
        precision = self.class_precision()
        rows: list[tuple[str | int | float | None, ...]] = [
            (i, name, int(n), 100 * float(p) if n else None)
            for i, (name, n, p) in enumerate(zip(self.class_names, self.num_positive, precision, strict=True))
        ]
        rows.sort(key=lambda row: (row[3] is None, row[3]))
        return [
            Interval("hit1", *bootstrap_interval(100.0 * self._column("hit"))),
            Interval("perr", *bootstrap_interval(100.0 * self._column("perr"))),
            Table(
                "classes",
                "Classes, worst first",
                ("index", "class", "positives", "AP %"),
                rows,
                max_shown=500,
            ),
        ]

    def _add(self, name: str, values: np.ndarray) -> None:
        self._chunks[name].append(values.astype(_CHUNKS[name]))

    def _column(self, name: str) -> np.ndarray:
        """All chunks as one, which then stands for them."""
        if len(self._chunks[name]) != 1:
            self._chunks[name] = [np.concatenate([np.zeros(0, _CHUNKS[name]), *self._chunks[name]])]
        return self._chunks[name][0]


GROUP = 8  # classes
_CHUNKS = {"class": np.int32, "score": np.float32, "positive": np.bool_, "hit": np.bool_, "perr": np.float64}


def _top(scores: np.ndarray, k: int) -> np.ndarray:
    """The k best classes of each row, best first; of equal scores, the first classes.

    The k-th best of the maxima of groups of classes is a bound that few scores reach, and the k best do: only
    these are sorted.
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
    """Of each row, which share of its n best classes is right, n being the number of its labels."""
    num_labels = truth.sum(axis=1)
    if not num_labels.any():
        return np.zeros(len(scores))
    best = _top(scores, int(num_labels.max()))
    right = np.take_along_axis(truth, best, axis=1) & (np.take_along_axis(scores, best, axis=1) > 0)
    among = np.arange(best.shape[1]) < num_labels[:, None]
    return (right & among).sum(axis=1) / np.maximum(num_labels, 1)
