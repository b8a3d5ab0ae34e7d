"""The evaluation loop: scores every sample exactly once and lists the samples without a score.

It calls a task's `predict` and its metrics, and depends on no particular task.
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
    """Returns the scores of `task` over the batches of an evaluation loader.

    If `torch.distributed` is initialized, each rank evaluates its share of the samples and all ranks return the same
    merged result. The task's mode (train or eval) is restored afterwards.

    Args:
        num_total: size of the data set, to check that the loaders of all ranks give every sample.
        protocol: the evaluation settings that the report states.
        groups: the recording of each sample, by id; confidence intervals treat samples of one recording as dependent.
        progress: called with the number of samples done after each batch.

    Raises:
        ConfigError: the precision is unknown.
        DataError: no sample could be scored, one was scored twice, or one is missing.
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
        raise DataError(f"evaluation: the loader gave {num_seen} of {num_total} samples; it must give each once")
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


# metrics, scored ids, (id, reason) of samples without a score, number of damaged frames by id
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
                    f"evaluation: {type(task).__name__}.predict returned {len(predictions)} values for "
                    f"{len(ids)} samples; it must return one per sample"
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
    """Returns every metric's scores. METEOR starts a Java program, so only the first process computes them."""
    if not _is_shared():
        return _computed(metrics)
    found: list[Any] = [None]
    if dist.get_rank() == 0:
        try:
            found = [_computed(metrics)]
        except VideoZooError as error:  # sent to all processes: the others wait for a result
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
            raise DataError(f"{id_}: was scored twice in one evaluation; ids must be unique in a data set")
        seen.add(id_)


def _name_of(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
