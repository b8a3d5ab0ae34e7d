"""Parameters sharded over the processes (FSDP2), for models too large to train on one device.

Every function here except `local_tensor` is a collective: all processes call it together. Full state dicts have the
names and the format of an unsharded model, so a single process can read them.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Optimizer

from videozoo.engine.distributed import World
from videozoo.errors import ConfigError

__all__ = [
    "full_optimizer_state_dict",
    "full_state_dict",
    "full_tensor",
    "load_full_state_dict",
    "load_optimizer",
    "local_tensor",
    "shard",
    "shard_like",
    "units",
]

MIN_UNIT = 1_000_000  # smallest number of parameters worth sharding as a unit


def shard(module: nn.Module, optimizer: Optimizer | None = None, *, world: World) -> None:
    """Shards the parameters of `module` in place, and with them those of `optimizer`, which must not have state yet.

    Each process holds 1/n of the parameters, gradients and optimizer state, and gathers one unit at a time to compute.

    Raises:
        ConfigError: a parameter is a scalar.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard  # takes most of a second to import, and few runs need it

    # in-place changes of such a view would be wrong; tests compare each model with its unsharded self
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
    names = {id(p): name for name, p in module.named_parameters()}
    if scalars := [name for name, p in module.named_parameters() if not p.ndim]:
        raise ConfigError(
            f"fit.parallel: fsdp cannot shard the scalar {', '.join(scalars)}; use ddp, or a vector of one number"
        )
    mesh = init_device_mesh(world.device.type, (world.size,))
    for unit in units(module):
        fully_shard(unit, mesh=mesh)
    fully_shard(module, mesh=mesh)
    sharded = dict(module.named_parameters())
    for group in optimizer.param_groups if optimizer is not None else ():
        group["params"] = [sharded[names[id(p)]] for p in group["params"]]


def units(module: nn.Module, *, min_params: int | None = None) -> Iterator[nn.Module]:
    """Yields the modules that FSDP shards as separate units: list members with at least `min_params` parameters.

    Nested lists and the blocks of a model with `open_blocks` are searched. Parameters outside every unit are gathered
    with the module itself.
    """
    yield from _units(module, min_params=MIN_UNIT if min_params is None else min_params, is_list=False, is_open=False)


def _units(module: nn.Module, *, min_params: int, is_list: bool, is_open: bool) -> Iterator[nn.Module]:
    is_open = is_open or getattr(module, "open_blocks", False)
    for child in module.children():
        holds_blocks = isinstance(child, nn.ModuleList | nn.Sequential)
        is_block = is_list and not holds_blocks
        if is_block and not is_open and sum(p.numel() for p in child.parameters()) >= min_params:
            yield child
        else:
            is_opened = is_block and is_open  # its model calls the parts separately
            yield from _units(
                child,
                min_params=min_params,
                is_list=holds_blocks or is_opened,
                is_open=is_open and not is_opened,
            )


def local_tensor(tensor: Any) -> Tensor:
    """Returns this process's shard of a tensor."""
    held: Tensor = tensor.to_local() if _is_sharded(tensor) else tensor
    return held


def full_tensor(tensor: Any) -> Tensor:
    """Returns the full tensor."""
    gathered: Tensor = tensor.full_tensor() if _is_sharded(tensor) else tensor
    return gathered


def full_state_dict(module: nn.Module, *, world: World, everywhere: bool = False) -> dict[str, Tensor]:
    """Returns the full state dict of `module` on the CPU; empty except on the first process, unless `everywhere`.

    Buffers are not sharded; those of the first process are returned.
    """
    state: dict[str, Tensor] = {}
    for name, value in module.state_dict().items():
        gathered = full_tensor(value)
        if everywhere and not _is_sharded(value):
            gathered = gathered.clone()
            dist.broadcast(gathered, src=0)
        if everywhere or world.is_first:
            state[name] = gathered.detach().cpu()
    return state


def load_full_state_dict(module: nn.Module, state: Mapping[str, Tensor], *, strict: bool = True) -> None:
    """Loads a full state dict, the same on every process."""
    ours = module.state_dict()
    module.load_state_dict({k: shard_like(v, ours[k]) if k in ours else v for k, v in state.items()}, strict=strict)


def full_optimizer_state_dict(optimizer: Optimizer, *, world: World) -> dict[str, Any]:
    """Returns the full state dict of `optimizer` on the CPU; empty except on the first process."""
    state = optimizer.state_dict()
    moments = {}
    for index, values in state["state"].items():
        gathered = {name: full_tensor(v).cpu() if isinstance(v, Tensor) else v for name, v in values.items()}
        if world.is_first:
            moments[index] = gathered
    return {**state, "state": moments} if world.is_first else {}


def load_optimizer(optimizer: Optimizer, state: Mapping[str, Any]) -> None:
    """Loads a full state dict, the same on every process."""
    params = [p for group in optimizer.param_groups for p in group["params"]]
    moments = {
        index: {
            # tensors of a parameter's shape are sharded like the parameter; step counts are not
            name: shard_like(value, params[index]) if isinstance(value, Tensor) and value.dim() else value
            for name, value in values.items()
        }
        for index, values in state["state"].items()
    }
    optimizer.load_state_dict({**state, "state": moments})


def _is_sharded(tensor: Any) -> bool:
    """Returns whether `tensor` is a DTensor, without importing that class."""
    return hasattr(tensor, "full_tensor")


def shard_like(value: Tensor, target: Any) -> Tensor:
    """Shards a full tensor, the same on every process, like `target`."""
    if not _is_sharded(target) or _is_sharded(value):
        return value
    from torch.distributed.tensor import distribute_tensor

    with torch.no_grad():
        return distribute_tensor(value.to(target.device), target.device_mesh, target.placements)
