"""The evaluation loop: every sample scored exactly once, and what was left out named.

It knows a task's `predict` and its metrics, and nothing of what they are about.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist

from videozoo.data.files import some_of
from videozoo.errors import DataError, VideoZooError, counted
from videozoo.metrics.metric import Metric
from videozoo.metrics.parts import HasIntervals, HasParts, Interval, Note, Part
from videozoo.tasks.precision import autocast, check_precision
from videozoo.tasks.task import Task

__all__ = ["Evaluation", "evaluate"]

HANDFUL = 20  # independent samples; intervals of fewer hold, and say little


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What an evaluation found, over all ranks.

    Attributes:
        scores: every metric's scores by name, in their published units.
        metrics: the metrics themselves, for whatever else they can tell.
        num_scored, num_total: how many of the samples the scores are about.
        not_scored: (id, reason) of every other sample.
        damaged: frames whose damage the decoder concealed, by sample; samples without any are left out.
        seconds: wall-clock time of the loop.
        protocol: how it was done, as plain values.
        num_groups: recordings of the scored samples, if samples were grouped.
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
        """Tables, matrices and notes of the metrics that have them."""
        return list(self._parts)

    @functools.cached_property
    def _parts(self) -> list[Part]:
        found = [part for metric in self.metrics if isinstance(metric, HasParts) for part in metric.report_parts()]
        return [*self._few(), *self._concealed(), *found]

    @functools.cached_property
    def intervals(self) -> dict[str, Interval]:
        """The confidence intervals of the scores that have one, by score; takes a while on large sets."""
        found = [i for metric in self.metrics if isinstance(metric, HasIntervals) for i in metric.intervals()]
        return {interval.score: interval for interval in found}

    def notes(self) -> list[str]:
        """Sentences about the scores that a reader should know."""
        return [part.text for part in self.parts() if isinstance(part, Note)]

    def _few(self) -> list[Note]:
        count = self.num_scored if self.num_groups is None else self.num_groups
        if count >= HANDFUL:
            return []
        what = counted(count, "sample" if self.num_groups is None else "recording")
        return [Note(f"only {what} scored: too few to tell models apart; evaluate on more to narrow the intervals")]

    def _concealed(self) -> list[Note]:
        if not self.damaged:
            return []
        count = counted(sum(self.damaged.values()), "damaged frame")
        names = some_of([f"{id_} ({frames})" for id_, frames in sorted(self.damaged.items())])
        return [Note(f"the decoder guessed {count} of {counted(len(self.damaged), 'sample')}: {names}")]

    @property
    def coverage(self) -> str:
        """How many of how many samples were scored, in words."""
        return f"{self.num_scored} of {self.num_total} scored"


def evaluate(
    task: Task,
    loader: Iterable[Mapping[str, Any]],
    input_spec: Any,
    *,
    device: torch.device | str,
    precision: str = "fp32",
    num_total: int | None = None,
    protocol: Mapping[str, Any] | None = None,
    groups: Mapping[str, str] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Evaluation:
    """Scores of `task` over the batches of an evaluation loader.

    With `torch.distributed` initialised, each rank runs its own share and all ranks return the same, merged
    result. The task's mode (train or eval) is put back afterwards.

    Args:
        num_total: samples of the data set, to check that the loaders of all ranks left none out.
        protocol: what the report is to say of how the data came about.
        groups: the recording of each sample, by id; intervals take samples of one recording as dependent.
        progress: called with the number of samples done after each batch.

    Raises:
        ConfigError: an unknown precision.
        DataError: no sample could be scored, one was scored twice, or one never came.
    """
    check_precision(precision)
    device = torch.device(device)
    started = time.perf_counter()
    was_training = task.training
    task.eval()
    try:
        share = _run(task, loader, input_spec, device=device, precision=precision, groups=groups, progress=progress)
    finally:
        task.train(was_training)
    metrics, scored, not_scored, damaged = _over_ranks(share)
    num_seen = len(scored) + len(not_scored)
    _check_once(scored, not_scored)
    if num_total is not None and num_seen != num_total:
        raise DataError(f"evaluation: {num_seen} of {num_total} samples came out of the loader; it must give each once")
    if not scored:
        first = f"; the first is {not_scored[0][0]}: {not_scored[0][1]}" if not_scored else ""
        raise DataError(f"evaluation: none of {counted(num_seen, 'sample')} could be scored{first}")
    return Evaluation(
        scores=_scores(metrics),
        metrics=metrics,
        num_scored=len(scored),
        num_total=num_seen,
        not_scored=sorted(not_scored),
        seconds=time.perf_counter() - started,
        protocol={**(protocol or {}), "device": _name_of(device), "precision": precision},
        num_groups=None if groups is None else len({groups[id_] for id_ in scored}),
        damaged=damaged,
    )


# metrics, ids scored, (id, reason) of the others, damaged frames by id
Share = tuple[list[Metric], list[str], list[tuple[str, str]], dict[str, int]]


def _run(
    task: Task,
    loader: Iterable[Mapping[str, Any]],
    input_spec: Any,
    *,
    device: torch.device,
    precision: str,
    groups: Mapping[str, str] | None,
    progress: Callable[[int], None] | None,
) -> Share:
    metrics = task.metrics()
    scored: list[str] = []
    not_scored: list[tuple[str, str]] = []
    damaged: dict[str, int] = {}
    for batch in loader:
        not_scored += batch.get("bad", ())
        ids = list(batch.get("id", ()))
        if ids:
            with torch.inference_mode(), autocast(device, precision):
                predictions = task.predict(input_spec.to_device(batch, device))
            if len(predictions) != len(ids):
                raise VideoZooError(
                    f"evaluation: {type(task).__name__}.predict gave {len(predictions)} values for "
                    f"{len(ids)} samples; it must give one each"
                )
            judged = batch if groups is None else {**batch, "group": [groups[id_] for id_ in ids]}
            for metric in metrics:
                metric.update(predictions, judged)
            scored += ids
            damaged |= {id_: int(n) for id_, n in zip(ids, batch.get("damaged_frames", ()), strict=False) if n}
        if progress is not None:
            progress(len(scored) + len(not_scored))
    return metrics, scored, not_scored, damaged


def _over_ranks(share: Share) -> Share:
    if not _is_shared():
        return share
    shares: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(shares, share)
    metrics, scored, not_scored, damaged = shares[0]
    for other_metrics, other_scored, other_not_scored, other_damaged in shares[1:]:
        for metric, other in zip(metrics, other_metrics, strict=True):
            metric.merge(other)
        scored, not_scored, damaged = scored + other_scored, not_scored + other_not_scored, damaged | other_damaged
    return metrics, scored, not_scored, damaged


def _scores(metrics: Sequence[Metric]) -> dict[str, float]:
    """Every metric's scores. The first process computes them for all: METEOR is a program that one run of is enough."""
    if not _is_shared():
        return _computed(metrics)
    found: list[Any] = [None]
    if dist.get_rank() == 0:
        try:
            found = [_computed(metrics)]
        except VideoZooError as error:  # of all, or the others would wait
            found = [error]
    dist.broadcast_object_list(found)
    if isinstance(found[0], VideoZooError):
        raise found[0]
    return dict(found[0])


def _computed(metrics: Sequence[Metric]) -> dict[str, float]:
    return {name: score for metric in metrics for name, score in metric.compute().items()}


def _is_shared() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def _check_once(scored: Sequence[str], not_scored: Sequence[tuple[str, str]]) -> None:
    seen: set[str] = set()
    for id_ in (*scored, *(id_ for id_, _ in not_scored)):
        if id_ in seen:
            raise DataError(f"{id_}: came twice in one evaluation; ids must be unique in a data set")
        seen.add(id_)


def _name_of(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
