"""Localization metrics: recall of proposals, precision of labeled segments, and event spotting."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from typing_extensions import Self

from videozoo.contracts.answer import Segments
from videozoo.metrics.detection import THUMOS_TIOUS, DetectionMap, SpottingMap
from videozoo.metrics.parts import Interval, Note, Part, Table
from videozoo.metrics.proposals import ACTIVITYNET_TIOUS, ProposalRecall

__all__ = ["Localization", "Protocol"]

Protocol = Literal["activitynet", "thumos14"]
TIOUS: dict[Protocol, Sequence[float]] = {"activitynet": ACTIVITYNET_TIOUS, "thumos14": THUMOS_TIOUS}


class Localization:
    """`auc` and `ar1` ... `ar100` (0..100) of proposals, `map` and `map@<tIoU>` (0..1) of labeled segments.

    `tolerances_s` adds `spotting` and `spotting@<s>s`, 0..1. `num_empty` counts the videos without proposals; the
    report lists them. Recall uses `Segments.proposals` if a classifier labeled them, else the spans.

    Args:
        protocol: "activitynet" averages precision over tIoU 0.5:0.05:0.95, "thumos14" over 0.3:0.1:0.7.
        tolerances_s: largest distances between centers at which an event counts as spotted.
    """

    def __init__(
        self,
        class_names: Sequence[str],
        *,
        protocol: Protocol = "activitynet",
        tolerances_s: Sequence[float] = (),
    ):
        self.recall = ProposalRecall()
        self.precision = DetectionMap(class_names, tious=TIOUS[protocol])
        self.spotting = SpottingMap(class_names, tolerances_s=tolerances_s) if tolerances_s else None
        self.is_named = False
        self.empty: list[str] = []

    def update(self, predictions: Sequence[Segments], batch: Mapping[str, Any]) -> None:
        spans = [answer.spans for answer in predictions]
        proposals = [answer.proposals or answer.spans for answer in predictions]
        self.recall.update(proposals, batch)
        self.precision.update(spans, batch)
        if self.spotting is not None:
            self.spotting.update(spans, batch)
        self.is_named |= any(span.label for found in spans for span in found)
        self.empty += [id_ for id_, found in zip(batch["id"], proposals, strict=True) if not found]

    def merge(self, other: Self) -> None:
        self.recall.merge(other.recall)
        self.precision.merge(other.precision)
        if self.spotting is not None and other.spotting is not None:
            self.spotting.merge(other.spotting)
        self.is_named |= other.is_named
        self.empty += other.empty

    def compute(self) -> dict[str, float]:
        scores = self.recall.compute() if self._finds_anything() else {"auc": 0.0}
        if self.is_named:
            scores |= self.precision.compute()
        if self.is_named and self.spotting is not None:
            scores |= {_spotting(name): score for name, score in self.spotting.compute().items()}
        return {**scores, "num_empty": float(len(self.empty))}

    def intervals(self) -> list[Interval]:
        found = self.recall.intervals() if self._finds_anything() else []
        if self.is_named:
            found += self.precision.intervals()
        if self.is_named and self.spotting is not None:
            found += [dataclasses.replace(i, score=_spotting(i.score)) for i in self.spotting.intervals()]
        return found

    def report_parts(self) -> list[Part]:
        parts: list[Part] = []
        if self.empty:
            rows = [(id_,) for id_ in sorted(self.empty)]
            parts.append(Table("without_proposal", "Videos without any proposal", ("id",), rows, max_shown=20))
        if self.is_named:
            parts += [self._classes(), *self.precision.tie_notes()]
        if self.is_named and self.spotting is not None:
            parts += [Note(_spotting(note.text)) for note in self.spotting.tie_notes()]
        return parts

    def _classes(self) -> Table:
        metric = self.precision
        often = Counter(span.label for spans in metric.truth.values() for span in spans)
        precision = 100 * metric.by_class()
        at = (0, len(metric.thresholds) // 2)
        columns = ("class", "segments", "AP %", *(f"AP@{metric.thresholds[i]:.2f} %" for i in at))
        worst_first = [k for k in np.argsort(precision.mean(0)) if often[metric.class_names[k]]]
        rows = [
            (
                metric.class_names[k],
                often[metric.class_names[k]],
                *map(float, (precision[:, k].mean(), *precision[at, k])),
            )
            for k in worst_first
        ]
        return Table("per_class", "Average precision by class", columns, rows)

    def _finds_anything(self) -> bool:
        """Returns whether any annotated video has a proposal; an untrained network may find none."""
        return any(len(self.recall.proposals[id_]) for id_, truth in self.recall.truth.items() if len(truth))


def _spotting(name: str) -> str:
    return name.replace("map", "spotting", 1)
