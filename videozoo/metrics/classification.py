"""Classification metrics: top-k accuracy for single-label data, mean average precision for multi-label data.

All scores are in percent. Outcomes are stored by sample id: scoring a sample twice is an error, and merging is exact
and independent of the order of samples.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np

from videozoo.contracts.answer import Labels
from videozoo.contracts.ranking import best_first
from videozoo.errors import DataError
from videozoo.metrics.interval import batch_units, proportions, score_intervals, unit_numbers
from videozoo.metrics.parts import Interval, Matrix, Note, Part, Table, tie_notes

__all__ = [
    "Accuracy",
    "Classification",
    "MeanAveragePrecision",
    "Outcome",
    "Ties",
    "average_precision",
    "batch_labels",
    "batch_scores",
    "multi_hot",
]

T = TypeVar("T")


class Classification:
    """`Accuracy` for labels as class indices, `MeanAveragePrecision` for labels of 0 or 1 per class.

    The first batch decides.
    """

    def __init__(self, class_names: Sequence[str]):
        self.class_names = tuple(class_names)
        self.metric: Accuracy | MeanAveragePrecision | None = None

    def update(self, predictions: Sequence[Labels], batch: Mapping[str, Any]) -> None:
        if self.metric is None:
            multi_label = batch_labels(batch, batch["id"]).ndim == 2
            self.metric = (MeanAveragePrecision if multi_label else Accuracy)(self.class_names)
        self.metric.update(predictions, batch)

    def merge(self, other: Classification) -> None:
        if self.metric is None:
            self.metric = copy.deepcopy(other.metric)
        elif other.metric is not None:
            if type(self.metric) is not type(other.metric):
                raise DataError("classification: labels mix single-label and multi-label data; evaluate one data set")
            self.metric.merge(other.metric)  # type: ignore[arg-type]

    def compute(self) -> dict[str, float]:
        return self._chosen_metric().compute()

    def report_parts(self) -> list[Part]:
        return self._chosen_metric().report_parts()

    def intervals(self) -> list[Interval]:
        return self._chosen_metric().intervals()

    def _chosen_metric(self) -> Accuracy | MeanAveragePrecision:
        if self.metric is None:
            raise DataError("classification: no sample was scored; there is nothing to average")
        return self.metric


class Outcome(NamedTuple):
    """The outcome of one sample; `rank` is the rank of its true class, 0 for the best.

    `unit` is the recording of the sample: outcomes of one recording are not independent.
    """

    truth: int
    predicted: int
    rank: int
    score: float
    unit: str


class Accuracy:
    """Top-k accuracy, mean class accuracy and the confusion matrix of single-label classification.

    Equal scores rank in class order, like in `Labels.top`: the lower index comes first, so a model with equal scores
    for all classes always answers "class 0" and is not always right. A k above the number of classes is reduced to it,
    and names the score ("top3"). Mean class accuracy covers the classes with samples.

    Raises:
        DataError: a batch has no labels, a label is outside the classes, a score is nan, or a sample occurs twice.
    """

    def __init__(self, class_names: Sequence[str], *, top_k: Sequence[int] = (1, 5)):
        self.class_names = tuple(class_names)
        self.top_k = sorted({min(k, len(self.class_names)) for k in top_k})
        self.outcomes: dict[str, Outcome] = {}

    def update(self, predictions: Sequence[Labels], batch: Mapping[str, Any]) -> None:
        ids = list(batch["id"])
        num_classes = len(self.class_names)
        scores = batch_scores(predictions, ids, num_classes)
        labels = batch_labels(batch, ids)
        if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
            raise DataError(
                f"accuracy: got {labels.dtype} labels of shape {labels.shape} for {len(ids)} samples; "
                "needs one class index per sample (multi-label data needs mean average precision)"
            )
        for i in np.flatnonzero((labels < 0) | (labels >= num_classes))[:1]:
            raise DataError(f"{ids[i]}: label {labels[i]} is outside 0..{num_classes - 1}, the model's classes")
        rows, index = np.arange(len(ids)), np.arange(num_classes)
        own = scores[rows, labels][:, None]
        ahead = (scores > own) | ((scores == own) & (index < labels[:, None]))
        predicted = scores.argmax(axis=1)  # the first of equal scores
        columns = (labels, predicted, ahead.sum(axis=1), scores[rows, predicted], batch_units(batch))
        outcomes = [Outcome(int(t), int(p), int(r), float(s), u) for t, p, r, s, u in zip(*columns, strict=True)]
        _add_once(self.outcomes, zip(ids, outcomes, strict=True))

    def merge(self, other: Accuracy) -> None:
        _add_once(self.outcomes, other.outcomes.items())

    def compute(self) -> dict[str, float]:
        rank = self._column("rank")
        if not len(rank):
            raise DataError("accuracy: no sample was scored; there is nothing to average")
        scores = {f"top{k}": 100 * float(np.mean(rank < k)) for k in self.top_k}
        count, correct = self._per_class()
        present = count > 0
        scores["mean_class"] = 100 * float(np.mean(correct[present] / count[present]))
        return scores

    def intervals(self) -> list[Interval]:
        rank, truth, units = self._column("rank"), self._column("truth"), self._units()

        def mean_class(kept: np.ndarray) -> dict[str, float]:
            count = np.bincount(truth[kept], minlength=len(self.class_names))
            right = np.bincount(truth[kept & (rank == 0)], minlength=len(self.class_names))
            return {"mean_class": 100 * float(np.mean(right[count > 0] / count[count > 0]))}

        shares = proportions({f"top{k}": rank < k for k in self.top_k}, units)
        return [*shares, *score_intervals(mean_class, units)]

    def confusion(self) -> np.ndarray:
        """Counts `[k k]`: rows are the truth, columns the predicted class."""
        k = len(self.class_names)
        flat = self._column("truth") * k + self._column("predicted")
        return np.bincount(flat, minlength=k * k).reshape(k, k)

    def report_parts(self) -> list[Part]:
        confusion = self.confusion()
        return [
            Matrix("confusion", "Confusion matrix", self.class_names, confusion),
            self._confused_pairs(confusion),
            self._class_table(),
            *self._sample_tables(),
        ]

    def _column(self, field: str) -> np.ndarray:
        values = (getattr(o, field) for o in self.outcomes.values())
        return np.fromiter(values, dtype=np.int64, count=len(self.outcomes))

    def _units(self) -> np.ndarray:
        return unit_numbers([outcome.unit for outcome in self.outcomes.values()])

    def _per_class(self) -> tuple[np.ndarray, np.ndarray]:
        confusion = self.confusion()
        return confusion.sum(axis=1), confusion.diagonal()

    def _class_table(self) -> Table:
        count, correct = self._per_class()
        rows: list[tuple[str | int | float | None, ...]] = [
            (i, name, int(n), int(c), 100 * int(c) / int(n) if n else None)
            for i, (name, n, c) in enumerate(zip(self.class_names, count, correct, strict=True))
        ]
        rows.sort(key=lambda row: (row[4] is None, row[4]))  # worst first; classes without samples last
        return Table("classes", "Classes, worst first", ("index", "class", "samples", "correct", "accuracy %"), rows)

    def _confused_pairs(self, confusion: np.ndarray) -> Table:
        wrong = confusion - np.diag(confusion.diagonal())
        order = best_first(wrong.ravel())[: np.count_nonzero(wrong)]
        rows = []
        for flat in order[:200]:
            truth, predicted = divmod(int(flat), len(self.class_names))
            n = int(wrong[truth, predicted])
            share = 100 * n / int(confusion[truth].sum())
            rows.append((self.class_names[truth], self.class_names[predicted], n, share))
        columns = ("truth", "taken for", "samples", "of the class %")
        return Table("confused_pairs", "Most confused pairs", columns, rows, max_shown=20)

    def _sample_tables(self) -> list[Table]:
        columns = ("id", "truth", "predicted", "score", "rank of truth", "correct")
        rows = [
            (
                id_,
                self.class_names[o.truth],
                self.class_names[o.predicted],
                o.score,
                o.rank + 1,
                int(o.rank == 0),
            )
            for id_, o in sorted(self.outcomes.items())
        ]
        mistakes = sorted((row for row in rows if not row[5]), key=lambda row: -row[3])
        return [
            Table("mistakes", "Most confident mistakes", columns[:5], [row[:5] for row in mistakes[:20]]),
            Table("samples", "Samples", columns, rows, max_shown=0),
        ]


class MeanAveragePrecision:
    """Mean average precision and Hit@1 of multi-label classification.

    The average precision of a class is the sum, over its distinct scores, of precision times the recall gained:
    samples of equal score count as one step, so their order does not matter. The mean covers the classes with at least
    one positive sample. Hit@1 is the share of samples whose best class (the first of equal scores) is among their
    labels; a sample without labels is a miss.

    Stores all scores, 5 bytes per class and sample; `metrics.youtube8m` is meant for large tagging data sets.

    Raises:
        DataError: a batch has no labels, a label is neither 0 nor 1, a score is nan, or a sample occurs twice.
    """

    def __init__(self, class_names: Sequence[str]):
        self.class_names = tuple(class_names)
        self.samples: dict[str, tuple[np.ndarray, np.ndarray, str]] = {}  # id -> scores [k], truth [k], unit

    def update(self, predictions: Sequence[Labels], batch: Mapping[str, Any]) -> None:
        ids = list(batch["id"])
        scores = batch_scores(predictions, ids, len(self.class_names))
        truth = multi_hot(batch_labels(batch, ids), scores.shape)
        units = batch_units(batch)
        _add_once(self.samples, ((id_, (scores[i], truth[i], units[i])) for i, id_ in enumerate(ids)))

    def merge(self, other: MeanAveragePrecision) -> None:
        _add_once(self.samples, other.samples.items())

    def compute(self) -> dict[str, float]:
        precision = self.class_precision()
        if np.isnan(precision).all():
            raise DataError("mean average precision: no scored sample has a label; there is nothing to average")
        return {"map": 100 * float(np.nanmean(precision)), "hit1": 100 * float(self._hits().mean())}

    def class_precision(self) -> np.ndarray:
        """Returns the average precision of each class, 0..1; nan for a class without positive samples."""
        return _precision_by_class(*self._stacked())

    def intervals(self) -> list[Interval]:
        scores, truth = self._stacked()
        units = unit_numbers([unit for _, _, unit in self.samples.values()])

        def mean_precision(kept: np.ndarray) -> dict[str, float]:
            return {"map": 100 * _mean(_precision_by_class(scores[kept], truth[kept]))}

        return [*score_intervals(mean_precision, units), *proportions({"hit1": self._hits()}, units)]

    def report_parts(self) -> list[Part]:
        precision, count = self.class_precision(), self._stacked()[1].sum(axis=0)
        rows: list[tuple[str | int | float | None, ...]] = [
            (i, name, int(n), 100 * float(p) if n else None)
            for i, (name, n, p) in enumerate(zip(self.class_names, count, precision, strict=True))
        ]
        rows.sort(key=lambda row: (row[3] is None, row[3]))
        return [
            Table("classes", "Classes, worst first", ("index", "class", "positives", "AP %"), rows),
            *self._tie_notes(),
        ]

    def _stacked(self) -> tuple[np.ndarray, np.ndarray]:
        if not self.samples:
            raise DataError("mean average precision: no sample was scored; there is nothing to average")
        scores, truth, _ = zip(*self.samples.values(), strict=True)
        return np.stack(scores), np.stack(truth)

    def _tie_notes(self) -> list[Note]:
        worst, best = (
            {"map": 100 * _mean(_precision_by_class(*self._stacked(), ties=ties))} for ties in ("worst", "best")
        )
        return tie_notes(worst, best)

    def _hits(self) -> np.ndarray:
        scores, truth = self._stacked()
        hits: np.ndarray = truth[np.arange(len(scores)), scores.argmax(axis=1)]
        return hits


Ties = Literal["step", "best", "worst"]


def average_precision(
    scores: np.ndarray, positive: np.ndarray, *, num_positive: int | None = None, ties: Ties = "step"
) -> float:
    """Returns the area under precision over recall, 0..1.

    Args:
        num_positive: denominator of recall if not all positives are listed.
        ties: "step" treats equal scores as one step, independent of their order; "best" and "worst" rank positives
            first or last among them, which gives the bounds over all orders.
    """
    if not len(scores):
        return 0.0  # no positive is listed
    if ties != "step":
        order = np.lexsort((positive if ties == "worst" else ~positive.astype(bool), -scores))
        places = 1 + np.flatnonzero(positive[order])
        total = len(places) if num_positive is None else num_positive
        return float(np.sum(np.arange(1, len(places) + 1) / places) / total)
    ranked, best = _ranked(scores, positive)
    hits = len(best) - np.searchsorted(best, best)  # for each positive, the number of positives with at least its score
    places = len(ranked) - np.searchsorted(ranked, best)
    total = len(best) if num_positive is None else num_positive
    return float(np.sum(hits / places) / total)


def _precision_by_class(scores: np.ndarray, truth: np.ndarray, *, ties: Ties = "step") -> np.ndarray:
    columns = zip(scores.T, truth.T, strict=True)
    return np.array([average_precision(s, t, ties=ties) if t.any() else np.nan for s, t in columns])


def _mean(precision: np.ndarray) -> float:
    """Returns the mean over the classes with a precision."""
    return float(np.nanmean(precision)) if not np.isnan(precision).all() else math.nan


def _ranked(scores: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns (all, positives) as sorted integers that compare like the scores."""
    if scores.dtype != np.float32:
        order = np.argsort(scores)
        return scores[order], scores[order][positive[order].astype(bool)]
    # The bits of a float as an integer with the same order, and the label as the lowest bit: sorting values is faster
    # than argsort.
    bits = (scores + np.float32(0)).view(np.int32)  # -0 becomes 0
    if (negative := bits < 0).any():
        bits[negative] ^= 0x7FFFFFFF
    keys = np.left_shift(bits, 1, dtype=np.int64)
    keys += positive
    keys.sort()
    ranked = keys >> 1
    return ranked, ranked[np.flatnonzero(keys & 1)]


def batch_scores(predictions: Sequence[Labels], ids: Sequence[str], num_classes: int) -> np.ndarray:
    """Returns scores `[b k]` after a check: one prediction per sample, one score per class, no nan."""
    if len(predictions) != len(ids):
        raise DataError(f"metric: {len(predictions)} predictions for {len(ids)} samples; needs one per sample")
    for id_, prediction in zip(ids, predictions, strict=True):
        if len(prediction.scores) != num_classes:
            raise DataError(f"{id_}: {len(prediction.scores)} scores; the metric needs {num_classes}, one per class")
        if np.isnan(prediction.scores).any():
            raise DataError(f"{id_}: the model's scores are nan; check its weights, or evaluate in fp32")
    return np.stack([p.scores for p in predictions])


def batch_labels(batch: Mapping[str, Any], ids: Sequence[str]) -> np.ndarray:
    """Returns the labels of a batch as an array on the CPU.

    Raises:
        DataError: the batch has no labels.
    """
    labels = batch.get("label")
    if labels is None:
        raise DataError(f"{ids[0]}: has no label; evaluate on labeled data, or use `videozoo predict`")
    array = np.asarray(labels.cpu() if hasattr(labels, "cpu") else labels)
    if len(array) != len(ids):
        raise DataError(f"metric: {len(array)} labels for {len(ids)} samples; needs one per sample")
    return array


def multi_hot(labels: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Returns labels of 0 and 1 `[b k]` as booleans after a check."""
    if labels.shape != shape:
        raise DataError(f"metric: labels have shape {labels.shape}; multi-label data needs {shape} with 0 or 1")
    present: np.ndarray = labels != 0
    if not (labels[present] == 1).all():
        raise DataError("metric: labels are not all 0 or 1; evaluate without mixup or cutmix")
    return present


def _add_once(known: dict[str, T], added: Iterable[tuple[str, T]]) -> None:
    for id_, value in added:
        if id_ in known:
            raise DataError(f"{id_}: was scored twice; ids must be unique in a data set")
        known[id_] = value
