"""Linear layers that run as convolutions give what linear layers give."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from videozoo.layers.linear import PointwiseLinear
from videozoo.models import memory_format


def ran(module, x):
    """Names of the operations that ran."""
    with torch.profiler.profile() as profile:
        module(x)
    return {event.name for event in profile.events()}


@pytest.mark.parametrize("shape", [(16, 6), (2, 4, 8, 6), (3, 5, 6), (0, 6), (6,)], ids=str)
@pytest.mark.parametrize("has_bias", [True, False])
def test_outputs_and_gradients_are_those_of_a_linear_layer(shape, has_bias):
    torch.manual_seed(0)
    ours = PointwiseLinear(6, 10, bias=has_bias)
    theirs = nn.Linear(6, 10, bias=has_bias)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(shape)
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    found, expected = ours(inputs[0]), theirs(inputs[1])
    assert_close(found, expected)
    found.square().sum().backward()
    expected.square().sum().backward()
    assert_close(inputs[0].grad, inputs[1].grad)
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert_close(mine.grad, other.grad)


def test_it_convolves_float32_and_nothing_else():
    layer, x = PointwiseLinear(6, 10), torch.randn(2, 8, 6)
    assert "aten::_convolution" in ran(layer, x)
    assert "aten::_convolution" not in ran(copy.deepcopy(layer).double(), x.double())
    with torch.autocast("cpu", torch.bfloat16):
        assert "aten::_convolution" not in ran(layer, x)
    exported = torch.export.export(layer, (x,)).graph
    assert not any("conv" in str(node.target) for node in exported.nodes)


@pytest.mark.parametrize("is_faster", [True, False])
def test_plain_linear_layers_become_convolutions_where_these_are_faster(monkeypatch, is_faster):
    class Own(nn.Linear):
        pass

    monkeypatch.setattr(memory_format, "convolutions_are_faster", lambda: is_faster)
    model = nn.Sequential(nn.Linear(4, 4), Own(4, 4))
    names = list(model.state_dict())
    memory_format.channels_last(model)
    assert [type(layer) for layer in model] == [PointwiseLinear if is_faster else nn.Linear, Own]
    assert list(model.state_dict()) == names
