"""Batch norm over parts of a batch, so that a larger batch is normalised like a smaller one."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from videozoo.errors import ConfigError
from videozoo.shapes import Float

__all__ = ["aggregate", "set_norm_splits", "split_batch_norm"]


def split_batch_norm(
    x: Float[Tensor, "b c ..."],
    split_mean: Float[Tensor, "n c"],
    split_var: Float[Tensor, "n c"],
    *,
    weight: Float[Tensor, " c"] | None = None,
    bias: Float[Tensor, " c"] | None = None,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalises each of n parts of the batch `[b c ...]` with its own statistics; sample i is in part i modulo n.

    Paper: Wu et al., arXiv:1912.00998: the number of samples per statistic is constant while multigrid changes the
    size of the batch.

    Args:
        split_mean, split_var: running statistics `[n c]` of the parts; updated in place.

    Raises:
        ConfigError: b is not a multiple of n.
    """
    (b, c, *rest), n = x.shape, len(split_mean)
    if b % n:
        raise ConfigError(f"split batch norm: {b} samples cannot be split into {n} parts; give a multiple")
    parts = F.batch_norm(
        x.reshape(b // n, n * c, *rest),
        split_mean.view(-1),
        split_var.view(-1),
        training=True,
        momentum=momentum,
        eps=eps,
    )
    y, shape = parts.reshape(x.shape), (1, c, *(1 for _ in rest))
    if weight is not None:
        y = y * weight.view(shape)
    return y if bias is None else y + bias.view(shape)


def aggregate(
    split_mean: Float[Tensor, "n c"], split_var: Float[Tensor, "n c"]
) -> tuple[Float[Tensor, " c"], Float[Tensor, " c"]]:
    """Returns (mean, variance) `[c]` over all parts, from those of each part `[n c]`."""
    return split_mean.mean(0), split_var.mean(0) + split_mean.var(0, correction=0)


def set_norm_splits(module: nn.Module, num_splits: int) -> None:
    """Makes the batch norms of `module` normalise `num_splits` parts of a batch separately in training; 1 undoes it.

    Parameters, statistics and their names stay the same, so that evaluation and checkpoints do not change. The running
    statistics are those over all parts.
    """
    if num_splits < 1:
        raise ConfigError(f"split batch norm: num_splits is {num_splits}; needs a whole number from 1 up")
    for norm in module.modules():
        if num_splits > 1 and type(norm) in _SPLIT:
            norm.__class__ = _SPLIT[type(norm)]  # in place: references to the module stay valid
        if isinstance(norm, _SplitNorm):
            norm.num_splits = num_splits


class _SplitNorm(_BatchNorm):
    num_splits: int = 1

    def forward(self, x: Tensor) -> Tensor:
        mean, var = self.running_mean, self.running_var
        if self.num_splits == 1 or not self.training or mean is None or var is None:
            return super().forward(x)
        momentum = self.momentum
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            momentum = 1 / float(self.num_batches_tracked) if momentum is None else momentum
        means, variances = (stat.repeat(self.num_splits, 1) for stat in (mean, var))
        y = split_batch_norm(
            x,
            means,
            variances,
            weight=self.weight,
            bias=self.bias,
            momentum=0.0 if momentum is None else momentum,
            eps=self.eps,
        )
        with torch.no_grad():
            for stat, found in zip((mean, var), aggregate(means, variances), strict=True):
                stat.copy_(found)
        return y


class _SplitNorm1d(_SplitNorm, nn.BatchNorm1d):
    pass


class _SplitNorm2d(_SplitNorm, nn.BatchNorm2d):
    pass


class _SplitNorm3d(_SplitNorm, nn.BatchNorm3d):
    pass


_SPLIT: dict[type[nn.Module], type[_SplitNorm]] = {
    nn.BatchNorm1d: _SplitNorm1d,
    nn.BatchNorm2d: _SplitNorm2d,
    nn.BatchNorm3d: _SplitNorm3d,
}
