"""The memory format of a model's computation: channels last, if that is safe."""

from __future__ import annotations

import torch
from torch import nn

from videozoo.layers.linear import PointwiseLinear, convolutions_are_faster

__all__ = ["channels_last"]


def channels_last(model: nn.Module, *, is_trained_on: torch.device | None = None) -> bool:
    """Converts convolution weights to the channels-last format, in place; activations then follow this format.

    Linear layers run as convolutions of this format on processors where these are faster.

    Args:
        is_trained_on: the device of a training run; None for inference.

    Returns whether the weights were converted. They are not if a model with a strided 1x1 convolution of fewer than 8
    channels is trained on a CPU: in this format its weight gradient writes beyond its memory (torch 2.15 on AVX2: wrong
    gradients, corrupted heap).
    """
    if is_trained_on is not None and is_trained_on.type == "cpu" and _has_thin_projection(model):
        return False
    if convolutions_are_faster():
        for module in model.modules():
            if type(module) is nn.Linear:
                module.__class__ = PointwiseLinear  # in place: references to the module stay valid
    for parameter in model.parameters():
        if parameter.dim() in (4, 5):
            form = torch.channels_last if parameter.dim() == 4 else torch.channels_last_3d
            parameter.data = parameter.data.to(memory_format=form)
    return True


def _has_thin_projection(model: nn.Module) -> bool:
    return any(
        isinstance(module, nn.Conv2d | nn.Conv3d)
        and module.in_channels < 8
        and set(module.kernel_size) == {1}
        and max(module.stride) > 1
        for module in model.modules()
    )
