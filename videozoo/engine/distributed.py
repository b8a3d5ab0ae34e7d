"""One process or many: what torchrun says of them, and the few things they tell each other."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from videozoo.tasks.device import pick_device

__all__ = ["World", "join_world"]


CPU = torch.device("cpu")
TIMEOUT = timedelta(minutes=30)
_RUNS = itertools.count()  # of this process; all of them have as many


@dataclasses.dataclass(frozen=True)
class World:
    """This process among all that train the same model."""

    rank: int = 0
    size: int = 1
    device: torch.device = CPU

    @property
    def is_first(self) -> bool:
        """Whether this process writes the files and shows the progress."""
        return self.rank == 0

    def mean(self, values: Tensor) -> Tensor:
        """The mean of `values` over all processes."""
        if self.size > 1:
            dist.all_reduce(values)
            values /= self.size
        return values

    def gather(self, value: Any) -> list[Any]:
        """The `value` of every process, by rank."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def from_first(self, value: Any) -> Any:
        """The first process's `value`."""
        if self.size == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values)
        return values[0]


@contextlib.contextmanager
def join_world(device: str = "auto", *, where: str = "device") -> Iterator[World]:
    """The processes that torchrun started, or this one alone; nccl between GPUs, gloo between CPUs.

    Args:
        where: of the device's name, for error messages.

    Raises:
        ConfigError: the device is not there.
    """
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    found = pick_device(device, where=where, local_rank=int(os.environ.get("LOCAL_RANK", "0")))
    if found.type == "cuda":
        torch.cuda.set_device(found)
    if world_size == 1:
        yield World(device=found)
        return
    ours = not dist.is_initialized()
    if ours:
        backend = "nccl" if found.type == "cuda" else "gloo"
        # torchrun's store outlives a group: a new one must not find the addresses of the last attempt's in it, nor of
        # the last run's in this process
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        store, rank, size = next(rendezvous("env://", timeout=TIMEOUT))
        named = f"videozoo/attempt_{attempt}/run_{next(_RUNS)}"
        store = dist.PrefixStore(named, store)  # type: ignore[attr-defined]
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=TIMEOUT)
    try:
        yield World(rank=dist.get_rank(), size=dist.get_world_size(), device=found)
    finally:
        if ours:
            dist.destroy_process_group()
