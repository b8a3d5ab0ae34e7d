"""The temporal shift of other projects: their first channels come from the next frame, ours from the previous one.

The tensors do not show the direction. But the order of channels between residual blocks is free: swapping the two
shifted groups in every layer that writes or reads them converts one convention into the other.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable

import numpy as np
from timm.models.resnet import BasicBlock, Bottleneck, ResNet
from torch import nn

from videozoo.errors import WeightsError
from videozoo.models.model import VideoModel
from videozoo.weights.keymap import Rename, Tensors

__all__ = ["swap_shifted_channels", "wrapped_by_shift"]

Builder = Callable[[str, Tensors], np.ndarray]


def swap_shifted_channels(model: VideoModel, *, source: str) -> dict[str, Builder]:
    """Returns builders for a TSM's `KeyMap` that swap the two groups of shifted channels.

    Raises:
        WeightsError: the backbone is not a plain ResNet, or does not shift the same blocks as those projects'.
    """
    backbone = model.get_submodule("backbone")
    if not isinstance(backbone, ResNet) or not isinstance(backbone.conv1, nn.Conv2d):
        raise WeightsError(f"source '{source}': has tsm on plain ResNets only; build the model with backbone=resnet50")
    every = 2 if len(list(backbone.get_submodule("layer3").children())) >= 23 else 1
    if model.shift_every != every:
        raise WeightsError(
            f"source '{source}': its tsm shifts every block, in ResNet-101 and 152 every second one; this model has "
            f"shift_every={model.shift_every}; build it with shift_every={every}"
        )
    axes: dict[str, tuple[int, ...]] = {"backbone.conv1": (0,), "backbone.bn1": (0,), "head": (1,)}
    for name, module in backbone.named_modules():
        if isinstance(module, BasicBlock | Bottleneck):
            last = 3 if isinstance(module, Bottleneck) else 2
            axes[f"backbone.{name}.conv1"] = (1,)
            axes[f"backbone.{name}.conv{last}"] = (0,)
            axes[f"backbone.{name}.bn{last}"] = (0,)
            if module.downsample is not None:
                axes[f"backbone.{name}.downsample.0"] = (0, 1)
                axes[f"backbone.{name}.downsample.1"] = (0,)
    fraction = float(model.shift_fraction)  # type: ignore[arg-type]
    builders: dict[str, Builder] = {}
    for module_name, along in axes.items():
        leaves = r"\.weight$" if module_name == "head" else r"\.(weight|bias|running_mean|running_var)$"
        builders[f"^{re.escape(module_name)}{leaves}"] = functools.partial(_swapped, along=along, fraction=fraction)
    return builders


def wrapped_by_shift(model: VideoModel, conv: str) -> Rename:
    """Returns the rename of `conv`, the first convolution of a block; those projects wrap it in a module `net`."""

    def wrapped(match: re.Match[str]) -> str:
        return f"{match[1]}.net." if int(match[2]) % int(model.shift_every) == 0 else match[0]  # type: ignore[arg-type]

    return rf"(\blayer\d\.(\d+)\.{re.escape(conv)})\.", wrapped


def _swapped(name: str, state: Tensors, *, along: tuple[int, ...], fraction: float) -> np.ndarray:
    value = state[name]
    for axis in along:
        first, second = int(value.shape[axis] * fraction), int(2 * value.shape[axis] * fraction)
        if second != 2 * first:
            raise WeightsError(
                f"{name}: {value.shape[axis]} channels cannot form two equal groups of {fraction:g} to shift"
            )
        order = np.arange(value.shape[axis])
        order[:second] = np.roll(order[:second], first)
        value = value.take(order, axis)
    return value
