"""Precise batch norm: statistics for evaluation, measured with the current weights."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from videozoo.engine.distributed import World

__all__ = ["estimate_statistics"]

T = TypeVar("T")


@torch.no_grad()
def estimate_statistics(
    module: nn.Module, batches: Iterable[T], *, forward: Callable[[T], object], world: World | None = None
) -> None:
    """Sets the running statistics of the batch norms to the plain averages over `batches`.

    Training leaves moving averages over earlier weights there (arXiv:2105.07576, section 3). Frozen batch norms and
    all other state stay unchanged.

    Args:
        forward: runs `module` on a batch.
        world: the processes; the average covers the batches of all of them.
    """
    was_training = module.training
    module.train()
    norms = [m for m in module.modules() if isinstance(m, _BatchNorm) and m.training and m.track_running_stats]
    try:
        if norms:
            with _plain_average(norms):
                for batch in batches:
                    forward(batch)
            for norm in norms:
                for statistic in (norm.running_mean, norm.running_var):
                    if statistic is not None:
                        (world or World()).mean(statistic)
    finally:
        module.train(was_training)


@contextlib.contextmanager
def _plain_average(norms: list[_BatchNorm]) -> Iterator[None]:
    """Makes batch norms average with equal weights while entered (momentum None)."""
    before = [(norm.momentum, int(norm.num_batches_tracked or 0)) for norm in norms]
    for norm in norms:
        norm.momentum = None
        norm.reset_running_stats()
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, before, strict=True):
            norm.momentum = momentum
            if norm.num_batches_tracked is not None:
                norm.num_batches_tracked.fill_(count)
