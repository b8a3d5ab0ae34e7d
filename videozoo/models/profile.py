"""The cost of a model: parameters, operations and activation memory, measured on one clip."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from videozoo.models.model import VideoModel

__all__ = ["LayerProfile", "Profile", "profile"]


@dataclasses.dataclass(frozen=True)
class LayerProfile:
    """One layer: dotted name, class, output shape without the batch axis, parameters and operations."""

    name: str
    kind: str
    output_shape: tuple[int, ...]
    num_params: int
    flops: int


@dataclasses.dataclass(frozen=True)
class Profile:
    """The cost of a model on one clip of its input shape.

    flops: floating-point operations of convolutions, linear layers and attention in a forward pass; a multiply-add
        counts as two.
    saved_bytes: size of the tensors that autograd keeps for the backward pass in training mode, without parameters and
        buffers; each storage counts once. The allocator's peak is higher by its workspace.
    """

    name: str
    input_shape: tuple[int, ...]
    num_params: int
    weight_bytes: int
    flops: int
    saved_bytes: int
    layers: tuple[LayerProfile, ...]


def profile(model: VideoModel) -> Profile:
    """Measures `model` on its current device."""
    device = next(model.parameters()).device
    clip = torch.zeros(1, *model.input_shape, device=device)
    shapes: dict[str, tuple[int, ...]] = {}
    hooks = [
        module.register_forward_hook(lambda _, __, out, name=name: shapes.update({name: _shape(out)}))
        for name, module in model.named_modules()
        if name
    ]
    was_training = model.training
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model.eval()(clip)
    finally:
        for hook in hooks:
            hook.remove()
    try:
        saved_bytes = _saved_bytes(model, clip)
    except ValueError:  # batch norms reject a single value
        saved_bytes = _saved_bytes(model, torch.cat([clip, clip])) // 2
    model.train(was_training)
    flops = {name: sum(ops.values()) for name, ops in counter.get_flop_counts().items()}
    root = type(model).__name__
    layers = tuple(
        LayerProfile(
            name=name,
            kind=type(module).__name__,
            output_shape=shapes.get(name, ()),
            num_params=_num_params(module),
            flops=_flops(module, f"{root}.{name}", flops),
        )
        for name, module in model.named_modules()
        if name
    )
    return Profile(
        name=model.name,
        input_shape=tuple(model.input_shape),
        num_params=_num_params(model),
        weight_bytes=sum(p.numel() * p.element_size() for p in model.parameters()),
        flops=int(counter.get_total_flops()),
        saved_bytes=saved_bytes,
        layers=layers,
    )


def _saved_bytes(model: VideoModel, clip: Tensor) -> int:
    own = {t.untyped_storage().data_ptr() for t in [*model.parameters(), *model.buffers()]}
    seen: dict[int, int] = {}
    held: list[Tensor] = []  # keeps storages alive, so that no address is reused

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            seen[storage.data_ptr()] = storage.nbytes()
            held.append(tensor)
        return tensor

    # batch norms update copies of their buffers, so the model's statistics do not change
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    own |= {buffer.untyped_storage().data_ptr() for buffer in buffers.values()}
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        torch.func.functional_call(model.train(), buffers, (clip,))
    return sum(seen.values())


def _flops(module: nn.Module, name: str, counted: Mapping[str, int]) -> int:
    """Returns the operations of a module; a container that is not called itself gets the sum of its children."""
    if name in counted:
        return int(counted[name])
    return sum(_flops(child, f"{name}.{part}", counted) for part, child in module.named_children())


def _num_params(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _shape(output: Any) -> tuple[int, ...]:
    return tuple(output.shape[1:]) if isinstance(output, Tensor) else ()
