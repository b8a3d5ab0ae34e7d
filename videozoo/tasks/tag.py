"""Tagging: any number of labels for a video with stored features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from videozoo.contracts.input import InputSpec
from videozoo.decoding.tag import TagDecoder
from videozoo.errors import DataError
from videozoo.metrics.metric import Metric
from videozoo.metrics.youtube8m import YouTube8M
from videozoo.models.model import VideoModel
from videozoo.tasks.graph import Graph, graph_of_rows
from videozoo.tasks.registry import register_task
from videozoo.tasks.task import Batch, Task

__all__ = ["Tag"]


@register_task
class Tag(Task):
    """Labels the topics of a video from features of its frames.

    Batches hold `features` `[b t d]`, `mask` `[b t]` and `label`, float `[b k]` or int64 `[b]`.

    Args:
        reduction: over the batch; over classes, the cross-entropies are always summed. "mean" makes the learning rate
            independent of the batch size; AttentionLSTM's published rate is for "sum".
        top_k: number of best classes of each video that count in GAP and mAP.
    """

    needs = frozenset({"features", "mask", "label"})
    scores_classes = True
    input_name = "features"
    monitor = "gap"
    training_args = ("reduction",)

    def __init__(
        self,
        model: VideoModel,
        class_names: Sequence[str],
        *,
        reduction: Literal["mean", "sum"] = "mean",
        top_k: int = 20,
    ):
        super().__init__(model, class_names)
        self.reduction = reduction
        self.top_k = top_k
        self.decoder = TagDecoder(self.class_names)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        if "label" not in batch:
            raise DataError("tag: the training data has no labels; take a partition that has some (train, validate)")
        scores = self.model(batch["features"], batch["mask"]).float()
        label = batch["label"]
        target = label if label.ndim == 2 else F.one_hot(label, scores.shape[1]).float()  # data with one label each
        loss = F.binary_cross_entropy_with_logits(scores, target, reduction="sum")
        return {"loss": loss / len(scores) if self.reduction == "mean" else loss}

    def outputs(self, batch: Batch) -> dict[str, Tensor]:
        return self._scores(batch["features"], batch["mask"])

    def graphs(self, spec: InputSpec) -> dict[str, Graph]:
        return {"main": graph_of_rows(self._scores, self.model)}

    def _scores(self, features: Tensor, mask: Tensor) -> dict[str, Tensor]:
        return {"scores": self.model(features, mask)}

    def metrics(self) -> list[Metric]:
        return [YouTube8M(self.class_names, top_k=self.top_k)]
