"""A task on one or several processes, replicated (DDP) or sharded (FSDP), and its full state dict."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping
from typing import Any, cast

from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from videozoo.engine import sharded
from videozoo.engine.average import WeightAverage
from videozoo.engine.distributed import World
from videozoo.tasks.task import Task

__all__ = ["Parallel"]


class Parallel:
    """A task distributed over the processes of a run, with its optimizer and weight average.

    Args:
        kind: "ddp" gives each process the full model, "fsdp" a shard of it.

    Attributes:
        forward: the module that a training step calls.
    """

    def __init__(self, task: Task, optimizer: Optimizer, average: WeightAverage | None, *, world: World, kind: str):
        self.world = world
        self.forward: nn.Module = task
        self._unsharded: Task | None = None  # unsharded copy for evaluation
        if world.size > 1 and kind == "fsdp":
            self._unsharded = copy.deepcopy(task).requires_grad_(False).cpu()
            sharded.shard(task, optimizer, world=world)
            if average is not None:
                sharded.shard(average.task, world=world)
        elif world.size > 1:
            self.forward = DistributedDataParallel(task, gradient_as_bucket_view=True)

    def sync_gradients(self, now: bool) -> contextlib.AbstractContextManager[Any]:
        """Exchanges gradients in the backward pass while entered, if `now`: only the last micro-batch does."""
        if self._unsharded is not None:
            cast(Any, self.forward).set_requires_gradient_sync(now)
        if now or not isinstance(self.forward, DistributedDataParallel):
            return contextlib.nullcontext()
        return self.forward.no_sync()

    @contextlib.contextmanager
    def unsharded(self, task: Task) -> Iterator[Task]:
        """Gives `task` on one device, a copy if it is sharded: processes may evaluate unequal numbers of batches."""
        if self._unsharded is None:
            yield task
            return
        self._unsharded.load_state_dict(sharded.full_state_dict(task, world=self.world, everywhere=True))
        try:
            yield self._unsharded.to(self.world.device)
        finally:
            self._unsharded.cpu()

    def state_of(self, module: nn.Module) -> dict[str, Tensor]:
        """Returns the full state dict of `module`."""
        return module.state_dict() if self._unsharded is None else sharded.full_state_dict(module, world=self.world)

    def optimizer_state(self, optimizer: Optimizer) -> Mapping[str, Any]:
        """Returns the full state dict of `optimizer`."""
        return (
            optimizer.state_dict()
            if self._unsharded is None
            else sharded.full_optimizer_state_dict(optimizer, world=self.world)
        )
