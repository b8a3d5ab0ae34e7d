"""The evaluation loop: every sample scored exactly once, and what was left out named.

It knows a task's `predict` and its metrics, and nothing of what they are about.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist

from videozoo.errors import DataError, VideoZooError, counted
from videozoo.metrics.metric import Metric
from videozoo.report.evaluation import Evaluation
from videozoo.tasks.precision import autocast, check_precision
from videozoo.tasks.task import Task

__all__ = ["Evaluation", "evaluate"]


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
