"""Dropout in the form that some published weights were trained with."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["DropoutScaling", "InferenceScaledDropout", "scaled_dropout"]

DropoutScaling = Literal["training", "inference"]


def scaled_dropout(p: float, scaling: DropoutScaling) -> nn.Module:
    """Returns dropout that compensates for dropped values in training, as is usual, or at inference."""
    return nn.Dropout(p) if scaling == "training" else InferenceScaledDropout(p)


class InferenceScaledDropout(nn.Module):
    """Dropout that keeps the other values unscaled in training and multiplies all by 1 - p at inference.

    `nn.Dropout` divides by 1 - p in training instead. The two agree in expectation but not in
    scale: weights trained with one give different scores with the other.
    """

    def __init__(self, p: float = 0.5):
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        if self.training and 0 < self.p < 1:
            return F.dropout(x, self.p) * (1 - self.p)
        return x if self.training else x * (1 - self.p)

    def extra_repr(self) -> str:
        return f"p={self.p}"
