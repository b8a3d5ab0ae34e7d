"""Folds batch norms into the convolutions before them, in a traced graph."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.fx import GraphModule, Node
from torch.nn.utils.fusion import fuse_conv_bn_weights

__all__ = ["fold_batch_norms"]

ATEN = torch.ops.aten
CONVOLUTIONS = {form for conv in (ATEN.conv1d, ATEN.conv2d, ATEN.conv3d) for form in (conv.default, conv.padding)}


def fold_batch_norms(traced: GraphModule) -> int:
    """Folds every batch norm in evaluation mode whose input is a convolution that nothing else reads; counts them."""
    count = 0
    for node in list(traced.graph.nodes):
        if node.target is ATEN.batch_norm.default and _is_foldable(node):
            _fold(traced, node, number=count)
            count += 1
    if count:
        traced.graph.eliminate_dead_code()
        _drop_unread(traced)
        traced.recompile()
    return count


def _is_foldable(norm: Node) -> bool:
    convolution, is_training = norm.args[0], norm.args[5]
    return (
        not is_training
        and isinstance(convolution, Node)
        and convolution.target in CONVOLUTIONS
        and len(convolution.users) == 1
        and all(x is None or (isinstance(x, Node) and x.op == "get_attr") for x in _tensors(norm))
    )


def _tensors(norm: Node) -> list[Any]:
    """Weight and bias of the convolution; weight, bias, mean and variance of the norm."""
    convolution = norm.args[0]
    assert isinstance(convolution, Node)
    weight, bias = convolution.args[1], convolution.args[2] if len(convolution.args) > 2 else None
    return [weight, bias, *norm.args[1:5]]


def _fold(traced: GraphModule, norm: Node, *, number: int) -> None:
    convolution = norm.args[0]
    assert isinstance(convolution, Node)
    weight, bias, scale, shift, mean, variance = (None if x is None else _value(traced, x) for x in _tensors(norm))
    folded = fuse_conv_bn_weights(weight, bias, mean, variance, norm.args[7], scale, shift)  # type: ignore[arg-type]
    names = [f"folded_{number}_{part}" for part in ("weight", "bias")]
    with traced.graph.inserting_before(convolution):
        read = []
        for name, parameter in zip(names, folded, strict=True):
            traced.register_parameter(name, nn.Parameter(parameter.detach().clone(), requires_grad=False))
            read.append(traced.graph.get_attr(name))
    convolution.args = (convolution.args[0], *read, *convolution.args[3:])
    norm.replace_all_uses_with(convolution)
    traced.graph.erase_node(norm)


def _value(traced: GraphModule, node: Node) -> torch.Tensor:
    value: Any = traced
    for part in str(node.target).split("."):
        value = getattr(value, part)
    tensor: torch.Tensor = value
    return tensor


def _drop_unread(traced: GraphModule) -> None:
    """Removes the parameters and buffers that no node reads any more, which a program would store."""
    read = {str(node.target) for node in traced.graph.nodes if node.op == "get_attr"}
    for name in [name for name, _ in (*traced.named_parameters(), *traced.named_buffers()) if name not in read]:
        owner, _, own = name.rpartition(".")
        delattr(traced.get_submodule(owner), own)
