"""PP-TSMv2: one temporal shift in a small convolutional network.

Origin: PaddleVideo 2.x; the network is PP-LCNetV2 of PaddleClas, the shift is from Lin et al., arXiv:1811.08383, the
parallel convolutions from Ding et al., arXiv:2101.03697.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch.nn.functional as F
from timm.layers import SqueezeExcite, make_divisible
from torch import Tensor, nn

from videozoo.errors import ConfigError
from videozoo.layers.dropout import DropoutScaling, scaled_dropout
from videozoo.layers.temporal_shift import Past, Shift, check_fraction
from videozoo.models.folding import Foldable
from videozoo.models.model import FrameClassifier
from videozoo.models.param_rule import ParamRule
from videozoo.models.registry import register_model
from videozoo.shapes import Float

__all__ = ["PptsmV2"]

DEPTHS = (2, 2, 6, 2)  # blocks per stage
SHIFTED_STAGE = 2  # the stage with the shifted input


class ConvNorm(nn.Module):
    """Convolution without bias (stride 1 keeps the size), batch normalisation and, if `is_active`, a rectifier."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1, is_active: bool = True
    ):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        self.is_active = is_active

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x))
        return F.relu(x, inplace=True) if self.is_active else x


class Depthwise(Foldable):
    """The rectified sum of parallel depthwise convolutions of several sizes, the largest first."""

    def __init__(self, channels: int, kernels: tuple[int, ...], stride: int):
        super().__init__()
        self.branches = nn.ModuleList(
            ConvNorm(channels, channels, kernel, stride=stride, groups=channels, is_active=False) for kernel in kernels
        )

    def forward(self, x: Tensor) -> Tensor:
        first, *others = self.branches
        y = first(x)
        for branch in others:
            y = y + branch(x)
        return F.relu(y, inplace=True)

    def fold(self) -> None:
        """Merges the branches into one convolution (arXiv:2101.03697, section 3.3)."""
        convs: list[Any] = [branch.conv for branch in self.branches]
        first, *others = convs
        for conv in others:
            border = (first.kernel_size[0] - conv.kernel_size[0]) // 2
            first.weight += F.pad(conv.weight, (border,) * 4)
            first.bias += conv.bias
        self.branches = self.branches[:1]


class SeparableBlock(nn.Module):
    """Depthwise convolution, optional channel attention, and one or two pointwise convolutions."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernels: tuple[int, ...],
        *,
        stride: int = 1,
        has_attention: bool = False,
        is_narrowed: bool = False,
        has_shortcut: bool = False,
    ):
        super().__init__()
        self.depthwise = Depthwise(inputs, kernels, stride)
        self.attention = SqueezeExcite(inputs, rd_channels=inputs // 4) if has_attention else nn.Identity()
        widths = (inputs, outputs // 2, outputs) if is_narrowed else (inputs, outputs)
        self.pointwise = nn.Sequential(*(ConvNorm(a, b, 1) for a, b in itertools.pairwise(widths)))
        self.has_shortcut = has_shortcut

    def forward(self, x: Tensor) -> Tensor:
        y = self.pointwise(self.attention(self.depthwise(x)))
        return x + y if self.has_shortcut else y


class FrameAttention(nn.Module):
    """Frames weighted by numbers in 0..1 that one linear layer makes of the means of all of them."""

    def __init__(self, num_frames: int):
        super().__init__()
        self.fc = nn.Linear(num_frames, num_frames)

    def forward(self, x: Tensor) -> Tensor:
        """Maps [b*t c h w] to the same shape."""
        means = x.mean((1, 2, 3)).unflatten(0, (-1, self.fc.in_features))
        return x * self.fc(means).sigmoid().flatten().view(-1, 1, 1, 1)


@register_model
class PptsmV2(FrameClassifier):
    """PP-LCNetV2 with one temporal shift, before its third stage; the frames' features are averaged.

    Input:  clips [b, num_segments, 3, h, w], normalised by ImageNet's mean and deviation.
    Output: scores [b, num_classes], or features [b, num_features] when `num_classes` is 0.
    Maps:   [b, c, num_segments, h, w]; one more layer computes the features from their means.

    Args:
        num_segments: frames of a clip.
        scale: channels of all stages, relative to the published size.
        last_width: channels of the last convolution, which are the features.
        shift_fraction: share of the channels shifted in each direction. PaddleVideo uses 1 / num_segments.
        is_causal: as for `tsm`.
        frame_attention: weight the frames before the shift, as in PaddleVideo's distilled models of 16 frames. The
            weights depend on all frames of a clip.
        dropout: share of each frame's features set to zero in training, before averaging.
        dropout_scaling: as for `tsm`; PaddleVideo's weights were trained with "inference".
        crop_px: height and width of a frame in `input_shape`; the network accepts any size.

    Raises:
        ConfigError: `scale` or `shift_fraction` is out of range, `is_causal` and `frame_attention` are both set, or the
            input is not a clip of `num_segments` frames.
    """

    head_std = None

    def __init__(
        self,
        *,
        num_classes: int = 400,
        num_segments: int = 8,
        scale: float = 1.0,
        last_width: int = 1280,
        shift_fraction: float = 1 / 8,
        is_causal: bool = False,
        frame_attention: bool = False,
        dropout: float = 0.2,
        dropout_scaling: DropoutScaling = "training",
        crop_px: int = 224,
    ):
        super().__init__()
        check_fraction(shift_fraction)
        if scale <= 0:
            raise ConfigError(f"scale: got {scale}; needs a number above 0, 1 for the published width")
        self.input_shape = (num_segments, 3, crop_px, crop_px)
        if is_causal and frame_attention:
            raise ConfigError(
                "is_causal: is true with frame_attention, which reads all frames of a clip; set only one of them"
            )
        self.num_segments, self.shift_fraction = num_segments, shift_fraction
        self.is_causal, self.past = is_causal, Past() if is_causal else None
        self.shift = Shift("shift", num_segments, shift_fraction, self.past)
        widths = [make_divisible(channels * scale) for channels in (32, 64, 128, 256, 512, 1024)]
        self.stem = nn.Sequential(ConvNorm(3, widths[0], 3, stride=2), SeparableBlock(widths[0], widths[1], (3,)))
        self.stages = nn.ModuleList(_stage(i, widths[i + 1], widths[i + 2]) for i in range(len(DEPTHS)))
        self.attention = FrameAttention(num_segments) if frame_attention else nn.Identity()
        self.last = nn.Conv2d(widths[-1], last_width, 1, bias=False)
        self.dropout = scaled_dropout(dropout, dropout_scaling)
        self.num_features = last_width
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        self.reset_classifier(num_classes)
        if frame_attention:
            self.param_rules = (
                ParamRule(r"^attention\.fc\.weight$", lr_scale=5),
                ParamRule(r"^attention\.fc\.bias$", lr_scale=10, weight_decay=0.0),
            )

    def forward_image_maps(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n _ _ _"]:
        x = self.stem(x)
        for i, stage in enumerate(self.stages):
            if i == SHIFTED_STAGE:
                x = self.shift(self.attention(x))
            x = stage(x)
        return x

    def pool_images(self, maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
        return F.relu(self.last(maps.mean((2, 3), keepdim=True))).flatten(1)


def _stage(index: int, inputs: int, outputs: int) -> nn.Sequential:
    """Returns stage `index`. Its first block halves the size; the last two stages have parallel kernels."""

    def kernels(stride: int) -> tuple[int, ...]:
        if index < 2:
            return (3,)
        return (5, 3, 1) if stride == 1 else (5, 3)

    kind = {"has_attention": index == 2, "is_narrowed": index == 2}
    return nn.Sequential(
        SeparableBlock(inputs, outputs, kernels(2), stride=2, **kind),
        *(
            SeparableBlock(outputs, outputs, kernels(1), has_shortcut=index == 3, **kind)
            for _ in range(DEPTHS[index] - 1)
        ),
    )
