"""Clip classification: one label a clip, or any number of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from videozoo.layers.loss import mixed_targets, smooth_targets, soft_cross_entropy
from videozoo.layers.mix import Mix
from videozoo.metrics.classification import Classification
from videozoo.metrics.metric import Metric
from videozoo.models.model import VideoModel
from videozoo.tasks.registry import register_task
from videozoo.tasks.task import Batch, Task
from videozoo.types import Labels

__all__ = ["Classify"]


@register_task
class Classify(Task):
    """Names what happens in a clip.

    Batches hold `video` `[b t c h w]` and `label`, int64 `[b]` or float `[b k]`. In evaluation `video` is
    `[b v t c h w]`: the v views of a sample are answered together and averaged.

    Args:
        label_smoothing: share of the target spread evenly over all classes.
        mixup_alpha: Beta(alpha, alpha) of mixup (arXiv:1710.09412); 0 turns it off.
        cutmix_alpha: the same for cutmix (arXiv:1905.04899); with both on, each batch draws one of them.
        mix_prob: share of the batches that are mixed at all.
        multi_label: a clip may have any number of classes: independent probabilities instead of a soft-max. Runs on
            multi-label data turn it on by themselves.
        average: views are averaged as probabilities ("prob") or before the soft-max ("score").
    """

    def __init__(
        self,
        model: VideoModel,
        class_names: Sequence[str],
        *,
        label_smoothing: float = 0.0,
        mixup_alpha: float = 0.0,
        cutmix_alpha: float = 0.0,
        mix_prob: float = 1.0,
        multi_label: bool = False,
        average: Literal["prob", "score"] = "score",
    ):
        super().__init__(model, class_names)
        self.label_smoothing = label_smoothing
        self.multi_label = multi_label
        self.monitor = "map" if multi_label else "top1"
        self.average = average
        self.mix = (
            Mix(mixup_alpha=mixup_alpha, cutmix_alpha=cutmix_alpha, prob=mix_prob)
            if mixup_alpha or cutmix_alpha
            else None
        )

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        video, label = batch["video"], batch["label"]
        target = label if self.multi_label else smooth_targets(label, len(self.class_names), self.label_smoothing)
        if self.mix is not None:
            video, target, other, share = self.mix(video, target)
            target = mixed_targets(target, other, share)
        scores = self.model(video).float()
        if self.multi_label:
            return {"loss": F.binary_cross_entropy_with_logits(scores, target)}
        return {"loss": soft_cross_entropy(scores, target)}

    def predict(self, batch: Batch) -> list[Labels]:
        video = batch["video"]
        b, v = video.shape[:2]
        scores = self.model(video.flatten(0, 1)).float().unflatten(0, (b, v))
        activation = torch.sigmoid if self.multi_label else lambda x: x.softmax(-1)
        probs = activation(scores).mean(1) if self.average == "prob" else activation(scores.mean(1))
        return [Labels(scores=p, names=self.class_names) for p in probs.cpu().numpy()]

    def metrics(self) -> list[Metric]:
        return [Classification(self.class_names)]
