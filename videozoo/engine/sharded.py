"""Parameters in shards over the processes (FSDP2), for models that one device cannot train.

Every function here but `local` is a collective: all processes call it together. What is saved is whole, under the same
names and in the same form as without shards, so that one process reads it.
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

__all__ = ["like", "load_optimizer", "load_whole", "local", "shard", "units", "whole", "whole_optimizer", "whole_state"]

MIN_UNIT = 1_000_000  # parameters of a block that is worth an exchange of its own


def shard(module: nn.Module, optimizer: Optimizer | None = None, *, world: World) -> None:
    """Cuts the parameters of `module` up, in place, and those of `optimizer`, which has no state yet, with them.

    Each process holds 1/n of the parameters, gradients and optimizer state, and all of one block while it computes.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard  # most of a second to import, which few runs need

    # it would go wrong if one were changed in place; no model does, the tests hold each against itself in one piece
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
    names = {id(p): name for name, p in module.named_parameters()}
    mesh = init_device_mesh(world.device.type, (world.size,))
    for unit in units(module):
        fully_shard(unit, mesh=mesh)
    fully_shard(module, mesh=mesh)
    sharded = dict(module.named_parameters())
    for group in optimizer.param_groups if optimizer is not None else ():
        group["params"] = [sharded[names[id(p)]] for p in group["params"]]


def units(module: nn.Module, *, min_params: int | None = None) -> Iterator[nn.Module]:
    """The blocks that are gathered one at a time: members of a list or sequence with at least `min_params` parameters.

    Lists of lists are looked into, and so are the blocks of a model with `open_blocks`; what belongs to no block is
    gathered with the module itself.
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
            is_opened = is_block and is_open  # its parts are what its model calls
            yield from _units(
                child,
                min_params=min_params,
                is_list=holds_blocks or is_opened,
                is_open=is_open and not is_opened,
            )


def local(tensor: Any) -> Tensor:
    """What this process holds of a tensor."""
    held: Tensor = tensor.to_local() if _is_cut(tensor) else tensor
    return held


def whole(tensor: Any) -> Tensor:
    """All of a tensor."""
    gathered: Tensor = tensor.full_tensor() if _is_cut(tensor) else tensor
    return gathered


def whole_state(module: nn.Module, *, world: World, everywhere: bool = False) -> dict[str, Tensor]:
    """The state dict of `module`, whole and on the CPU; empty on all processes but the first, unless `everywhere`.

    Buffers, which each process has its own, are those of the first.
    """
    state: dict[str, Tensor] = {}
    for name, value in module.state_dict().items():
        gathered = whole(value)
        if everywhere and not _is_cut(value):
            gathered = gathered.clone()
            dist.broadcast(gathered, src=0)
        if everywhere or world.is_first:
            state[name] = gathered.detach().cpu()
    return state


def load_whole(module: nn.Module, state: Mapping[str, Tensor], *, strict: bool = True) -> None:
    """Takes a whole state dict, which every process has."""
    ours = module.state_dict()
    module.load_state_dict({k: like(v, ours[k]) if k in ours else v for k, v in state.items()}, strict=strict)


def whole_optimizer(optimizer: Optimizer, *, world: World) -> dict[str, Any]:
    """The state dict of `optimizer`, whole and on the CPU; empty on all processes but the first."""
    state = optimizer.state_dict()
    moments = {}
    for index, values in state["state"].items():
        gathered = {name: whole(v).cpu() if isinstance(v, Tensor) else v for name, v in values.items()}
        if world.is_first:
            moments[index] = gathered
    return {**state, "state": moments} if world.is_first else {}


def load_optimizer(optimizer: Optimizer, state: Mapping[str, Any]) -> None:
    """Takes a whole state dict, which every process has."""
    params = [p for group in optimizer.param_groups for p in group["params"]]
    moments = {
        index: {
            # what has a parameter's shape is cut up as the parameter is; counts of steps are not
            name: like(value, params[index]) if isinstance(value, Tensor) and value.dim() else value
            for name, value in values.items()
        }
        for index, values in state["state"].items()
    }
    optimizer.load_state_dict({**state, "state": moments})


def _is_cut(tensor: Any) -> bool:
    """Whether it is a DTensor, without importing what these are."""
    return hasattr(tensor, "full_tensor")


def like(value: Tensor, target: Any) -> Tensor:
    """A whole tensor, which every process has, cut up as `target` is."""
    if not _is_cut(target) or _is_cut(value):
        return value
    from torch.distributed.tensor import distribute_tensor

    with torch.no_grad():
        return distribute_tensor(value.to(target.device), target.device_mesh, target.placements)
