"""Parameter groups, clipping, RMSProp by its formula; PaddleVideo's numbers are in tests/parity."""

import re

import pytest
import torch
from torch import nn

from tests.engine.toy import ToyModel, ToyTask
from videozoo.config.check import build
from videozoo.engine.optim import RMSProp, clip_gradients, gradient_norm, parameter_groups
from videozoo.engine.registry import optimizers
from videozoo.errors import ConfigError
from videozoo.models.param_rule import ParamRule


@pytest.fixture
def task():
    return ToyTask(ToyModel(), ("a", "b", "c"))


def by_name(task, groups):
    """name -> (rate, decay)"""
    names = {id(p): name for name, p in task.model.named_parameters()}
    return {names[id(p)]: (g["base_lr"], g["weight_decay"]) for g in groups for p in g["params"]}


def test_norms_are_spared_biases_on_request(task):
    found = by_name(task, parameter_groups(task, 0.1, 0.5))
    assert found == {
        "conv.weight": (0.1, 0.5),
        "conv.bias": (0.1, 0.5),
        "norm.weight": (0.1, 0.0),
        "norm.bias": (0.1, 0.0),
        "fc.weight": (0.1, 0.5),
        "fc.bias": (0.1, 0.5),
    }
    found = by_name(task, parameter_groups(task, 0.1, 0.5, norms=True, biases=False))
    assert {name for name, (_, decay) in found.items() if not decay} == {"conv.bias", "fc.bias"}


def test_the_first_rule_wins_and_the_recipe_goes_first(task):
    task.model.param_rules = (
        ParamRule(r"^fc\.weight", lr_scale=5),
        ParamRule("bias", lr_scale=10, weight_decay=0),
    )
    found = by_name(task, parameter_groups(task, 0.1, 0.5, [ParamRule("fc", lr_scale=3)]))
    assert found["fc.weight"] == found["fc.bias"] == (pytest.approx(0.3), 0.5)
    assert found["conv.bias"] == (1.0, 0)
    assert by_name(task, parameter_groups(task, 0.1, 0.5))["fc.weight"] == (0.5, 0.5)


def test_frozen_parameters_are_left_out(task):
    task.model.conv.requires_grad_(False)
    assert "conv.weight" not in by_name(task, parameter_groups(task, 0.1))


def test_a_rate_of_zero_freezes(task):
    first = next(name.removeprefix("model.") for name, _ in task.named_parameters())
    groups = parameter_groups(task, 0.1, rules=[ParamRule(f"^{re.escape(first)}$", lr_scale=0)])
    frozen = {name.removeprefix("model.") for name, p in task.named_parameters() if not p.requires_grad}
    assert frozen == {first}
    assert sum(len(group["params"]) for group in groups) == len(list(task.parameters())) - 1
    with pytest.raises(
        ConfigError, match=r"^optim.groups: lr_scale 0 freezes all parameters; leave out the classifier"
    ):
        parameter_groups(task, 0.1, rules=[ParamRule("", lr_scale=0)])


def test_rules_of_a_recipe(task):
    args = {"lr": 0.1, "groups": [{"match": "^fc", "lr_scale": 5}]}
    optimizer = build(optimizers.get("adamw"), args, where="optim", task=task)
    assert by_name(task, optimizer.param_groups)["fc.weight"] == (0.5, 0.01)
    with pytest.raises(ConfigError, match=r"optim\.groups\.0\.match: 'head' matches no trainable parameter"):
        parameter_groups(task, 0.1, rules=[ParamRule("head")])
    with pytest.raises(ConfigError, match=r"optim\.lr: required by sgd but missing from the recipe"):
        build(optimizers.get("sgd"), {}, where="optim", task=task)


@pytest.mark.parametrize("centered", [False, True])
def test_rmsprop_by_its_formula(centered):
    p = nn.Parameter(torch.tensor([1.0, -2.0], dtype=torch.float64))
    optimizer = RMSProp([{"params": [p]}], lr=0.1, rho=0.9, eps=0.3, momentum=0.8, centered=centered, weight_decay=0.5)
    x, s, m, v = p.detach().clone(), 0, 0, 0
    for t in range(5):
        p.grad = torch.tensor([0.5 + t, -1.0], dtype=torch.float64)
        g = p.grad + 0.5 * x
        s = 0.9 * s + 0.1 * g**2
        m = 0.9 * m + 0.1 * g if centered else 0 * g
        v = 0.8 * v + 0.1 * g / (s - m**2 + 0.3) ** 0.5
        x = x - v
        optimizer.step()
    torch.testing.assert_close(p.detach(), x)


@pytest.mark.parametrize("largest", [0.5, 100.0])
def test_clipping_scales_to_the_largest_norm(largest):
    params = [nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))]
    params[0].grad, params[1].grad = torch.tensor([3.0, 0, 0]), torch.tensor([0.0, 4])
    norm = gradient_norm(params)
    assert norm == 5
    clip_gradients(params, norm, largest)
    assert gradient_norm(params) == pytest.approx(min(largest, 5))
    assert params[0].grad[0] == pytest.approx(3 * min(largest / 5, 1))
