"""The result of an evaluation, for reports and the command line."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from videozoo.data.files import some_of
from videozoo.errors import counted
from videozoo.metrics.metric import Metric
from videozoo.metrics.parts import HasIntervals, HasParts, Interval, Note, Part

__all__ = ["Evaluation", "by_reason"]

HANDFUL = 20  # fewest independent samples for an informative interval


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The result of an evaluation over all ranks.

    Attributes:
        scores: every metric's scores by name, in their published units.
        metrics: the metrics, for their tables, intervals and notes.
        num_scored, num_total: numbers of scored samples and of all samples.
        not_scored: (id, reason) of every other sample.
        damaged: number of frames with concealed damage by sample; samples without damage are left out.
        seconds: wall-clock time of the loop.
        protocol: settings of the evaluation, as plain values.
        num_groups: number of recordings among the scored samples, if samples were grouped.
    """

    scores: Mapping[str, float]
    metrics: Sequence[Metric]
    num_scored: int
    num_total: int
    not_scored: Sequence[tuple[str, str]]
    seconds: float
    protocol: Mapping[str, Any]
    num_groups: int | None = None
    damaged: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def parts(self) -> list[Part]:
        """Returns the tables, matrices and notes of the metrics."""
        return list(self._parts)

    @functools.cached_property
    def _parts(self) -> list[Part]:
        found = [part for metric in self.metrics if isinstance(metric, HasParts) for part in metric.report_parts()]
        return [*self._few(), *self._concealed(), *found]

    @functools.cached_property
    def intervals(self) -> dict[str, Interval]:
        """The available confidence intervals by score; takes a while on large data sets."""
        found = [i for metric in self.metrics if isinstance(metric, HasIntervals) for i in metric.intervals()]
        return {interval.score: interval for interval in found}

    def notes(self) -> list[str]:
        """Returns remarks on the scores, such as too few samples."""
        return [part.text for part in self.parts() if isinstance(part, Note)]

    def _few(self) -> list[Note]:
        count = self.num_scored if self.num_groups is None else self.num_groups
        if count >= HANDFUL:
            return []
        what = counted(count, "sample" if self.num_groups is None else "recording")
        return [Note(f"only {what} scored: too few to compare models; evaluate on more to narrow the intervals")]

    def _concealed(self) -> list[Note]:
        if not self.damaged:
            return []
        count = counted(sum(self.damaged.values()), "damaged frame")
        names = some_of([f"{id_} ({frames})" for id_, frames in sorted(self.damaged.items())])
        return [Note(f"the decoder concealed {count} of {counted(len(self.damaged), 'sample')}: {names}")]

    @property
    def coverage(self) -> str:
        """The numbers of scored samples and of all samples, in words."""
        return f"{self.num_scored} of {self.num_total} scored"


def by_reason(bad: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Groups ids by their reason: e.g. all sentences of a video without features have the same one."""
    found: dict[str, list[str]] = {}
    for id_, why in bad:
        found.setdefault(why, []).append(id_)
    return found
