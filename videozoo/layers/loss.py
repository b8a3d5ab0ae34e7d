"""Losses of classification."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from videozoo.shapes import Float, Int, Num

__all__ = [
    "asymmetric_loss",
    "balanced_weights",
    "binary_cross_entropy",
    "binary_distillation",
    "binary_focal_loss",
    "binary_symmetric_divergence",
    "distillation",
    "focal_loss",
    "mixed_targets",
    "smooth_targets",
    "soft_cross_entropy",
    "symmetric_divergence",
]

# ---- one label a sample: targets are distributions [b k] -------------------------------------------------


def soft_cross_entropy(
    scores: Float[Tensor, "b k"], targets: Float[Tensor, "b k"], *, weights: Num[Tensor, " k"] | None = None
) -> Float[Tensor, ""]:
    """Returns the mean cross-entropy of scores `[b k]` against distributions `[b k]`, in float32 or wider.

    Args:
        weights: loss weight per class `[k]`. The mean is over samples, not over weights as in torch, so that the losses
            of two halves of a batch average to that of the batch.
    """
    return -(_weighted(targets, weights) * F.log_softmax(_wide(scores), dim=-1)).sum(-1).mean()


def focal_loss(
    scores: Float[Tensor, "b k"],
    targets: Float[Tensor, "b k"],
    *,
    gamma: float = 2.0,
    weights: Num[Tensor, " k"] | None = None,
) -> Float[Tensor, ""]:
    """Returns cross-entropy that down-weights well-classified samples: -(1 - p)^gamma log p.

    Paper: Focal Loss, arXiv:1708.02002, equation 4, with a soft-max; `weights` replace its alpha.
    """
    log_p = F.log_softmax(_wide(scores), dim=-1)
    return -(_weighted(targets, weights) * (1 - log_p.exp()) ** gamma * log_p).sum(-1).mean()


# ---- any number of labels: targets are 0..1 for each class [b k] -----------------------------------------


def binary_cross_entropy(
    scores: Float[Tensor, "b k"], targets: Float[Tensor, "b k"], *, weights: Num[Tensor, " k"] | None = None
) -> Float[Tensor, ""]:
    """Returns the binary cross-entropy, mean over samples and classes.

    Args:
        weights: weight of positive targets per class `[k]`.
    """
    return F.binary_cross_entropy_with_logits(_wide(scores), targets, pos_weight=weights)


def binary_focal_loss(
    scores: Float[Tensor, "b k"],
    targets: Float[Tensor, "b k"],
    *,
    gamma: float = 2.0,
    weights: Num[Tensor, " k"] | None = None,
) -> Float[Tensor, ""]:
    """Returns the `focal_loss` of independent classes: arXiv:1708.02002, equation 4, for positives and negatives."""
    return asymmetric_loss(scores, targets, gammas=(gamma, gamma), margin=0.0, weights=weights)


def asymmetric_loss(
    scores: Float[Tensor, "b k"],
    targets: Float[Tensor, "b k"],
    *,
    gammas: tuple[float, float] = (0.0, 4.0),
    margin: float = 0.05,
    weights: Num[Tensor, " k"] | None = None,
) -> Tensor:
    """Returns binary cross-entropy that down-weights absent classes that are easy to reject.

    Paper: Asymmetric Loss, arXiv:2009.14119, equations 4-7. Differs: the mean over classes, not their sum.

    Args:
        gammas: focusing of (positives, negatives).
        margin: probability below which an absent class has no loss.
        weights: weight of positive targets per class `[k]`.
    """
    scores = _wide(scores)
    p = scores.sigmoid()
    present = (1 - p) ** gammas[0] * F.logsigmoid(scores)
    if margin:
        shifted = (p - margin).clamp(min=0)
        absent = shifted ** gammas[1] * torch.log1p(-shifted)
    else:
        absent = p ** gammas[1] * F.logsigmoid(-scores)
    return -(_weighted(targets, weights) * present + (1 - targets) * absent).mean()


def balanced_weights(counts: Sequence[int]) -> list[float]:
    """Returns a weight per class so that all classes have the same total weight over `counts` samples.

    The weights average to 1 over the samples, so that the learning rate needs no change. A class without samples
    weighs 1.
    """
    present = sum(count > 0 for count in counts)
    return [sum(counts) / (present * count) if count else 1.0 for count in counts]


# ---- targets ---------------------------------------------------------------------------------------------


def smooth_targets(labels: Int[Tensor, " b"], num_classes: int, smoothing: float = 0.0) -> Float[Tensor, "b k"]:
    """Returns distributions `[b k]` for indices `[b]`: 1 - smoothing on the class, the rest spread over all k."""
    one_hot = F.one_hot(labels, num_classes).to(torch.get_default_dtype())
    return one_hot * (1 - smoothing) + smoothing / num_classes


def mixed_targets(targets: Tensor, others: Tensor, share: float | Tensor) -> Tensor:
    """Returns the target of a mixture of two samples: `share` of the first distribution, the rest of the second.

    Cross-entropy is linear in its target, so this equals the mix of the two losses. `share` is a number, or
    one per sample `[b]`.
    """
    if isinstance(share, Tensor) and share.ndim == 1:
        share = share[:, None]
    return targets * share + others * (1 - share)


# ---- networks that learn from each other -----------------------------------------------------------------


def distillation(
    scores: Float[Tensor, "b k"], teacher: Float[Tensor, "b k"], *, temperature: float = 1.0
) -> Float[Tensor, ""]:
    """Returns T^2 KL(teacher || student) of the distributions of scores `[b k]` at temperature T, mean over samples.

    Paper: Distilling the Knowledge in a Neural Network, arXiv:1503.02531, section 2. T^2 keeps the gradient's scale
    independent of T.
    """
    log_p, log_q = (F.log_softmax(_wide(x) / temperature, dim=-1) for x in (teacher, scores))
    return temperature**2 * (log_p.exp() * (log_p - log_q)).sum(-1).mean()


def binary_distillation(
    scores: Float[Tensor, "b k"], teacher: Float[Tensor, "b k"], *, temperature: float = 1.0
) -> Float[Tensor, ""]:
    """Returns the `distillation` loss of independent classes, mean over samples and classes."""
    scores, teacher = _wide(scores) / temperature, _wide(teacher) / temperature
    return temperature**2 * _binary_divergence(teacher, scores)


def binary_symmetric_divergence(scores: Float[Tensor, "b k"], others: Float[Tensor, "b k"]) -> Float[Tensor, ""]:
    """Returns the `symmetric_divergence` of independent classes, mean over samples and classes."""
    scores, others = _wide(scores), _wide(others)
    return (_binary_divergence(scores, others) + _binary_divergence(others, scores)) / 2


def symmetric_divergence(scores: Float[Tensor, "b k"], others: Float[Tensor, "b k"]) -> Float[Tensor, ""]:
    """Returns the mean of both Kullback-Leibler divergences between two networks' scores `[b k]`."""
    p, q = F.log_softmax(scores, dim=-1), F.log_softmax(others, dim=-1)
    return ((p.exp() - q.exp()) * (p - q)).sum(-1).mean() / 2


def _binary_divergence(scores: Tensor, others: Tensor) -> Tensor:
    p = scores.sigmoid()
    present = p * (F.logsigmoid(scores) - F.logsigmoid(others))
    absent = (1 - p) * (F.logsigmoid(-scores) - F.logsigmoid(-others))
    return (present + absent).mean()


def _weighted(targets: Tensor, weights: Tensor | None) -> Tensor:
    return targets if weights is None else targets * weights


def _wide(scores: Tensor) -> Tensor:
    return scores.float() if scores.dtype in (torch.float16, torch.bfloat16) else scores
