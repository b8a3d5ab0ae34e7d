"""Boundary matching against the dense mask written with loops from the paper's equation."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from videozoo.errors import ConfigError
from videozoo.layers.boundary_matching import BoundaryMatching

T, D, N, SUB = 12, 7, 5, 3


def dense_mask(*, clamp):
    """`[t, N, d, t]`, one cell, point and position at a time."""
    mask = torch.zeros(T, N, D, T, dtype=torch.float64)
    for i in range(D):
        for s in range(T - i):
            reach = 0.5 * (i + 1)
            low, high = s - reach, s + i + reach
            for k in range(N * SUB):
                at = low + (high - low) * k / (N * SUB - 1)
                if clamp and -1 < at < 0:
                    at = 0.0
                below = math.floor(at)
                for column, weight in ((below, 1 - (at - below)), (below + 1, at - below)):
                    if 0 <= column < T:
                        mask[column, k // SUB, i, s] += weight / SUB
    return mask


def layer(**args):
    torch.manual_seed(0)
    made = BoundaryMatching(4, 6, num_snippets=T, max_duration=D, num_samples=N, num_subsamples=SUB, **args)
    torch.nn.init.normal_(made.bias)
    return made


def dense(x, made, *, clamp=False):
    samples = torch.einsum("bct,tnds->bcnds", x, dense_mask(clamp=clamp).to(x.dtype))
    return F.conv3d(samples, made.weight[..., None, None], made.bias).squeeze(2)


@pytest.mark.parametrize("clamp", [False, True])
def test_equals_the_dense_mask(clamp):
    made, x = layer(clamp_before_start=clamp), torch.randn(3, 4, T)
    assert_close(made(x), dense(x, made, clamp=clamp), atol=1e-5, rtol=1e-5)


def test_gradients_equal_those_of_the_dense_mask():
    made, x = layer().double(), torch.randn(2, 4, T, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(2, 6, D, T, dtype=torch.float64)
    ours = torch.autograd.grad((made(x) * weights).sum(), [x, *made.parameters()])
    theirs = torch.autograd.grad((dense(x, made) * weights).sum(), [x, *made.parameters()])
    assert_close(ours, theirs, atol=1e-5, rtol=1e-5)  # the sampling weights are kept in float32


def test_segments_beyond_the_end_hold_the_bias():
    made = layer()
    y = made(torch.randn(1, 4, T))
    beyond = torch.arange(D)[:, None] + torch.arange(T) >= T
    assert beyond.any()
    assert_close(y[0][:, beyond], made.bias[:, None].expand(6, int(beyond.sum())))


def test_the_sampling_weights_are_no_state():
    assert set(layer().state_dict()) == {"weight", "bias"}


def test_errors():
    with pytest.raises(ConfigError, match=r"boundary matching: max_duration is 13; needs 1\.\.12 columns"):
        BoundaryMatching(4, 6, num_snippets=12, max_duration=13)
    with pytest.raises(ConfigError, match="the input has 9 columns; the layer is built for 12"):
        layer()(torch.zeros(1, 4, 9))
