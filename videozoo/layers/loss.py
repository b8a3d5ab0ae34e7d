"""Losses of classification."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["mixed_targets", "smooth_targets", "soft_cross_entropy", "symmetric_divergence"]


def soft_cross_entropy(scores: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy of scores `[b k]` against distributions `[b k]`; computed in float32 or wider."""
    if scores.dtype in (torch.float16, torch.bfloat16):
        scores = scores.float()
    return -(targets * F.log_softmax(scores, dim=-1)).sum(-1).mean()


def smooth_targets(labels: Tensor, num_classes: int, smoothing: float = 0.0) -> Tensor:
    """Distributions `[b k]` for indices `[b]`: 1 - smoothing on the class, the rest spread over all k."""
    one_hot = F.one_hot(labels, num_classes).to(torch.get_default_dtype())
    return one_hot * (1 - smoothing) + smoothing / num_classes


def mixed_targets(targets: Tensor, others: Tensor, share: float | Tensor) -> Tensor:
    """What a mixture of two samples is labelled: `share` of the first distribution, the rest of the second.

    Cross-entropy is linear in its target, so this equals the mix of the two losses. `share` is a number, or
    one a sample `[b]`.
    """
    if isinstance(share, Tensor) and share.ndim == 1:
        share = share[:, None]
    return targets * share + others * (1 - share)


def symmetric_divergence(scores: Tensor, others: Tensor) -> Tensor:
    """Mean of both Kullback-Leibler divergences between two networks' scores `[b k]`."""
    p, q = F.log_softmax(scores, dim=-1), F.log_softmax(others, dim=-1)
    return ((p.exp() - q.exp()) * (p - q)).sum(-1).mean() / 2
