"""Optimizers, parameter groups and gradient clipping.

Each optimizer of the registry takes the task and groups its parameters by the same four arguments:

    weight_decay:  the decay of every parameter without a rule
    decay_norms:   whether scales and shifts of normalization layers decay, too
    decay_biases:  whether the other biases decay
    groups:        rules for parameters by name; they take precedence over the model's own rules
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from videozoo.engine.registry import register_optimizer
from videozoo.engine.sharded import full_tensor, local_tensor
from videozoo.errors import ConfigError
from videozoo.models.param_rule import ParamRule
from videozoo.tasks.task import Task

__all__ = [
    "GroupwiseOptimizer",
    "RMSProp",
    "adam",
    "adamw",
    "clip_gradients",
    "gradient_norm",
    "parameter_groups",
    "rmsprop",
    "sgd",
]


@register_optimizer
def sgd(
    task: Task,
    *,
    lr: float,
    momentum: float = 0.9,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    decay_norms: bool = False,
    decay_biases: bool = True,
    groups: Sequence[ParamRule] = (),
) -> Optimizer:
    """Stochastic gradient descent with momentum; decay is added to the gradient."""
    params = parameter_groups(task, lr, weight_decay, groups, norms=decay_norms, biases=decay_biases)
    return torch.optim.SGD(params, lr=lr, momentum=momentum, nesterov=nesterov)


@register_optimizer
def adam(
    task: Task,
    *,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    decay_norms: bool = False,
    decay_biases: bool = True,
    groups: Sequence[ParamRule] = (),
) -> Optimizer:
    """Adam (arXiv:1412.6980); decay is added to the gradient."""
    params = parameter_groups(task, lr, weight_decay, groups, norms=decay_norms, biases=decay_biases)
    return torch.optim.Adam(params, lr=lr, betas=betas, eps=eps)


@register_optimizer
def adamw(
    task: Task,
    *,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.01,
    decay_norms: bool = False,
    decay_biases: bool = True,
    groups: Sequence[ParamRule] = (),
) -> Optimizer:
    """Adam with decoupled decay (arXiv:1711.05101): subtracts lr * weight_decay of each parameter."""
    params = parameter_groups(task, lr, weight_decay, groups, norms=decay_norms, biases=decay_biases)
    return torch.optim.AdamW(params, lr=lr, betas=betas, eps=eps)


@register_optimizer
def rmsprop(
    task: Task,
    *,
    lr: float,
    rho: float = 0.95,
    eps: float = 1e-6,
    momentum: float = 0.0,
    centered: bool = False,
    weight_decay: float = 0.0,
    decay_norms: bool = False,
    decay_biases: bool = True,
    groups: Sequence[ParamRule] = (),
) -> Optimizer:
    """RMSProp with eps inside the root and the rate inside the momentum; decay is added to the gradient."""
    params = parameter_groups(task, lr, weight_decay, groups, norms=decay_norms, biases=decay_biases)
    return RMSProp(params, lr=lr, rho=rho, eps=eps, momentum=momentum, centered=centered)


class GroupwiseOptimizer(Optimizer):
    """Base class of optimizers: `step_group` updates the parameters of one group that have a gradient."""

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Updates every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            self.step_group(group)
        return loss

    def step_group(self, group: dict[str, Any]) -> None:
        raise NotImplementedError


class RMSProp(GroupwiseOptimizer):
    """RMSProp as in Paddle and TensorFlow.

        s = rho s + (1 - rho) g^2        m = rho m + (1 - rho) g  (0 unless centered)
        v = momentum v + lr g / sqrt(s - m^2 + eps) p = p - v

    Differs from torch.optim.RMSprop, whose eps is outside the root and whose rate multiplies v: with MoViNet's eps of
    1 the two give entirely different updates.
    """

    def __init__(
        self,
        params: Iterable[dict[str, Any]],
        *,
        lr: float,
        rho: float = 0.95,
        eps: float = 1e-6,
        momentum: float = 0.0,
        centered: bool = False,
        weight_decay: float = 0.0,
    ):
        defaults = {
            "lr": lr,
            "rho": rho,
            "eps": eps,
            "momentum": momentum,
            "centered": centered,
            "weight_decay": weight_decay,
        }
        super().__init__(params, defaults)

    def step_group(self, group: dict[str, Any]) -> None:
        for p in group["params"]:
            if p.grad is not None:
                self._update(p, p.grad, group)

    def _update(self, p: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        rho, state = group["rho"], self.state[p]
        if not state:
            state["square"] = torch.zeros_like(p)
            state["mean"] = torch.zeros_like(p)
            state["velocity"] = torch.zeros_like(p)
        if group["weight_decay"]:
            gradient = gradient.add(p, alpha=group["weight_decay"])
        square = state["square"].mul_(rho).addcmul_(gradient, gradient, value=1 - rho)
        if group["centered"]:
            mean = state["mean"].lerp_(gradient, 1 - rho)
            square = square.addcmul(mean, mean, value=-1)
        velocity = state["velocity"].mul_(group["momentum"])
        velocity.addcdiv_(gradient, square.add(group["eps"]).sqrt_(), value=group["lr"])
        p.sub_(velocity)


def parameter_groups(
    task: Task,
    lr: float,
    weight_decay: float = 0.0,
    rules: Sequence[ParamRule] = (),
    *,
    norms: bool = False,
    biases: bool = True,
) -> list[dict[str, Any]]:
    """Groups the trainable parameters of a task by learning rate and decay.

    Rules match the model's parameter names. The first match wins, `rules` before the model's own. A rule's decay
    also applies to norms and biases. The schedule multiplies `base_lr` of a group. Parameters of a rule with
    `lr_scale=0` are frozen and are in no group.

    Raises:
        ConfigError: one of `rules` matches no parameter, or all parameters are frozen.
    """
    norm_params = {id(p) for module in task.modules() if _is_norm(module) for p in module.parameters(recurse=False)}
    # a task may hold a second network like its model; the same rules apply to its parameters
    named = [(re.sub(r"^(model|peer)\.", "", name), p) for name, p in task.named_parameters() if p.requires_grad]
    for i, rule in enumerate(rules):
        if not any(re.search(rule.match, name) for name, _ in named):
            raise ConfigError(
                f"optim.groups.{i}.match: '{rule.match}' matches no trainable parameter of the model; "
                f"parameter names look like '{named[0][0] if named else ''}'"
            )
    groups: dict[tuple[float, float], list[Tensor]] = {}
    for name, p in named:
        rule = next((r for r in [*rules, *task.model.param_rules] if re.search(r.match, name)), ParamRule(match=""))
        if rule.lr_scale == 0:
            p.requires_grad_(False)
            continue
        is_norm = id(p) in norm_params
        spared = (is_norm and not norms) or (not is_norm and not biases and name.endswith("bias"))
        decay = rule.weight_decay if rule.weight_decay is not None else 0.0 if spared else weight_decay
        groups.setdefault((rule.lr_scale, decay), []).append(p)
    if not groups:
        raise ConfigError("optim.groups: lr_scale 0 freezes all parameters; leave out the classifier (head) at least")
    return [
        {"params": params, "lr": lr * scale, "base_lr": lr * scale, "weight_decay": decay}
        for (scale, decay), params in groups.items()
    ]


def gradient_norm(params: Iterable[Tensor]) -> Tensor:
    """Returns the global norm of the gradients, a scalar on their device."""
    return full_tensor(torch.nn.utils.get_total_norm([p.grad for p in params if p.grad is not None]))


def clip_gradients(params: Iterable[Tensor], norm: Tensor, largest: float) -> None:
    """Scales the gradients, whose global norm is `norm`, by largest / max(norm, largest)."""
    gradients = [local_tensor(p.grad) for p in params if p.grad is not None]
    torch._foreach_mul_(gradients, largest / norm.clamp(min=largest))


def _is_norm(module: nn.Module) -> bool:
    # also by name: the norms of some libraries share no base class
    return isinstance(module, nn.LayerNorm | nn.GroupNorm) or "norm" in type(module).__name__.lower()
