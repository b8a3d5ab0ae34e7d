"""Batch norm over parts of a batch, beside torch's own on each part."""

import pytest
import torch
from torch import nn

from videozoo.errors import ConfigError
from videozoo.layers.sub_batch_norm import SubBatchNorm


def test_each_part_as_a_batch_of_its_own():
    torch.manual_seed(0)
    x = torch.randn(6, 4, 2, 3, 3)
    ours = SubBatchNorm(4, num_splits=3)
    parts = [nn.BatchNorm3d(4) for _ in range(3)]
    for net in (ours, *parts):
        net.weight.data = torch.tensor([0.5, 1.0, 1.5, 2.0])
        net.bias.data = torch.tensor([0.0, 1.0, -1.0, 3.0])
    y = ours(x)
    for i, part in enumerate(parts):
        torch.testing.assert_close(y[i::3], part(x[i::3]))
        torch.testing.assert_close(ours.split_mean.view(3, 4)[i], part.running_mean)
        torch.testing.assert_close(ours.split_var.view(3, 4)[i], part.running_var)


def test_evaluation_sees_the_spread_of_all_parts():
    """Parts of the same size: the mean of variances and the variance of means are the variance of all."""
    torch.manual_seed(0)
    x = torch.randn(8, 2, 16) + torch.arange(8).view(8, 1, 1)
    net = SubBatchNorm(2, num_splits=2, momentum=1.0)
    net(x)
    net.split_var.mul_(63 / 64)  # 4 samples of 16 values: the plain variance
    net.aggregate()
    torch.testing.assert_close(net.running_mean, x.mean((0, 2)))
    torch.testing.assert_close(net.running_var, x.var((0, 2), correction=0))
    y = net.eval()(x)
    torch.testing.assert_close(y.mean((0, 2)), torch.zeros(2), atol=1e-6, rtol=0)


def test_mistakes():
    with pytest.raises(ConfigError, match=r"num_splits is 0; it takes a whole number from 1 up"):
        SubBatchNorm(2, num_splits=0)
    with pytest.raises(ConfigError, match=r"3 samples cannot be parted into 2; give a multiple"):
        SubBatchNorm(2, num_splits=2)(torch.zeros(3, 2, 4))
