"""Evaluation of a task during training."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from PIL import Image

from videozoo.engine.distributed import World
from videozoo.engine.evaluate import Evaluation, evaluate
from videozoo.engine.loader import EvalLoader
from videozoo.metrics.parts import Matrix
from videozoo.report.page import draw_matrix
from videozoo.tasks.task import Task

__all__ = ["Evaluator", "ValidationEvaluator"]


class Evaluator(Protocol):
    """Scores a task by name for the trainer; every process calls it."""

    def __call__(self, task: Task) -> Mapping[str, float]: ...

    def pictures(self) -> Mapping[str, Callable[[], Image.Image]]:
        """Returns drawing functions by name, applied to the latest evaluation."""


class ValidationEvaluator:
    """Scores a task on the validation data."""

    def __init__(self, loader: EvalLoader, input_spec: Any, *, world: World, precision: str):
        self.loader, self.input_spec = loader, input_spec
        self.world, self.precision = world, precision
        self._last: Evaluation | None = None

    def __call__(self, task: Task) -> Mapping[str, float]:
        self._last = found = evaluate(
            task,
            self.loader,
            self.input_spec,
            device=self.world.device,
            precision=self.precision,
            num_total=len(self.loader.records),
        )
        return {**found.scores, "num_scored": found.num_scored}

    def pictures(self) -> Mapping[str, Callable[[], Image.Image]]:
        """Returns functions that draw the confusion matrices of the latest evaluation."""
        matrices = [part for part in self._last.parts() if isinstance(part, Matrix)] if self._last is not None else []
        return {matrix.name: functools.partial(draw_matrix, matrix) for matrix in matrices}
