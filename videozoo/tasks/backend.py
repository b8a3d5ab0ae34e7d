"""The backend that runs a task's network in torch."""

from __future__ import annotations

import copy
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from videozoo.contracts.backend import Outputs, State
from videozoo.contracts.input import Batch, Form, InputSpec
from videozoo.models.folding import folded
from videozoo.tasks.precision import Precision, autocast, check_precision
from videozoo.tasks.task import Task, to_arrays
from videozoo.transforms import tensors

__all__ = ["TorchBackend", "for_inference"]


class TorchBackend:
    """Runs a task on a device, in evaluation mode, one thread at a time; see `contracts.backend.StreamBackend`.

    Args:
        precision: "bf16" and "fp16" compute in mixed precision.
    """

    form: Form = "tensors"

    def __init__(self, task: Task, spec: InputSpec, *, device: torch.device, precision: Precision = "fp32"):
        check_precision(precision)
        self.task = for_inference(task.to(device))
        self.spec = spec
        self.device = device
        self.precision = precision
        self._lock = threading.Lock()

    def collate(self, samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        return tensors.collate(samples)

    def outputs(self, batch: Batch, *, graph: str = "main") -> Outputs:
        with self._lock, torch.inference_mode(), autocast(self.device, self.precision):
            return to_arrays(self.task.graph(graph, self.spec.to_device(batch, self.device)))

    def start(self, num_streams: int = 1) -> State | None:
        with self._lock, torch.inference_mode():
            return self.task.stream_state(num_streams)

    def step(self, batch: Batch, state: State) -> tuple[Outputs, State]:
        with self._lock, torch.inference_mode(), autocast(self.device, self.precision):
            outputs, after = self.task.stream_step(self.spec.to_device(batch, self.device), state)
            return to_arrays(outputs), after


def for_inference(task: Task) -> Task:
    """Returns the task in evaluation mode with its model `folded`; `task` keeps its own weights."""
    model = folded(task.model)
    if model is task.model:
        return task.eval()
    shared = {id(tensor): tensor for tensor in (*task.parameters(), *task.buffers())}
    return copy.deepcopy(task, {**shared, id(task.model): model}).eval()
