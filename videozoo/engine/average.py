"""A moving average of a model's weights."""

from __future__ import annotations

import copy

import torch

from videozoo.engine.sharded import local_tensor
from videozoo.tasks.task import Task

__all__ = ["WeightAverage"]


class WeightAverage:
    """A copy of a task whose weights and batch statistics follow the original's: a = d a + (1 - d) w.

    d is the smaller of `decay` and (1 + step) / (10 + step); the first weights are thus soon forgotten.
    """

    def __init__(self, task: Task, *, decay: float):
        self.task = copy.deepcopy(task).requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, task: Task, *, step: int) -> None:
        """Updates the average with the weights after `step` optimizer steps."""
        decay = min(self.decay, (1 + step) / (10 + step))
        averages, values = [], []
        for average, value in zip(_tensors(self.task), _tensors(task), strict=True):
            if average.is_floating_point():
                averages.append(average)
                values.append(value.to(average.dtype))
            else:
                average.copy_(value)
        torch._foreach_lerp_(averages, values, 1 - decay)


def _tensors(task: Task) -> list[torch.Tensor]:
    return [*map(local_tensor, task.model.parameters()), *task.model.buffers()]
