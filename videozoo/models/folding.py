"""The form of a network for inference: batch norms folded into convolutions, parallel branches merged."""

from __future__ import annotations

import collections
import copy
import functools
import logging
from typing import Any

import torch
from timm.layers import BatchNormAct2d, Conv2dSame
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from videozoo.layers.conv3d import Conv3d
from videozoo.models.model import VideoModel

__all__ = ["Foldable", "folded"]

log = logging.getLogger(__name__)

# subclasses of these may compute their weight or output in another way
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, Conv2dSame, Conv3d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, BatchNormAct2d)


class Foldable(nn.Module):
    """A module that has a cheaper form once its batch norms are folded."""

    def fold(self) -> None:
        """Changes the module to that form, in place."""
        raise NotImplementedError(f"{type(self).__name__}.fold")


def folded(model: VideoModel) -> VideoModel:
    """Returns a copy for inference with the same outputs, in evaluation mode.

    A batch norm is folded if its input is the output of a convolution that nothing else reads. The copy shares all
    other weights with `model`, which stays as it is. A model with nothing to fold is returned uncopied.
    """
    model.eval()
    pairs = _pairs(model) if any(type(module) in NORMS for module in model.modules()) else {}
    if not pairs:
        return model
    found = _copy(model, {id(tensor): tensor for tensor in _tensors(model)})
    with torch.no_grad():
        for conv, norm in pairs.items():
            _fold(found, conv, norm)
        for module in found.modules():
            if isinstance(module, Foldable):
                module.fold()
    return found


def _tensors(model: nn.Module) -> list[Tensor]:
    return [*model.parameters(), *model.buffers()]


def _copy(model: VideoModel, tensors: dict[int, Tensor]) -> VideoModel:
    """Returns a copy that holds the given tensors, by the identity of those in `model`."""
    return copy.deepcopy(model, dict[int, Any](tensors))


def _pairs(model: VideoModel) -> dict[str, str]:
    """Returns the names of convolutions and of the batch norms that follow them, from a pass that computes shapes only.

    A model that cannot run without values has none.
    """
    flow = _Flow()
    try:
        traced = _copy(model, {id(tensor): _shape_of(tensor) for tensor in _tensors(model)})
        for name, module in traced.named_modules():
            if type(module) in CONVOLUTIONS:
                module.register_forward_hook(functools.partial(flow.leave, name))
            elif type(module) in NORMS and module.running_mean is not None:
                module.register_forward_pre_hook(functools.partial(flow.enter, name))
        with torch.no_grad(), flow:
            traced(torch.zeros(1, *model.input_shape, dtype=next(model.parameters()).dtype, device="meta"))
    except Exception as error:  # a model is anyone's code; folding is never worth an answer
        log.debug("%s: batch norms are not folded (%s: %s)", model.name, type(error).__name__, error)
        return {}
    return flow.pairs()


def _shape_of(tensor: Tensor) -> Tensor:
    shape = tensor.detach().to("meta")
    return nn.Parameter(shape, requires_grad=False) if isinstance(tensor, nn.Parameter) else shape


class _Flow(TorchDispatchMode):
    """Follows the outputs of convolutions to the norms and operations that read them."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.outputs: list[tuple[str, Tensor]] = []  # keeps the tensors, so that their identities stay unique
        self.inputs: dict[int, list[str]] = collections.defaultdict(list)
        self.runs: collections.Counter[str] = collections.Counter()
        self.reads: collections.Counter[int] = collections.Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.reads.update(id(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor))
        return func(*args, **(kwargs or {}))

    def leave(self, convolution: str, _: nn.Module, __: tuple[Any, ...], output: Tensor) -> None:
        self.outputs.append((convolution, output))
        self.runs[convolution] += 1
        self.reads[id(output)] = 0  # those of earlier tensors that had this identity
        self.inputs[id(output)] = []

    def enter(self, norm: str, _: nn.Module, args: tuple[Any, ...]) -> None:
        self.inputs[id(args[0])].append(norm)
        self.runs[norm] += 1

    def pairs(self) -> dict[str, str]:
        return {
            conv: norms[0]
            for conv, output in self.outputs
            if len(norms := self.inputs[id(output)]) == 1
            and self.reads[id(output)] == self.runs[conv] == self.runs[norms[0]] == 1
        }


def _fold(model: nn.Module, conv_name: str, norm_name: str) -> None:
    conv: Any = model.get_submodule(conv_name)
    norm: Any = model.get_submodule(norm_name)
    conv.weight, conv.bias = (
        nn.Parameter(tensor.detach(), requires_grad=False)
        for tensor in fuse_conv_bn_weights(
            conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        )
    )
    rest = nn.Sequential(norm.drop, norm.act) if isinstance(norm, BatchNormAct2d) else nn.Identity()
    model.set_submodule(norm_name, rest)
