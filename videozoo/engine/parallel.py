"""A task on one process or many: whole in each of them, or cut up between them; and its state in one piece."""

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
    """The task over all processes of a run, with its optimizer and its average.

    Args:
        kind: "ddp" gives each process the whole model, "fsdp" a part of it.

    Attributes:
        forward: what a training step calls.
    """

    def __init__(self, task: Task, optimizer: Optimizer, average: WeightAverage | None, *, world: World, kind: str):
        self.world = world
        self.forward: nn.Module = task
        self._whole: Task | None = None  # of a model in shards, what is evaluated
        if world.size > 1 and kind == "fsdp":
            self._whole = copy.deepcopy(task).requires_grad_(False).cpu()
            sharded.shard(task, optimizer, world=world)
            if average is not None:
                sharded.shard(average.task, world=world)
        elif world.size > 1:
            self.forward = DistributedDataParallel(task, gradient_as_bucket_view=True)

    def sync_gradients(self, now: bool) -> contextlib.AbstractContextManager[Any]:
        """While entered, gradients are exchanged or, before the last micro-batch, not."""
        if self._whole is not None:
            cast(Any, self.forward).set_requires_gradient_sync(now)
        if now or not isinstance(self.forward, DistributedDataParallel):
            return contextlib.nullcontext()
        return self.forward.no_sync()

    @contextlib.contextmanager
    def whole(self, task: Task) -> Iterator[Task]:
        """`task` on one device; a copy where it is in shards, since processes need not evaluate as many batches."""
        if self._whole is None:
            yield task
            return
        self._whole.load_state_dict(sharded.whole_state(task, world=self.world, everywhere=True))
        try:
            yield self._whole.to(self.world.device)
        finally:
            self._whole.cpu()

    def state_of(self, module: nn.Module) -> dict[str, Tensor]:
        """The state dict of `module`, whole."""
        return module.state_dict() if self._whole is None else sharded.whole_state(module, world=self.world)

    def optimizer_state(self, optimizer: Optimizer) -> Mapping[str, Any]:
        """The state dict of `optimizer`, whole."""
        return optimizer.state_dict() if self._whole is None else sharded.whole_optimizer(optimizer, world=self.world)
