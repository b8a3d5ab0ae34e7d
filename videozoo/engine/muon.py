"""Muon: momentum matrices are made orthogonal before they update the weights."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.adamw import adamw

from videozoo.engine.optim import GroupwiseOptimizer, parameter_groups
from videozoo.engine.registry import register_optimizer
from videozoo.engine.sharded import full_tensor, shard_like
from videozoo.models.param_rule import ParamRule
from videozoo.tasks.task import Task

__all__ = ["Muon", "muon", "orthogonalized"]


@register_optimizer
def muon(
    task: Task,
    *,
    lr: float,
    momentum: float = 0.95,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.01,
    decay_norms: bool = False,
    decay_biases: bool = True,
    groups: Sequence[ParamRule] = (),
) -> Optimizer:
    """Muon for the weights of linear and convolutional layers, AdamW for all others, with one learning rate.

    Muon uses `momentum`, AdamW uses `betas` and `eps`. AdamW updates the classifier (layers named `head`), grouped
    convolutions, embeddings, norms and biases. Attention from random weights learns in fewer steps than with AdamW
    (docs/training.md).
    """
    matrices = _matrices(task)
    params = []
    for group in parameter_groups(task, lr, weight_decay, groups, norms=decay_norms, biases=decay_biases):
        for is_matrix in (True, False):
            chosen = [p for p in group["params"] if (id(p) in matrices) == is_matrix]
            if chosen:
                params.append({**group, "params": chosen, "is_matrix": is_matrix})
    return Muon(params, lr=lr, momentum=momentum, betas=betas, eps=eps)


class Muon(GroupwiseOptimizer):
    """Muon (Jordan et al. 2024) in groups with `is_matrix`, AdamW (arXiv:1711.05101) in the others.

        m = momentum m + (1 - momentum) g          u = orthogonalized(momentum m + (1 - momentum) g)
        p = p - lr weight_decay p - 0.2 lr sqrt(max(rows, columns)) u

    The factor of section 2.2 of arXiv:2502.16982 gives u the size of AdamW's steps, so both use one learning
    rate. The weights of a convolution form the matrix [channels out, channels in * kernel]. Differs from
    torch.optim.Muon, which accepts matrices only and computes in bfloat16 on every device.
    """

    def __init__(
        self,
        params: Iterable[dict[str, Any]],
        *,
        lr: float,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ):
        shares = {"momentum": momentum, "betas[0]": betas[0], "betas[1]": betas[1]}
        if lr < 0 or eps < 0 or weight_decay < 0:
            raise ValueError(f"lr={lr}, eps={eps} and weight_decay={weight_decay} must be 0 or more")
        for name, share in shares.items():
            if not 0 <= share < 1:
                raise ValueError(f"{name}={share} must be 0 or more and less than 1")
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "is_matrix": True,
        }
        super().__init__(params, defaults)

    def step_group(self, group: dict[str, Any]) -> None:
        params = [p for p in group["params"] if p.grad is not None]
        if not group["is_matrix"]:
            self._adamw(params, group)
            return
        for p in params:
            self._muon(p, p.grad, group)

    def _muon(self, p: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[p]
        if not state:
            state["momentum"] = torch.zeros_like(p)
        momentum = state["momentum"].lerp_(gradient, 1 - group["momentum"])
        ahead = full_tensor(gradient.lerp(momentum, group["momentum"]))  # the update needs the full matrix
        update = orthogonalized(ahead.flatten(1)).view_as(ahead).to(p.dtype)
        size = 0.2 * max(ahead.shape[0], ahead[0].numel()) ** 0.5
        p.mul_(1 - group["lr"] * group["weight_decay"])
        p.sub_(shard_like(update, p), alpha=group["lr"] * size)

    def _adamw(self, params: list[Tensor], group: dict[str, Any]) -> None:
        states = [self.state[p] for p in params]
        for p, state in zip(params, states, strict=True):
            if not state:
                state["step"] = torch.zeros(())
                state["mean"], state["square"] = torch.zeros_like(p), torch.zeros_like(p)
        beta1, beta2 = group["betas"]
        adamw(
            params,
            [p.grad for p in params if p.grad is not None],
            [state["mean"] for state in states],
            [state["square"] for state in states],
            [],
            [state["step"] for state in states],
            amsgrad=False,
            beta1=beta1,
            beta2=beta2,
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )


def orthogonalized(matrix: Tensor, *, num_steps: int = 5) -> Tensor:
    """Returns a matrix [m n] with its singular values moved close to 1 (0.7..1.2, except for tiny ones).

    A Newton-Schulz iteration of fifth order with the coefficients of Jordan et al., in bfloat16 on an accelerator.
    """
    x: Tensor = matrix.bfloat16() if matrix.is_cuda else matrix
    is_tall = x.shape[0] > x.shape[1]
    x = x.mT if is_tall else x
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(num_steps):
        gram = x @ x.mT
        x = 3.4445 * x + (2.0315 * gram @ gram - 4.7750 * gram) @ x
    found: Tensor = x.mT if is_tall else x
    return found


def _matrices(task: Task) -> set[int]:
    """Returns the ids of the parameters that map features to features."""
    found: list[Tensor] = []
    for name, module in task.named_modules():
        if name.endswith("head"):  # maps features to scores
            continue
        is_convolution = isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d) and module.groups == 1
        if is_convolution or isinstance(module, nn.Linear):
            found.append(module.weight)
        elif isinstance(module, nn.MultiheadAttention) and module.in_proj_weight is not None:
            found.append(module.in_proj_weight)
    return {id(p) for p in found}
