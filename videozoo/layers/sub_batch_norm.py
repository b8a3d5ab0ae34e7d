"""Batch norm over parts of a batch, so that a larger batch is normalised as a smaller one would be."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from videozoo.errors import ConfigError

__all__ = ["SubBatchNorm"]


class SubBatchNorm(nn.Module):
    """Each of `num_splits` parts of a batch is normalised with its own statistics; evaluation has those of all.

    Paper: Wu et al., arXiv:1912.00998: statistics over as many samples, however large multigrid
    makes the batch. Sample i belongs to part i modulo `num_splits`.

    Input, output: [b, num_features, ...]; in training b is a multiple of `num_splits`.
    """

    running_mean: Tensor
    running_var: Tensor
    split_mean: Tensor
    split_var: Tensor

    def __init__(self, num_features: int, *, num_splits: int, eps: float = 1e-5, momentum: float = 0.1):
        super().__init__()
        if num_splits < 1:
            raise ConfigError(f"sub batch norm: num_splits is {num_splits}; it takes a whole number from 1 up")
        self.num_splits, self.eps, self.momentum = num_splits, eps, momentum
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))
        self.register_buffer("split_mean", torch.zeros(num_splits * num_features))
        self.register_buffer("split_var", torch.ones(num_splits * num_features))

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        b, c, *rest = x.shape
        n = self.num_splits
        if b % n:
            raise ConfigError(f"sub batch norm: {b} samples cannot be parted into {n}; give a multiple")
        parts = F.batch_norm(
            x.reshape(b // n, n * c, *rest),
            self.split_mean,
            self.split_var,
            training=True,
            momentum=self.momentum,
            eps=self.eps,
        )
        shape = (1, c, *(1 for _ in rest))
        return parts.reshape(x.shape) * self.weight.view(shape) + self.bias.view(shape)

    @torch.no_grad()
    def aggregate(self) -> None:
        """Puts the statistics of the parts together, for evaluation."""
        means, variances = (stat.view(self.num_splits, -1) for stat in (self.split_mean, self.split_var))
        self.running_mean.copy_(means.mean(0))
        self.running_var.copy_(variances.mean(0) + means.var(0, correction=0))
