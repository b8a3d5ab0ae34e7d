"""The losses of TALL: alignment of sentences and windows, and offsets of the moment's start and end."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from videozoo.shapes import Bool, Float

__all__ = ["alignment_loss", "offset_loss"]


def alignment_loss(scores: Float[Tensor, "b b"], *, ignore: Bool[Tensor, "b b"] | None = None) -> Float[Tensor, ""]:
    """Returns the logistic loss over all pairs `[b b]` (sentences, windows); pairs on the diagonal are positive.

    Paper: TALL, arXiv:1705.02101, eq. 3, as in its code: the mean over b^2 pairs, where pairs on the diagonal weigh
    1 + 1/b and others 1/b.

    Args:
        ignore: `[b b]`, True for pairs off the diagonal that also match; they have no weight.
    """
    num = len(scores)
    own = torch.eye(num, dtype=torch.bool, device=scores.device)
    loss = F.softplus(torch.where(own, -scores, scores)) * (own + 1 / num)
    if ignore is not None:
        loss = loss.masked_fill(ignore & ~own, 0.0)
    return loss.mean()


def offset_loss(offsets: Float[Tensor, "b 2"], truth: Float[Tensor, "b 2"]) -> Float[Tensor, ""]:
    """Returns the mean absolute error of the offsets `[b 2]` of start and end (eq. 4)."""
    return (offsets - truth).abs().mean()
