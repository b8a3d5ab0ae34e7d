"""Two deterministic training steps of a PaddleVideo 2.x model, beside what the original did.

Dropout and drop-path are off, batch normalisation is in training mode. Compared are the loss of both steps,
the norm and sum of each gradient, each parameter's learning rate and decay, and the change of every state
entry.

PaddlePaddle stores the biased batch variance in the running variance, torch the unbiased one; ours is
converted before the comparison and before the second step.
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

from tests.parity.rule import own_err, rel_err, slice_of
from videozoo.engine.optim import adam, adamw, clip_gradients, gradient_norm, rmsprop, sgd
from videozoo.layers.dropout import InferenceScaledDropout
from videozoo.models.model import VideoModel
from videozoo.tasks.task import Task
from videozoo.weights.importer import key_map
from videozoo.weights.keymap import is_linear_weight

__all__ = ["compare_train_step", "silence"]


def compare_train_step(
    model: VideoModel,
    manifest: Mapping[str, Any],
    expected: Mapping[str, np.ndarray],
    loss: Callable[[], Tensor],
    *,
    decay_norms: bool = False,
) -> Iterator[tuple[str, float]]:
    """`loss` computes the training loss of `model` on the manifest's training input, in training mode.

    `decay_norms` is what a recipe tells the optimizer; the rest of the groups is the model's own.
    """
    step = manifest["train_step"]
    names = key_map(model, source="paddlevideo")
    ours = {names.theirs(name): name for name in model.state_dict()}
    parameters = dict(model.named_parameters())
    silence(model)
    model.train()

    cfg = manifest["optimizer_cfg"]
    task = Task(model, class_names=())
    optimizer = _optimizer(task, cfg, decay_norms=decay_norms)
    learned = [name for name in step["grad_order"] if ours.get(name) in parameters]
    stated = [_stated(name, step["per_param_attr"].get(name, {}), cfg) for name in learned]
    groups = {id(p): (g["base_lr"], g["weight_decay"]) for g in optimizer.param_groups for p in g["params"]}
    used = [groups[id(parameters[ours[name]])] for name in learned]
    for i, what in enumerate(("lr_scale", "weight_decay")):
        yield f"train/{what}", rel_err([row[i] for row in used], np.array([row[i] for row in stated]))

    losses: list[tuple[float, float]] = []
    for lr, suffix in zip(step["lr_used"], ("", "_step2"), strict=True):
        before = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
        with _BatchSizes(model) as sizes:
            value = loss()
        optimizer.zero_grad()
        value.backward()
        # the second may end near zero, where the reference's log-sum-exp has no digits: it is measured beside the first
        losses.append((value.item(), float(expected[f"train/loss{suffix}"].reshape(()))))
        yield f"train/loss{suffix}", rel_err(*np.array(losses).T)
        if not suffix:
            grads = [parameters[ours[name]].grad for name in learned]
            at = [step["grad_order"].index(name) for name in learned]
            norms, sums = expected["train/grad_l2"][at], expected["train/grad_sum"][at]
            ours_l2 = [grad.double().norm().item() for grad in grads]
            yield "train/grad_l2", rel_err(ours_l2, norms)
            yield "train/grad_l2 each", own_err(ours_l2, norms, floor=1e-3)
            yield "train/grad_sum", _sum_err(grads, sums, norms)
        if clip := cfg.get("grad_clip"):
            clip_gradients(parameters.values(), gradient_norm(parameters.values()), float(clip["value"]))
        for group in optimizer.param_groups:
            group["lr"] = lr * group["base_lr"]
        optimizer.step()
        yield from _deltas(
            model,
            before,
            sizes.rows,
            step["delta_order"],
            ours,
            expected,
            linear_in_out=names.linear_in_out,
            second=bool(suffix),
        )


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
    linear_in_out: bool,
    second: bool,
) -> Iterator[tuple[str, float]]:
    """Changes of parameters and of running statistics apart: the statistics move more."""
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
            after[name].copy_(before[name] + change)  # what the second step starts from
        if linear_in_out and is_linear_weight(name, model):
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
    """Of the sums of gradients, beside the largest that the norms allow; most true sums are near 0."""
    difference = np.abs(np.array([g.double().sum().item() for g in grads]) - sums)
    return float((difference / [math.sqrt(g.numel()) for g in grads]).max() / np.nanmax(norms))


def _stated(name: str, attribute: Mapping[str, Any], cfg: Mapping[str, Any]) -> tuple[float, float]:
    """(learning-rate multiplier, decay) that the original gives to its parameter `name`."""
    decay = _decay(cfg)
    if any(part in name for part in cfg.get("no_weight_decay_name", "").split()):
        decay = 0.0
    if regularizer := attribute.get("regularizer"):
        decay = float(re.search(r"coeff=([\d.e-]+)", regularizer)[1])
    return attribute.get("lr_mult", 1.0), decay


def _decay(cfg: Mapping[str, Any]) -> float:
    decay = cfg.get("weight_decay") or 0.0
    return float(decay["value"] if isinstance(decay, Mapping) else decay)


def _optimizer(task: Task, cfg: Mapping[str, Any], *, decay_norms: bool) -> torch.optim.Optimizer:
    """Ours, at rate 1."""
    shared: dict[str, Any] = {"lr": 1.0, "weight_decay": _decay(cfg), "decay_norms": decay_norms}
    momentum = cfg.get("momentum", 0.9 if cfg["name"] == "Momentum" else 0.0)
    if cfg["name"] == "Momentum":
        return sgd(task, momentum=momentum, nesterov=cfg.get("use_nesterov", False), **shared)
    if cfg["name"] == "RMSProp":
        eps, rho, centered = float(cfg.get("epsilon", 1e-6)), cfg.get("rho", 0.95), cfg.get("centered", False)
        return rmsprop(task, rho=rho, eps=eps, momentum=momentum, centered=centered, **shared)
    betas, eps = (cfg.get("beta1", 0.9), cfg.get("beta2", 0.999)), float(cfg.get("epsilon", 1e-8))
    return {"Adam": adam, "AdamW": adamw}[cfg["name"]](task, betas=betas, eps=eps, **shared)
