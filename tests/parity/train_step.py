"""Two deterministic training steps of a PaddleVideo 2.x model, beside what the original did.

Dropout and drop-path are off, batch normalisation is in training mode. Compared are the loss of both steps, the norm and
sum of each gradient, each parameter's learning rate and decay, and the change of every state entry.

PaddlePaddle stores the biased batch variance in the running variance, torch the unbiased one; ours is converted before
the comparison.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from timm.layers import DropPath
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from tests.parity.rule import rel_err, slice_of
from videozoo.layers.dropout import InferenceScaledDropout
from videozoo.models.model import VideoModel
from videozoo.weights.importer import key_map
from videozoo.weights.keymap import is_linear_weight

__all__ = ["compare_train_step", "silence"]


def compare_train_step(
    model: VideoModel, manifest: Mapping[str, Any], expected: Mapping[str, np.ndarray], loss: Callable[[], Tensor]
) -> Iterator[tuple[str, float]]:
    """`loss` computes the training loss of `model` on the manifest's training input, in training mode."""
    step = manifest["train_step"]
    names = key_map(model, source="paddlevideo")
    ours = {names.theirs(name): name for name in model.state_dict()}
    parameters = dict(model.named_parameters())
    silence(model)
    model.train()

    learned = [name for name in step["grad_order"] if ours.get(name) in parameters]
    rates = np.array([_hyper(step["per_param_attr"].get(name, {}), manifest["optimizer_cfg"]) for name in learned])
    rules = [_rule(model, ours[name], manifest["optimizer_cfg"]) for name in learned]
    yield "train/lr_scale", rel_err([lr for lr, _ in rules], rates[:, 0])
    yield "train/weight_decay", rel_err([decay for _, decay in rules], rates[:, 1])

    optimizer = _optimizer(model, manifest["optimizer_cfg"])
    for number, lr in enumerate(step["lr_used"], 1):
        before = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
        with _BatchSizes(model) as sizes:
            value = loss()
        optimizer.zero_grad()
        value.backward()
        yield ("train/loss", "train/loss_step2")[number - 1], rel_err(value.item(), expected[
            "train/loss" if number == 1 else "train/loss_step2"
        ].reshape(()))
        if number == 1:
            grads = [parameters[ours[name]].grad for name in learned]
            at = [step["grad_order"].index(name) for name in learned]
            yield "train/grad_l2", rel_err([g.double().norm().item() for g in grads], expected["train/grad_l2"][at])
            yield "train/grad_sum", _sum_err(grads, expected["train/grad_sum"][at], expected["train/grad_l2"][at])
        _clip(model, manifest["optimizer_cfg"])
        for group in optimizer.param_groups:
            group["lr"] = lr * group["lr_scale"]
        optimizer.step()
        yield from _deltas(model, before, sizes.rows, step["delta_order"], ours, expected, second=number == 2)


def silence(model: nn.Module) -> None:
    """Turns every dropout and drop-path of `model` off."""
    for module in model.modules():
        if isinstance(module, _DropoutNd | InferenceScaledDropout):
            module.p = 0.0
        if isinstance(module, DropPath):
            module.drop_prob = 0.0


class _BatchSizes:
    """How many values each batch normalisation averaged over, while the context is open."""

    def __init__(self, model: nn.Module):
        self.rows: dict[str, int] = {}
        self._norms = [(name, m) for name, m in model.named_modules() if isinstance(m, _BatchNorm)]

    def __enter__(self) -> _BatchSizes:
        def note(name: str) -> Callable[..., None]:
            return lambda module, args: self.rows.update({name: args[0].numel() // args[0].shape[1]})

        self._hooks = [module.register_forward_pre_hook(note(name)) for name, module in self._norms]
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()


def _deltas(
    model: VideoModel,
    before: Mapping[str, Tensor],
    rows: Mapping[str, int],
    order: list[str],
    ours: Mapping[str, str],
    expected: Mapping[str, np.ndarray],
    *,
    second: bool,
) -> Iterator[tuple[str, float]]:
    """Changes of parameters and of running statistics apart: the statistics move more and would hide the rest."""
    norms, slices = np.full(len(order), np.nan), np.full((len(order), 8), np.nan)
    after = model.state_dict()
    for row, theirs in enumerate(order):
        name = ours.get(theirs)
        if name is None:
            continue
        change = after[name].double() - before[name].double()
        if name.endswith("running_var"):
            n = rows[name.rpartition(".")[0]]
            momentum = model.get_submodule(name.rpartition(".")[0]).momentum
            change = (change + momentum * before[name]) * ((n - 1) / n) - momentum * before[name]
        if is_linear_weight(name, model):
            change = change.T
        norms[row] = change.norm().item()
        slices[row] = slice_of(change.numpy(), 8) if change.numel() else 0.0
    known = np.array([name in ours for name in order])
    stats = np.array([name.endswith(("_mean", "_variance")) for name in order])
    for kind, which in (("params", known & ~stats), ("stats", known & stats)):
        if not which.any():
            continue
        if second:
            yield f"train/delta2_l2 {kind}", rel_err(norms[which], expected["train/delta2_l2"][which])
        else:
            yield f"train/delta_l2 {kind}", rel_err(norms[which], expected["train/delta_l2"][which])
            yield f"train/delta_slice8 {kind}", rel_err(slices[which], expected["train/delta_slice8"][which])


def _sum_err(grads: list[Tensor], sums: np.ndarray, norms: np.ndarray) -> float:
    """Of the sums of gradients, beside the largest sum that the largest norm allows: most true sums are near zero."""
    difference = np.abs(np.array([g.double().sum().item() for g in grads]) - sums)
    return float((difference / [math.sqrt(g.numel()) for g in grads]).max() / np.nanmax(norms))


def _hyper(attribute: Mapping[str, Any], optimizer: Mapping[str, Any]) -> tuple[float, float]:
    """(learning-rate multiplier, decay) of one original parameter."""
    decay = _decay(optimizer)
    if regularizer := attribute.get("regularizer"):
        decay = float(re.search(r"coeff=([\d.e-]+)", regularizer)[1])
    return attribute.get("lr_mult", 1.0), decay


def _rule(model: VideoModel, name: str, optimizer: Mapping[str, Any]) -> tuple[float, float]:
    for rule in model.param_rules:
        if re.search(rule.match, name):
            return rule.lr_scale, _decay(optimizer) if rule.weight_decay is None else rule.weight_decay
    return 1.0, _decay(optimizer)


def _decay(optimizer: Mapping[str, Any]) -> float:
    decay = optimizer.get("weight_decay") or 0.0
    return float(decay["value"] if isinstance(decay, Mapping) else decay)


def _optimizer(model: VideoModel, cfg: Mapping[str, Any]) -> torch.optim.Optimizer:
    groups = []
    for name, parameter in model.named_parameters():
        lr_scale, decay = _rule(model, name, cfg)
        groups.append({"params": [parameter], "lr_scale": lr_scale, "weight_decay": decay})
    if cfg["name"] == "Momentum":
        nesterov = cfg.get("use_nesterov", False)
        return torch.optim.SGD(groups, lr=1.0, momentum=cfg.get("momentum", 0.9), nesterov=nesterov)
    if cfg["name"] in ("Adam", "AdamW"):
        betas = (cfg.get("beta1", 0.9), cfg.get("beta2", 0.999))
        kind = torch.optim.Adam if cfg["name"] == "Adam" else torch.optim.AdamW
        return kind(groups, lr=1.0, betas=betas, eps=float(cfg.get("epsilon", 1e-8)))
    raise NotImplementedError(f"train_step: no optimizer for {cfg['name']}")


def _clip(model: nn.Module, cfg: Mapping[str, Any]) -> None:
    clip = cfg.get("grad_clip")
    if clip and "norm" in clip["name"].lower():
        torch.nn.utils.clip_grad_norm_(model.parameters(), float(clip["value"]))
