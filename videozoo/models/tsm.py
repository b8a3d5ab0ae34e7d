"""Temporal Shift Module: a 2-D backbone whose residual branches also read channels of neighbouring frames.

Paper: Lin et al., arXiv:1811.08383.
"""

from __future__ import annotations

import collections
import functools
from collections.abc import Callable
from typing import Any

from timm.models import regnet, resnet
from timm.models._efficientnet_blocks import EdgeResidual, InvertedResidual
from torch import Tensor, nn

from videozoo.errors import ConfigError
from videozoo.layers.dropout import DropoutScaling, scaled_dropout
from videozoo.layers.temporal_shift import Past, Shift, check_fraction
from videozoo.models.image_backbone import Pretrained
from videozoo.models.model import FrameStream
from videozoo.models.param_rule import ParamRule
from videozoo.models.registry import register_model
from videozoo.models.tsn import TSN
from videozoo.shapes import Float

__all__ = ["TSM", "shift_residuals"]


@register_model
class TSM(TSN, FrameStream):
    """A residual backbone with the temporal shift at the start of every residual branch (section 4.1).

    The shift adds no parameters, so TSM and TSN can load each other's weights. The shortcut is not shifted.

    Input:  clips [b, num_segments, 3, h, w], normalised with the backbone's mean and deviation; a causal network takes
            any number of frames.
    Output: scores [b, num_classes], or features [b, num_features] when `num_classes` is 0.

    Args:
        num_segments: frames of a clip; clips with another number are an error, since the network is trained for this
            temporal extent. On a stream, the outputs are those of the latest `num_segments` frames.
        backbone: a timm model with residual convolutions: ResNet, ResNeXt, wide, SE and ECA ResNets, RegNet,
            MobileNet v2 and v3, MNASNet, EfficientNet.
        shift_fraction: share of the channels shifted in each direction. The paper uses 1/8; PaddleVideo 2.x uses
            1 / num_segments, which is the same only for 8 frames.
        shift_every: shift every n-th block of a stage, starting with the first. TSM's authors and MMAction2 use 2 for
            ResNet-101 and 152.
        is_causal: shift from the previous frame only (section 4.3), so that the network runs on streams. A network
            trained with shifts in both directions cannot.
        dropout: share of each frame's features set to zero in training, before averaging.
        dropout_scaling: "training" divides the kept features by 1 - p in training; "inference" multiplies all features
            by 1 - p in inference, as PaddlePaddle's models of 2019 do.
        pretrained, backbone_args, crop_px: as for `tsn`.

    Raises:
        ConfigError: the backbone has no residual convolution, or as for `tsn`.
        WeightsError: the ImageNet weights cannot be fetched.
    """

    head_std = 0.001

    def __init__(
        self,
        *,
        num_classes: int = 400,
        num_segments: int = 8,
        backbone: str = "resnet50",
        pretrained: Pretrained = None,
        backbone_args: dict[str, Any] | None = None,
        shift_fraction: float = 1 / 8,
        shift_every: int = 1,
        is_causal: bool = False,
        dropout: float = 0.5,
        dropout_scaling: DropoutScaling = "training",
        crop_px: int = 224,
    ):
        super().__init__(
            num_classes=num_classes,
            num_segments=num_segments,
            backbone=backbone,
            pretrained=pretrained,
            backbone_args=backbone_args,
            crop_px=crop_px,
        )
        check_fraction(shift_fraction)
        if shift_every < 1:
            raise ConfigError(f"shift_every: got {shift_every}; 1 shifts every block, 2 every second one")
        self.is_causal, self.past = is_causal, Past() if is_causal else None
        shift = functools.partial(Shift, num_frames=num_segments, fraction=shift_fraction, past=self.past)
        if not shift_residuals(self.backbone, shift, every=shift_every):
            raise ConfigError(
                f"backbone: '{backbone}' has no residual convolution to shift; tsm takes a "
                "ResNet, ResNeXt, RegNet, MobileNet v2 or v3, MNASNet or EfficientNet of timm, tsn any timm model"
            )
        self.num_segments = num_segments
        self.shift_fraction, self.shift_every = shift_fraction, shift_every
        self.dropout = scaled_dropout(dropout, dropout_scaling)
        self.param_rules = (
            ParamRule(r"^head\.weight$", lr_scale=5),
            ParamRule(r"^head\.bias$", lr_scale=10, weight_decay=0.0),
        )

    def forward(self, x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b k"]:
        features = self.forward_frames(x)
        return self.head(self.dropout(features).mean(1)) if self.num_classes else features.mean(1)

    def _check(self, x: Tensor) -> None:
        super()._check(x)
        if self.past is not None:
            self.past.num_frames = x.shape[1]
        elif x.shape[1] != self.num_segments:
            raise ConfigError(
                f"{self.name}: the clip has {x.shape[1]} frames; the model was built for "
                f"{self.num_segments}; sample as many, or set num_segments"
            )


_FIRST_OF_BRANCH: dict[type[nn.Module], str] = {
    resnet.BasicBlock: "conv1",
    resnet.Bottleneck: "conv1",
    regnet.Bottleneck: "conv1",
    InvertedResidual: "conv_pw",
    EdgeResidual: "conv_exp",
}


def shift_residuals(backbone: nn.Module, shift: Callable[[str], Shift], *, every: int = 1) -> int:
    """Shifts the input of every `every`-th residual branch per stage of a timm backbone; returns their number.

    `shift` makes the shift of a branch from its name.

    A forward pre-hook applies the shift, so modules and parameters keep their names. Inverted residuals without a
    shortcut are not shifted: the replaced channels would be lost.
    """
    count = 0
    places: collections.Counter[str] = collections.Counter()  # index of the next block in its stage
    for name, block in backbone.named_modules():
        first = _FIRST_OF_BRANCH.get(type(block))
        if first is None:
            continue
        stage = name.rpartition(".")[0]
        if places[stage] % every == 0 and getattr(block, "has_skip", True):
            getattr(block, first).register_forward_pre_hook(functools.partial(_shift_input, shift=shift(name)))
            count += 1
        places[stage] += 1
    return count


def _shift_input(_: nn.Module, args: tuple[Tensor], *, shift: Shift) -> tuple[Tensor]:
    return (shift(args[0]),)
