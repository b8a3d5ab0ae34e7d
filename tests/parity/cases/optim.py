"""Five steps of the optimizers of PaddleVideo 2.x: decay, clipping, rates of parameter groups."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer

from tests.parity.arrays import load_file
from tests.parity.rule import input2, rel_err
from videozoo.engine import optim
from videozoo.models.model import VideoModel
from videozoo.models.param_rule import ParamRule
from videozoo.tasks.task import Task

NAMES = ("a", "b", "fc_w", "fc_b", "norm_w")
OWN = (  # what the parameters of the reference run carry themselves
    ParamRule("^b$", weight_decay=0.0),
    ParamRule("^fc_w$", lr_scale=5, weight_decay=1e-4),
    ParamRule("^fc_b$", lr_scale=10, weight_decay=0.0),
)


def matches(folder: Path, manifest: Mapping[str, Any]) -> bool:
    return "cases" in manifest and "lr_used" in manifest


def compare(folder: Path, manifest: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    stored = load_file(folder / "optim.npz")
    for case, config in manifest["cases"].items():
        ours = trajectory(config, manifest["lr_used"], {name: stored[f"{case}/{name}"].shape[1:] for name in NAMES})
        for name in NAMES:
            yield f"{case}/{name}", rel_err(ours[name], stored[f"{case}/{name}"])


class Parameters(VideoModel):
    def __init__(self, shapes: Mapping[str, tuple[int, ...]]):
        super().__init__()
        for name, shape in shapes.items():
            value = input2(seed=sum(map(ord, name)), shape=shape)
            self.register_parameter(name, nn.Parameter(torch.from_numpy(value)))


def trajectory(
    config: Mapping[str, Any], rates: list[float], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, np.ndarray]:
    model = Parameters(shapes)
    optimizer = build(config, Task(model, ()))
    params = dict(model.named_parameters())
    track = {name: [p.detach().numpy().copy()] for name, p in params.items()}
    largest = config.get("grad_clip", {}).get("value")
    for t, rate in enumerate(rates):
        for i, p in enumerate(params.values()):
            drawn = torch.from_numpy(input2(seed=1000 + 10 * t + i, shape=p.shape))
            p.grad = drawn + 0.1 * p.detach()
            if config["name"] == "AdamW" and NAMES[i] == "fc_w":  # its own regularizer comes on top there
                p.grad += 1e-4 * p.detach()
        for group in optimizer.param_groups:
            group["lr"] = group["base_lr"] * rate
        if largest is not None:
            optim.clip_gradients(params.values(), optim.gradient_norm(params.values()), largest)
        optimizer.step()
        for name, p in params.items():
            track[name].append(p.detach().numpy().copy())
    return {name: np.stack(values) for name, values in track.items()}


def build(config: Mapping[str, Any], task: Task) -> Optimizer:
    """Our optimizer for a setting of theirs, at rate 1."""
    decay = config.get("weight_decay", 0.0)
    l2: dict[str, Any] = {
        "weight_decay": decay["value"] if isinstance(decay, Mapping) else decay,
        "groups": OWN,
    }
    betas = (config.get("beta1", 0.9), config.get("beta2", 0.999))
    kind = config["name"]
    if kind == "Momentum":
        return optim.sgd(
            task, lr=1, momentum=config.get("momentum", 0.9), nesterov=config.get("use_nesterov", False), **l2
        )
    if kind == "RMSProp":
        return optim.rmsprop(
            task,
            lr=1,
            rho=config.get("rho", 0.95),
            eps=config.get("epsilon", 1e-6),
            momentum=config.get("momentum", 0.0),
            centered=config.get("centered", False),
            **l2,
        )
    if kind == "Adam":
        return optim.adam(task, lr=1, betas=betas, eps=config.get("epsilon", 1e-8), **l2)
    if kind == "AdamW":  # names decide what decays
        spared = tuple(ParamRule(word, weight_decay=0.0) for word in config.get("no_weight_decay_name", "").split())
        rates = (ParamRule("^fc_w$", lr_scale=5), ParamRule("^fc_b$", lr_scale=10, weight_decay=0.0))
        return optim.adamw(task, lr=1, betas=betas, weight_decay=decay, groups=(*rates, *spared))
    raise ValueError(f"optim: no optimizer of ours stands for {kind}")
