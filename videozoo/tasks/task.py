"""A task gives a model its meaning: the loss it learns by, the values it predicts, the metrics it is judged by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from videozoo.metrics.metric import Metric
from videozoo.models.model import VideoModel

__all__ = ["Batch", "Task"]

Batch = Mapping[str, Any]


class Task(nn.Module):
    """Model and meaning in one module; the engine knows this interface and nothing of labels, boxes or model names.

    Attributes:
        model: the network.
        class_names: what the outputs are called, in order; travels in the checkpoint.
        monitor: the metric that decides which checkpoint is the best, e.g. "top1"; greater is better.
        input_name: the input spec that recipes of this task use when they name none.
        training_args: arguments that only training needs; a task that is built to predict goes without them.
        learned_args: arguments that say what the weights have learned to answer; they stay as they were in training.
    """

    input_name: str = "clip"
    monitor: str = "top1"
    training_args: tuple[str, ...] = ()
    learned_args: tuple[str, ...] = ()

    def __init__(self, model: VideoModel, class_names: Sequence[str]):
        super().__init__()
        self.model = model
        self.class_names = tuple(class_names)

    @classmethod
    def fill_in(cls, args: Mapping[str, Any], records: Any) -> dict[str, Any]:
        """A recipe's arguments with what only the training data can tell; the answer goes into the record."""
        return dict(args)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Training: "loss" and its scalar parts, by name."""
        raise NotImplementedError(f"{type(self).__name__}.forward")

    def predict(self, batch: Batch) -> list[Any]:
        """One typed value a sample: what evaluation, prediction and serving use."""
        raise NotImplementedError(f"{type(self).__name__}.predict")

    def metrics(self) -> list[Metric]:
        """Fresh metrics for one evaluation; each takes (predictions, batch)."""
        raise NotImplementedError(f"{type(self).__name__}.metrics")
