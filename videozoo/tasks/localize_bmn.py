"""Localization with BMN: boundaries, and the confidences of all segments in one pass."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from videozoo.decoding.localize_bmn import LocalizeBmnDecoder
from videozoo.decoding.proposals import boundary_targets, overlap_target
from videozoo.layers.proposal_loss import bmn_losses
from videozoo.models.bmn import BMN, BMNOutput
from videozoo.tasks.propose import Propose
from videozoo.tasks.registry import register_task
from videozoo.tasks.task import Batch

__all__ = ["LocalizeBmn"]

BOUNDARY_SNIPPETS = 3.0  # width of the windows around a start or an end in the targets


@register_task
class LocalizeBmn(Propose[BMNOutput]):
    """Proposals whose score is start x end x regressed overlap x probability of a high overlap (arXiv:1907.09702, 4).

    Differs: training targets come from each sequence itself, so that windows of a video are trained like whole videos.
    """

    network = BMN
    decoder_class = LocalizeBmnDecoder

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        output = self.answer(batch["features"])
        (d, t), device = output.iou.shape[-2:], output.iou.device
        overlap, starts, ends = [], [], []
        for segments, _ in self.truth(batch):
            overlap.append(overlap_target(segments, num_snippets=t, max_duration=d))
            start, end = boundary_targets(segments, num_snippets=t, width=BOUNDARY_SNIPPETS / t)
            starts.append(start)
            ends.append(end)
        targets = [torch.from_numpy(np.stack(part)).to(device) for part in (overlap, starts, ends)]
        return bmn_losses(
            *(part.float() for part in output), overlap=targets[0], start_target=targets[1], end_target=targets[2]
        )
