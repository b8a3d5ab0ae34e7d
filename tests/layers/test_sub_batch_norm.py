"""Batch norm over parts of a batch, beside torch's own on each part."""

import copy

import pytest
import torch
from torch import nn

from videozoo.errors import ConfigError
from videozoo.layers.sub_batch_norm import aggregate, set_norm_splits, split_batch_norm


def make_norms(kind=nn.BatchNorm3d, num=4):
    """The same norm `num` times."""
    norm = kind(4)
    norm.weight.data = torch.tensor([0.5, 1.0, 1.5, 2.0])
    norm.bias.data = torch.tensor([0.0, 1.0, -1.0, 3.0])
    norm.running_mean.copy_(torch.tensor([0.1, 0.2, 0.3, 0.4]))
    return [copy.deepcopy(norm) for _ in range(num)]


def test_each_part_as_a_batch_of_its_own():
    torch.manual_seed(0)
    x = torch.randn(6, 4, 2, 3, 3)
    ours, *parts = make_norms()
    set_norm_splits(ours, 3)
    y = ours(x)
    for i, part in enumerate(parts):
        torch.testing.assert_close(y[i::3], part(x[i::3]))
    means, variances = (torch.stack([getattr(p, s) for p in parts]) for s in ("running_mean", "running_var"))
    mean, var = aggregate(means, variances)
    torch.testing.assert_close(ours.running_mean, mean)
    torch.testing.assert_close(ours.running_var, var)
    assert ours.num_batches_tracked == 1


def test_gradients_are_those_of_the_parts():
    torch.manual_seed(0)
    x = torch.randn(6, 4, 5)
    ours, *parts = make_norms(nn.BatchNorm1d, 3)
    set_norm_splits(ours, 2)
    weights = torch.randn(6, 4, 5)
    one, other = x.clone().requires_grad_(), x.clone().requires_grad_()
    (ours(one) * weights).sum().backward()
    sum((part(other[i::2]) * weights[i::2]).sum() for i, part in enumerate(parts)).backward()
    torch.testing.assert_close(one.grad, other.grad)
    torch.testing.assert_close(ours.weight.grad, sum(part.weight.grad for part in parts))


def test_running_statistics_of_all_parts_are_those_of_the_batch():
    """Parts of the same size: the mean of variances and the variance of means are the variance of all."""
    torch.manual_seed(0)
    x = torch.randn(8, 2, 16) + torch.arange(8).view(8, 1, 1)
    means, variances = torch.zeros(2, 2), torch.ones(2, 2)
    split_batch_norm(x, means, variances, momentum=1.0)
    mean, var = aggregate(means, variances * 63 / 64)  # 4 samples of 16 values: the plain variance
    torch.testing.assert_close(mean, x.mean((0, 2)))
    torch.testing.assert_close(var, x.var((0, 2), correction=0))


def test_it_is_the_plain_norm_to_everyone_else():
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.GroupNorm(2, 4))
    plain, names = copy.deepcopy(net), list(net.state_dict())
    norm, params = net[1], list(net.parameters())
    set_norm_splits(net, 1)
    assert type(norm) is nn.BatchNorm2d
    set_norm_splits(net, 4)
    assert net[1] is norm and isinstance(norm, nn.BatchNorm2d) and norm.num_splits == 4
    assert list(net.state_dict()) == names and all(a is b for a, b in zip(net.parameters(), params, strict=True))
    x = torch.randn(8, 3, 5, 5)
    torch.testing.assert_close(net.eval()(x), plain.eval()(x), rtol=0, atol=0)
    set_norm_splits(net.train(), 1)
    torch.testing.assert_close(net(x), plain.train()(x), rtol=0, atol=0)
    assert copy.deepcopy(net)[1].num_splits == 1 and type(plain[1]) is nn.BatchNorm2d


def test_plain_average_of_all_batches():
    torch.manual_seed(0)
    norm = nn.BatchNorm1d(2, momentum=None)
    set_norm_splits(norm, 2)
    batches = torch.randn(3, 4, 2, 6)
    for x in batches:
        norm(x)
    torch.testing.assert_close(norm.running_mean, batches.mean((0, 1, 3)))


def test_mistakes():
    norm = nn.BatchNorm1d(2)
    with pytest.raises(ConfigError, match=r"num_splits is 0; needs a whole number from 1 up"):
        set_norm_splits(norm, 0)
    set_norm_splits(norm, 2)
    with pytest.raises(ConfigError, match=r"3 samples cannot be split into 2 parts; give a multiple"):
        norm(torch.zeros(3, 2, 4))
