"""Two-dimensional backbones from timm, with errors that say what to do."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Mapping
from typing import Any, Literal

import timm
from timm.models.resnet import ResNet
from torch import nn

from videozoo.errors import ConfigError, WeightsError

__all__ = ["Pretrained", "image_backbone", "project_first"]

Pretrained = Literal["imagenet"] | None


def image_backbone(name: str, *, pretrained: Pretrained = None, args: Mapping[str, Any] | None = None) -> nn.Module:
    """The timm model `name` without its classifier: images `[n c h w]` to pooled features `[n num_features]`.

    `args` go to timm as they are, e.g. `{"layers": [1, 1, 1, 1], "channels": [16, 32, 64, 128]}` for a narrow
    ResNet.

    Raises:
        ConfigError: timm has no such model, or it does not take these arguments.
        WeightsError: the pretrained weights cannot be fetched.
    """
    if not timm.is_model(name.split(".")[0]):
        near = difflib.get_close_matches(name, timm.list_models(), n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "timm.list_models() names them all"
        raise ConfigError(f"backbone: timm has no model '{name}'; {hint}")
    try:
        backbone = timm.create_model(name, num_classes=0, **dict(args or {}))
    except (TypeError, ValueError, AssertionError, LookupError, RuntimeError) as error:
        raise ConfigError(f"backbone_args: {error}; see the arguments of timm's '{name}'") from error
    if pretrained == "imagenet":
        _load_pretrained(backbone, name)
    return backbone


def project_first(backbone: nn.Module, *, name: str) -> None:
    """Gives the first block of a ResNet-D a shortcut like those of the first blocks of other stages, at stride 1.

    Raises:
        ConfigError: it is no ResNet.
    """
    if not isinstance(backbone, ResNet):
        raise ConfigError(f"backbone: '{name}' is no ResNet, whose first shortcut could have a convolution")
    block: Any = backbone.get_submodule("layer1.0")
    if block.downsample is None:
        channels = block.conv1.in_channels
        norm = nn.BatchNorm2d(channels)
        block.downsample = nn.Sequential(nn.Identity(), nn.Conv2d(channels, channels, 1, bias=False), norm)


def _load_pretrained(backbone: nn.Module, name: str) -> None:
    # what fits a file to the model: positions of another size, names of another version
    fit = getattr(sys.modules[type(backbone).__module__], "checkpoint_filter_fn", None)
    try:
        timm.models.load_pretrained(backbone, num_classes=0, filter_fn=fit)
    except Exception as error:  # timm, huggingface_hub and the network each raise their own kinds
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [""]
        reason = " ".join(lines[: 2 if lines[0].endswith(":") else 1])  # torch lists what did not fit below
        raise WeightsError(
            f"backbone '{name}': no ImageNet weights ({type(error).__name__}: {reason}); connect to the "
            "network, copy the file to the Hugging Face cache (HF_HOME), or say pretrained: null"
        ) from error
