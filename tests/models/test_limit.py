"""The limits of the machine, and a pass compared with them."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from videozoo.models import processor as processor_module
from videozoo.models.limit import KINDS, Operation, Rates, fastest_s, measure_limit, operations, shares_of_time
from videozoo.models.processor import processor

CPU = torch.device("cpu")


def test_operations_are_counted_with_the_bytes_that_they_move():
    maps, weight = torch.zeros(2, 4, 5, 5), torch.zeros(8, 4, 3, 3)
    left, right = torch.zeros(6, 7), torch.zeros(7, 9)
    found = operations(lambda: (F.conv2d(maps, weight, padding=1).relu(), left @ right))
    assert found == [
        Operation("convolution", 2 * 2 * 25 * 8 * 4 * 9, 4 * (maps.numel() + weight.numel() + 2 * 8 * 25)),
        Operation("mm", 2 * 6 * 7 * 9, 4 * (6 * 7 + 7 * 9 + 6 * 9)),
    ]


def test_each_operation_is_compared_with_the_rate_of_its_kind():
    rates = Rates(matmul_flops_per_s=10.0, convolution_flops_per_s=100.0, copy_bytes_per_s=50.0)
    assert rates.arithmetic_s(Operation("convolution", 200, 0)) == 2
    assert rates.arithmetic_s(Operation("addmm", 200, 0)) == 20
    assert rates.least_s(Operation("convolution", 200, 500)) == 10  # memory takes longer


def test_the_first_turn_is_not_counted_and_the_fastest_is():
    order = []
    ticks = itertools.chain([0, 1], [0, 2], [10, 15], [20, 27], [30, 34], [40, 49])
    calls = {name: (lambda name=name: order.append(name)) for name in "ab"}
    assert fastest_s(calls, num_turns=2, clock=lambda: next(ticks)) == {"a": 4, "b": 7}
    assert order == ["a", "b"] * 3


@pytest.mark.parametrize(
    ("layer", "shape", "kind"),
    [
        (nn.Conv2d(32, 32, 3), (1, 32, 64, 64), "convolution"),
        (nn.Conv3d(64, 64, 3, groups=64, padding=1), (1, 64, 8, 32, 32), "depthwise"),
        (nn.Linear(256, 256), (512, 256), "linear"),
        (nn.LayerNorm(64), (4096, 64), "norms"),
        (nn.GELU(), (4096, 64), "activations"),
    ],
)
def test_the_time_is_divided_by_kind(layer, shape, kind):
    clips = torch.ones(shape)
    found = shares_of_time(lambda: layer(clips), CPU)
    assert tuple(found) == KINDS and sum(found.values()) == pytest.approx(1)
    assert {name for name, share in found.items() if share} - {"copies", "other"} == {kind}


def test_a_pass_is_compared_with_the_limits():
    network, clips = nn.Sequential(nn.Conv2d(8, 8, 3), nn.ReLU()), torch.ones(1, 8, 16, 16)
    found = measure_limit(lambda: network(clips), device=CPU, num_turns=1)
    assert found.flops == 2 * 14 * 14 * 8 * 8 * 9
    assert found.share == pytest.approx(found.flops / found.rates.convolution_flops_per_s / found.forward_s)
    assert found.share_with_memory >= found.share
    assert found.shares_of_time["convolution"] > 0 and found.shares_of_time["attention"] == 0


def test_the_processor_is_named_with_its_instructions(tmp_path, monkeypatch):
    info = tmp_path / "cpuinfo"
    info.write_text("processor\t: 0\nmodel name\t: Some CPU\nflags\t\t: fpu avx2 amx_int8\n\nmodel name\t: Other\n")
    monkeypatch.setattr(processor_module, "CPU_INFO", info)
    assert processor() == "Some CPU (avx2, amx_int8)"
    monkeypatch.setattr(processor_module, "CPU_INFO", tmp_path / "none")
    assert processor()
