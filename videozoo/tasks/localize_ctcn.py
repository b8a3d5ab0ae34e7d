"""Localization with C-TCN: anchors of all lengths, labelled by the network itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from videozoo.decoding.anchors import anchors, encode
from videozoo.decoding.localize_ctcn import LocalizeCtcnDecoder
from videozoo.layers.multibox_loss import multibox_losses
from videozoo.metrics.localization import Protocol
from videozoo.models.ctcn import CTCN, CTCNOutput
from videozoo.models.model import VideoModel
from videozoo.tasks.localize import Localize
from videozoo.tasks.registry import register_task
from videozoo.tasks.task import Batch

__all__ = ["LocalizeCtcn"]


@register_task
class LocalizeCtcn(Localize[CTCNOutput]):
    """Segments with their classes from anchors, suppressed class by class (arXiv:1808.03766, section 4).

    Args:
        min_score, max_iou, sigma, min_decayed, max_segments: see `decoding.localize_ctcn.LocalizeCtcnDecoder`.
        protocol, tolerances_s: evaluation settings, see `metrics.localization`.
    """

    monitor = "map"
    network = CTCN

    def __init__(
        self,
        model: VideoModel,
        class_names: Sequence[str],
        *,
        min_score: float = 0.001,
        max_iou: float = 0.8,
        sigma: float = 0.9,
        min_decayed: float = 0.004,
        max_segments: int = 200,
        protocol: Protocol = "activitynet",
        tolerances_s: tuple[float, ...] = (),
    ):
        super().__init__(model, class_names, protocol=protocol, tolerances_s=tolerances_s)
        self.num_snippets = int(model.input_shape[0])
        self.boxes = anchors(self.num_snippets)
        self.decoder = LocalizeCtcnDecoder(
            self.class_names,
            num_snippets=self.num_snippets,
            min_score=min_score,
            max_iou=max_iou,
            sigma=sigma,
            min_decayed=min_decayed,
            max_segments=max_segments,
        )

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        output = self.answer(batch["features"])
        targets = [
            encode(segments * self.num_snippets, labels + 1, self.boxes) for segments, labels in self.truth(batch)
        ]
        offsets, classes = (torch.from_numpy(np.stack(part)) for part in zip(*targets, strict=True))
        device = output.offsets.device
        return multibox_losses(
            output.offsets.float(),
            output.scores.float(),
            offset_target=offsets.float().to(device),
            class_target=classes.to(device),
        )
