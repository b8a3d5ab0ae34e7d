"""Folded networks give the outputs of the networks that they come from."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from tests.contract.tiny import TINY
from videozoo.models import create_model
from videozoo.models.folding import folded
from videozoo.models.model import VideoModel

WITH_NORMS = ("movinet", "nonlocal", "pptsm", "pptsm_mobile", "pptsm_v2", "slowfast", "stnet", "tsm")
NOT_AFTER_A_CONVOLUTION = {"stnet": 4}


def stirred(model):
    """The model in double precision; statistics, scales and offsets differ, since fresh ones would hide mistakes."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in model.double().state_dict().items():
        if tensor.ndim <= 1 and tensor.is_floating_point():
            low, high = (-0.5, 0.5) if name.endswith(("mean", "bias")) else (0.5, 1.5)
            tensor.uniform_(low, high, generator=generator)
    return model


def num_norms(model):
    return sum(isinstance(module, _BatchNorm) for module in model.modules())


@pytest.mark.parametrize("name", WITH_NORMS)
@torch.no_grad()
def test_a_folded_network_gives_the_same_scores_and_leaves_the_network_as_it_was(name):
    torch.manual_seed(0)
    model = stirred(create_model(name, **TINY[name]))
    before = copy.deepcopy(model.state_dict())
    found = folded(model)
    clips = torch.randn(2, *model.input_shape, dtype=torch.double)
    expected = model.eval()(clips)
    assert expected.std() > 0
    torch.testing.assert_close(found(clips), expected, rtol=1e-9, atol=1e-9 * float(expected.abs().max()))
    assert num_norms(model) > 0
    assert num_norms(found) == NOT_AFTER_A_CONVOLUTION.get(name, 0)
    for key, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[key]), key


def test_parallel_kernels_become_one():
    found = folded(create_model("pptsm_v2", **TINY["pptsm_v2"]))
    assert {len(block.depthwise.branches) for stage in found.stages for block in stage} == {1}


def test_weights_are_shared_where_they_stay():
    model = create_model("tsm", **TINY["tsm"])
    assert folded(model).head.weight is model.head.weight


class Mixed(VideoModel):
    """Convolutions and norms, of which only the last two may be folded together."""

    input_shape = (4, 6, 6)

    def __init__(self, *, reads_values: bool = False):
        super().__init__()
        self.reads_values = reads_values
        self.read_twice, self.in_turn, self.shared, self.last = (nn.Conv2d(4, 4, 1) for _ in range(4))
        self.norms = nn.ModuleList(nn.BatchNorm2d(4) for _ in range(4))

    def forward(self, x):
        if self.reads_values and float(x.sum()) > 1e9:
            return x
        x = self.norms[0](x)  # reads no convolution
        x = self.read_twice(x)
        x = x + self.norms[1](x)
        x = self.norms[2](self.shared(self.norms[2](self.in_turn(x))))  # one norm twice
        return self.norms[3](self.last(x))


@torch.no_grad()
def test_only_a_norm_after_a_convolution_that_nothing_else_reads_is_folded():
    model = stirred(Mixed())
    found = folded(model)
    assert [type(norm) for norm in found.norms] == [nn.BatchNorm2d] * 3 + [nn.Identity]
    x = torch.randn(2, 4, 6, 6, dtype=torch.double)
    torch.testing.assert_close(found(x), model(x))


def test_a_model_that_needs_values_stays_as_it_is():
    model = Mixed(reads_values=True)
    assert folded(model) is model
