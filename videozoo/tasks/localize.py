"""Temporal localization: the common part of all localizers in training; `decoding.localize` has that of inference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from videozoo.contracts.input import InputSpec
from videozoo.decoding.localize import SEQUENCES_AT_ONCE
from videozoo.errors import ConfigError
from videozoo.metrics.localization import Localization, Protocol
from videozoo.metrics.metric import Metric
from videozoo.models.model import VideoModel
from videozoo.tasks.graph import Graph
from videozoo.tasks.task import Batch, Task
from videozoo.transforms.snippets import segments_within

__all__ = ["Localize"]

Output = TypeVar("Output", bound=tuple[Any, ...])


class Localize(Task, Generic[Output]):
    """Segments in seconds from sequences of snippets; see the module.

    Batches hold `features` `[n t d]`, the sequences of all videos; for each video its `timeline` and the true `spans`.
    In training, the targets of a sequence are the segments that lie at least half inside it.
    """

    needs = frozenset({"features", "timeline", "spans"})
    input_name = "snippets"
    network: ClassVar[type[VideoModel]]  # the outputs that the task reads

    def __init__(
        self,
        model: VideoModel,
        class_names: Sequence[str],
        *,
        protocol: Protocol = "activitynet",
        tolerances_s: tuple[float, ...] = (),
    ):
        if not isinstance(model, self.network):
            raise ConfigError(
                f"task.name: {self.recipe_name} reads the outputs of {self.network.__name__}, "
                f"not of {model.name}; change the model or the task"
            )
        super().__init__(model, class_names)
        self.protocol: Protocol = protocol
        self.tolerances_s = tolerances_s

    def outputs(self, batch: Batch) -> dict[str, Tensor]:
        """Returns the network's named tuple for the sequences of all videos, `[n ...]` each."""
        features: Tensor = batch["features"]
        parts = [self._named_answer(chunk) for chunk in torch.split(features, SEQUENCES_AT_ONCE)]
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def answer(self, features: Tensor) -> Output:
        """Returns the network's output for sequences `[n t d]`: a named tuple of tensors with n rows each."""
        output: Output = self.model(features)
        return output

    def graphs(self, spec: InputSpec) -> dict[str, Graph]:
        features = torch.zeros(2, *self.model.input_shape)
        return {"main": Graph(self._named_answer, {"features": features}, {"features": {0: "sequences"}})}

    def _named_answer(self, features: Tensor) -> dict[str, Tensor]:
        named: dict[str, Tensor] = self.answer(features)._asdict()  # type: ignore[attr-defined]
        return named

    def metrics(self) -> list[Metric]:
        return [Localization(self.class_names, protocol=self.protocol, tolerances_s=self.tolerances_s)]

    def truth(self, batch: Batch) -> list[tuple[np.ndarray, np.ndarray]]:
        """Returns (segments `[m 2]` in shares, class indices `[m]`) of each sequence of a batch."""
        index = {name: i for i, name in enumerate(self.class_names)}
        found = []
        for timeline, spans in zip(batch["timeline"], batch["spans"], strict=True):
            for extent in timeline.extents:
                segments, labels = segments_within(spans, extent)
                found.append((segments, np.array([index[label] for label in labels], np.int64)))
        return found
