"""Schedules against their definitions; PaddleVideo's own numbers are compared in tests/parity."""

import math
from itertools import pairwise

import pytest
import torch

from videozoo.config.check import build
from videozoo.engine.duration import Horizon
from videozoo.engine.registry import schedules
from videozoo.errors import ConfigError

HORIZON = Horizon(total_steps=100, steps_per_epoch=10, batch_size=8)


def make(name, **args):
    return build(schedules.get(name), args, where="schedule", horizon=HORIZON)


def test_all_are_registered():
    assert set(schedules.names()) == {
        "constant",
        "cosine",
        "exponential",
        "inverse_sqrt",
        "multistep",
        "onecycle",
        "step",
    }


def test_constant_with_warmup_is_a_line_to_one():
    rate = make("constant", warmup="1ep", warmup_start=0.2)
    assert [rate(s) for s in (0, 5, 10, 99)] == pytest.approx([0.2, 0.6, 1, 1])


def test_step_and_multistep():
    step, multistep = make("step", every="4ep"), make("multistep", milestones=["4ep", "640ex"])
    assert [step(s) for s in (39, 40, 80)] == pytest.approx([1, 0.1, 0.01])
    assert [multistep(s) for s in (39, 40, 79, 80)] == pytest.approx([1, 0.1, 0.1, 0.01])
    named = make("multistep", milestones=["4ep"], factors=[1, 0.3])
    assert [named(s) for s in (39, 40)] == [1, 0.3]


@pytest.mark.parametrize("start", [0.0, 0.1])
def test_cosine_against_torch(start):
    rate = make("cosine", end=0.05, warmup="10st", warmup_start=start)
    p = torch.nn.Parameter(torch.zeros(()))
    optimizer = torch.optim.SGD([p], lr=1.0)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=90, eta_min=0.05)
    assert [rate(s) for s in (0, 5, 10)] == pytest.approx([start, (1 + start) / 2, 1])
    for step in range(10, 100):
        assert rate(step) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-9)
        optimizer.step()
        theirs.step()


def test_cosine_from_step_zero_meets_its_warmup():
    plain, joined = make("cosine"), make("cosine", warmup="2ep", after_warmup=False, warmup_start=0.1)
    assert joined(20) == plain(20) < 1
    assert joined(10) == pytest.approx((0.1 + plain(20)) / 2)


def test_staircase_moves_at_epochs():
    rate = make("cosine", staircase=True)
    assert [len({rate(s) for s in range(e, e + 10)}) for e in range(0, 100, 10)] == [1] * 10
    assert rate(10) == make("cosine")(10)


def test_onecycle_against_torch():
    rate = make("onecycle", peak_at=0.3, start=1 / 25, end=4e-6)
    p = torch.nn.Parameter(torch.zeros(()))
    optimizer = torch.optim.SGD([p], lr=1.0, momentum=0.9)
    # torch puts its peak at step 0.3 * 100 - 1
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=100, pct_start=0.31)
    for step in range(100):
        assert rate(step) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-7)
        optimizer.step()
        if step < 99:
            theirs.step()


def test_exponential():
    smooth, stairs = (
        make("exponential", gamma=0.5, every="20st"),
        make("exponential", gamma=0.5, every="20st", staircase=True),
    )
    assert [smooth(s) for s in (0, 10, 20)] == pytest.approx([1, math.sqrt(0.5), 0.5])
    assert [stairs(s) for s in (0, 19, 20)] == [1, 1, 0.5]


def test_inverse_sqrt_is_noam_over_its_peak():
    rate, warmup = make("inverse_sqrt", warmup="20st"), 20
    noam = [512**-0.5 * min((s + 1) ** -0.5, (s + 1) * warmup**-1.5) for s in range(100)]
    assert [rate(s) for s in range(100)] == pytest.approx([n / max(noam) for n in noam])


@pytest.mark.parametrize("name", ["constant", "cosine"])
def test_warmup_has_no_jump(name):
    rate = make(name, warmup="30st")
    assert max(abs(a - b) for a, b in pairwise(rate(s) for s in range(100))) < 0.04


@pytest.mark.parametrize(
    ("name", "args", "message"),
    [
        (
            "multistep",
            {"milestones": ["8ep", "4ep"]},
            r"schedule\.milestones: \['8ep', '4ep'\] are not in ascending order",
        ),
        (
            "multistep",
            {"milestones": ["8ep"], "factors": [1.0]},
            r"schedule\.factors: has 1 values for 1 milestones; give 2",
        ),
        ("multistep", {"milestones": ["8"]}, r"schedule\.milestones\.0: should be a duration"),
        ("step", {"every": "0st"}, r"schedule\.every: 0st is less than one step"),
        ("onecycle", {"peak_at": 1.0}, r"schedule\.peak_at: is 1\.0; must be between 0 and 1"),
        ("cosine", {"warm_up": "1ep"}, r"schedule\.warm_up: .* did you mean 'warmup'\?"),
    ],
)
def test_mistakes_are_named(name, args, message):
    with pytest.raises(ConfigError, match=message):
        make(name, **args)
