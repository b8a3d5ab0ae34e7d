"""The processes of a run, as torchrun starts them, and the exchange of values between them."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import importlib
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
_RUNS = itertools.count()  # runs started by this process; the count is the same in all processes


@dataclasses.dataclass(frozen=True)
class World:
    """This process's rank among the processes that train one model."""

    rank: int = 0
    size: int = 1
    device: torch.device = CPU

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes files and shows progress."""
        return self.rank == 0

    def mean(self, values: Tensor) -> Tensor:
        """Returns the mean of `values` over all processes."""
        if self.size > 1:
            dist.all_reduce(values)
            values /= self.size
        return values

    def gather(self, value: Any) -> list[Any]:
        """Returns every process's `value`, in order of rank."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def from_first(self, value: Any) -> Any:
        """Returns the first process's `value`."""
        if self.size == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values)
        return values[0]


@contextlib.contextmanager
def join_world(device: str = "auto", *, where: str = "device") -> Iterator[World]:
    """Joins the processes that torchrun started, over nccl on GPUs and gloo on CPUs; without torchrun, one process.

    Args:
        where: place of the device's name, for error messages.

    Raises:
        ConfigError: the device is not available.
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
        importlib.import_module("torch.distributed.nn.functional")  # later, its default arguments would keep the group
        backend = "nccl" if found.type == "cuda" else "gloo"
        # torchrun's store outlives a process group: a prefix keeps a new group from reading the addresses of an earlier
        # attempt or of an earlier run in this process
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        store, rank, size = next(rendezvous("env://", timeout=TIMEOUT))
        named = f"videozoo/attempt_{attempt}/run_{next(_RUNS)}"
        store = dist.PrefixStore(named, store)  # type: ignore[attr-defined]
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=TIMEOUT)
    try:
        yield World(rank=dist.get_rank(), size=dist.get_world_size(), device=found)
        if ours and found.type == "cpu":
            _settle()
    finally:
        if ours:
            gc.collect()  # the group ends its threads when nothing refers to it; models that are gone still may
            dist.destroy_process_group()


def _settle() -> None:
    """Exchanges nothing, a few times: no thread of the group holds a tensor of Python's afterwards.

    FSDP keeps the group alive. A thread that frees such a tensor while Python ends aborts the process, after a complete
    run.
    """
    for _ in range(4):  # gloo has two threads
        dist.barrier()
