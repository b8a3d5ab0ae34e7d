"""Tasks: a model with its loss, its outputs and their decoder, and its metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from videozoo.contracts.answer import Answer
from videozoo.contracts.backend import Decoder
from videozoo.contracts.dataset import Dataset
from videozoo.contracts.input import Batch, InputSpec
from videozoo.errors import ConfigError
from videozoo.metrics.metric import Metric
from videozoo.models.model import State, VideoModel
from videozoo.tasks.graph import Graph

__all__ = ["Batch", "Task", "to_arrays"]


class Task(nn.Module):
    """A model with its loss, outputs, decoder and metrics; the engine knows this interface and no labels or boxes.

    Attributes:
        recipe_name: the name in recipes, set by the registry.
        needs: the keys of a training batch that `forward` reads.
        reads: groups of further keys, one of which a batch has: the network's inputs, if it has several kinds.
        calls: methods of the network that the task calls besides `forward`.
        scores_classes: whether the network gives one score a class.
        model: the network.
        decoder: turns the outputs of the main graph into answers.
        class_names: the names of the outputs, in order; stored in the checkpoint.
        monitor: the metric that decides which checkpoint is the best, e.g. "top1"; greater is better.
        input_name: the input spec that recipes of this task use when they name none.
        training_args: arguments that only training needs; a task built for prediction is built without them.
        learned_args: arguments that the weights depend on; they keep their values from training.
    """

    recipe_name: ClassVar[str] = "task"
    needs: ClassVar[frozenset[str]] = frozenset()
    reads: ClassVar[tuple[frozenset[str], ...]] = ()
    calls: ClassVar[tuple[str, ...]] = ()
    scores_classes: ClassVar[bool] = False
    input_name: str = "clip"
    monitor: str = "top1"
    decoder: Decoder
    training_args: tuple[str, ...] = ()
    learned_args: tuple[str, ...] = ()

    def __init__(self, model: VideoModel, class_names: Sequence[str]):
        super().__init__()
        if missing := [name for name in self.calls if not hasattr(model, name)]:
            raise ConfigError(
                f"task.name: {self.recipe_name} calls {', '.join(missing)} of the network, which {model.name} lacks; "
                "change the model or the task"
            )
        self.model = model
        self.class_names = tuple(class_names)

    @classmethod
    def fill_in(cls, args: Mapping[str, Any], records: Dataset[Any]) -> dict[str, Any]:
        """Returns a recipe's arguments completed from the training data; the run's record stores them."""
        return dict(args)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Returns "loss" and its scalar parts by name, for training."""
        raise NotImplementedError(f"{type(self).__name__}.forward")

    def outputs(self, batch: Batch) -> dict[str, Tensor]:
        """Returns the outputs of the network for a batch, by name: the main graph, which exports hold."""
        raise NotImplementedError(f"{type(self).__name__}.outputs")

    def graph(self, name: str, batch: Batch) -> dict[str, Tensor]:
        """Returns the outputs of a graph: "main", or another one that the task has.

        Raises:
            KeyError: the task has no such graph.
        """
        if name != "main":
            raise KeyError(f"{self.recipe_name} has no graph '{name}'")
        return self.outputs(batch)

    def graphs(self, spec: InputSpec) -> dict[str, Graph]:
        """Returns the graphs that an export stores, by the names that `Decoder.outputs` runs them by.

        Raises:
            ConfigError: the task cannot be exported.
        """
        raise ConfigError(f"task '{self.recipe_name}': cannot be exported (it has no graphs); run it with torch")

    def stream_state(self, num_streams: int = 1) -> State | None:
        """Returns the state of streams before their first frame; None if the task answers for whole clips only."""
        return None

    def stream_step(self, batch: Batch, state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], State]:
        """Returns the main graph's outputs after one more frame of each stream, and the state after it."""
        raise NotImplementedError(f"{type(self).__name__}.stream_step")

    @torch.no_grad()
    def predict(self, batch: Batch) -> list[Answer]:
        """Returns one answer for each sample."""
        return self.decoder(to_arrays(self.outputs(batch)), batch)

    def metrics(self) -> list[Metric]:
        """Returns fresh metrics for one evaluation; each takes (predictions, batch)."""
        raise NotImplementedError(f"{type(self).__name__}.metrics")


def to_arrays(outputs: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """Returns outputs as arrays in memory, floats in float32."""
    return {
        name: (tensor.float() if tensor.is_floating_point() else tensor).cpu().numpy()
        for name, tensor in outputs.items()
    }
