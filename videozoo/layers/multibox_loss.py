"""The loss of anchors: offsets of positive anchors, classes of positive anchors and of the hardest negatives."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from videozoo.shapes import Float, Int

__all__ = ["multibox_losses"]


def multibox_losses(
    offsets: Float[Tensor, "b n 2"],
    scores: Float[Tensor, "b n k"],
    *,
    offset_target: Float[Tensor, "b n 2"],
    class_target: Int[Tensor, "b n"],
    negatives: int = 3,
) -> dict[str, Tensor]:
    """Returns "loss" = "offset" + "class", both normalised by the number of positive anchors.

    The class loss also counts background anchors: in each sample those with the highest loss, `negatives` times as
    many as positive ones.

    Args:
        offsets, offset_target: `[b n 2]`; scores: `[b n 1 + k]` before the soft-max; class_target: `[b n]`.
    """
    positive = class_target > 0
    num_positive = positive.sum().clamp(min=1)
    offset = 2 * F.smooth_l1_loss(offsets[positive], offset_target[positive], reduction="sum") / num_positive
    each = F.cross_entropy(scores.flatten(0, 1), class_target.flatten(), reduction="none").view_as(class_target)
    order = each.detach().masked_fill(positive, 0.0).argsort(dim=1, descending=True, stable=True)
    rank = torch.empty_like(order).scatter_(
        1, order, torch.arange(order.shape[1], device=order.device).expand_as(order)
    )
    counted = positive | (rank < negatives * positive.sum(1, keepdim=True))
    of_class = (each * counted).sum() / num_positive
    return {"loss": offset + of_class, "offset": offset, "class": of_class}
