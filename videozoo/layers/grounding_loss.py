"""The losses of TALL: sentences and windows that belong together, and where the moment begins and ends."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from videozoo.shapes import Bool, Float

__all__ = ["alignment_loss", "offset_loss"]


def alignment_loss(scores: Float[Tensor, "b b"], *, ignore: Bool[Tensor, "b b"] | None = None) -> Float[Tensor, ""]:
    """Logistic loss of all pairs `[b b]` (sentences, windows), of which those on the diagonal belong together.

    Paper: TALL, arXiv:1705.02101, eq. 3, as its code has it: the mean over b^2 pairs, where each of the diagonal weighs
    1 + 1/b and each other one 1/b.

    Args:
        ignore: `[b b]`, True for pairs off the diagonal that belong together all the same; they count nothing.
    """
    num = len(scores)
    own = torch.eye(num, dtype=torch.bool, device=scores.device)
    loss = F.softplus(torch.where(own, -scores, scores)) * (own + 1 / num)
    if ignore is not None:
        loss = loss.masked_fill(ignore & ~own, 0.0)
    return loss.mean()


def offset_loss(offsets: Float[Tensor, "b 2"], truth: Float[Tensor, "b 2"]) -> Float[Tensor, ""]:
    """Mean absolute difference of offsets `[b 2]` of start and end (eq. 4)."""
    return (offsets - truth).abs().mean()
