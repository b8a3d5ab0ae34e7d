"""PP-TSM for phones: a MobileNet with the temporal shift in its residual blocks.

Origin: PaddleVideo 2.3; the networks are from Sandler et al., arXiv:1801.04381 (version 2), and Howard et al.,
arXiv:1905.02244 (version 3), the shift from Lin et al., arXiv:1811.08383.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

from timm.layers import SqueezeExcite, make_divisible
from torch import Tensor, nn

from videozoo.errors import ConfigError
from videozoo.layers.dropout import DropoutScaling, scaled_dropout
from videozoo.layers.temporal_shift import Past, Shift, check_fraction
from videozoo.models.model import FrameClassifier
from videozoo.models.registry import register_model
from videozoo.shapes import Float

__all__ = ["PptsmMobile"]

Version = Literal["v2", "v3_large", "v3_small"]
Activation = Callable[[], nn.Module]


class Block(NamedTuple):
    """One block: channels inside and out, kernel, stride, whether it has channel attention, and its activation."""

    hidden: int
    outputs: int
    kernel: int
    stride: int
    has_attention: bool
    activation: Activation


class Network(NamedTuple):
    """A MobileNet: `widened` and `last` are channels of the last convolutions before and after the mean (or None)."""

    stem: int
    blocks: Sequence[Block]
    widened: int
    last: int | None
    activation: Activation
    dropout: float


class Squash(nn.Module):
    """PaddlePaddle's hard sigmoid: x / 5 + 1/2, clamped to 0..1; torch's has the slope 1/6."""

    def forward(self, x: Tensor) -> Tensor:
        return (0.2 * x + 0.5).clamp(0, 1)


class ShiftedBlock(nn.Module):
    """Expansion, depthwise convolution, channel attention and projection; blocks with a shortcut shift in time."""

    def __init__(self, inputs: int, size: Block, *, shift: Shift):
        super().__init__()
        hidden, outputs, kernel, stride, has_attention, activation = size
        self.shift = shift
        self.expand = _conv_norm(inputs, hidden, 1, activation=activation)
        self.depthwise = _conv_norm(hidden, hidden, kernel, stride=stride, groups=hidden, activation=activation)
        self.attention = (
            SqueezeExcite(hidden, rd_channels=hidden // 4, gate_layer=Squash) if has_attention else nn.Identity()
        )
        self.project = _conv_norm(hidden, outputs, 1)
        self.has_shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = self.shift(x) if self.has_shortcut else x
        y = self.project(self.attention(self.depthwise(self.expand(y))))
        return x + y if self.has_shortcut else y


@register_model
class PptsmMobile(FrameClassifier):
    """A MobileNet whose residual blocks shift their input in time; the frames' features are averaged.

    Differs from most MobileNets: the first block expands, too, and the hidden width of channel attention is a quarter
    of the block's, not rounded to multiples of 8. Common ImageNet weights therefore do not fit.

    Input:  clips [b, num_segments, 3, h, w], normalised by ImageNet's mean and deviation.
    Output: scores [b, num_classes], or features [b, num_features] when `num_classes` is 0.
    Maps:   [b, c, num_segments, h, w]; in version 3, one more layer computes the features from their means.

    Args:
        num_segments: frames of a clip.
        version: MobileNet version: "v2", "v3_large" or "v3_small".
        scale: channels of all stages, relative to the published size.
        shift_fraction: share of the channels shifted in each direction. PaddleVideo uses 1 / num_segments.
        is_causal: as for `tsm`.
        dropout: share of each frame's features set to zero in training, before averaging; None uses PaddleVideo's
            values: 0 for version 2, 0.2 for version 3.
        dropout_scaling: as for `tsm`; PaddleVideo's weights were trained with "inference".
        crop_px: height and width of a frame in `input_shape`; the network accepts any size.

    Raises:
        ConfigError: `scale` or `shift_fraction` is out of range, or the input is not a clip of `num_segments` frames.
    """

    head_std = None

    def __init__(
        self,
        *,
        num_classes: int = 400,
        num_segments: int = 8,
        version: Version = "v3_large",
        scale: float = 1.0,
        shift_fraction: float = 1 / 8,
        is_causal: bool = False,
        dropout: float | None = None,
        dropout_scaling: DropoutScaling = "training",
        crop_px: int = 224,
    ):
        super().__init__()
        check_fraction(shift_fraction)
        if scale <= 0:
            raise ConfigError(f"scale: got {scale}; needs a number above 0, 1 for the published width")
        self.input_shape = (num_segments, 3, crop_px, crop_px)
        self.num_segments, self.shift_fraction, self.version = num_segments, shift_fraction, version
        self.is_causal, self.past = is_causal, Past() if is_causal else None
        network = NETWORKS[version](scale)
        self.stem = _conv_norm(3, network.stem, 3, stride=2, activation=network.activation)
        widths = [network.stem, *(block.outputs for block in network.blocks)]
        self.blocks = nn.Sequential(
            *(
                ShiftedBlock(inputs, block, shift=Shift(f"blocks.{i}", num_segments, shift_fraction, self.past))
                for i, (inputs, block) in enumerate(zip(widths[:-1], network.blocks, strict=True))
            )
        )
        self.widen = _conv_norm(widths[-1], network.widened, 1, activation=network.activation)
        self.last = (
            nn.Sequential(nn.Conv2d(network.widened, network.last, 1, bias=False), network.activation())
            if network.last
            else nn.Identity()
        )
        self.num_features = network.last or network.widened
        self.dropout = scaled_dropout(network.dropout if dropout is None else dropout, dropout_scaling)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        self.reset_classifier(num_classes)

    def forward_image_maps(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n _ _ _"]:
        return self.widen(self.blocks(self.stem(x)))

    def pool_images(self, maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
        return self.last(maps.mean((2, 3), keepdim=True)).flatten(1)


def _conv_norm(
    inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1, activation: Activation = nn.Identity
) -> nn.Sequential:
    """Returns a convolution without bias (stride 1 keeps the size), batch normalisation and the activation."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        activation(),
    )


# (expansion of the input channels, output channels, blocks, stride of the first block): table 2 of the paper
V2 = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))

# (kernel, hidden channels, output channels, channel attention, rectifier or hard swish, stride): tables 1 and 2
V3_LARGE = (
    (3, 16, 16, False, "relu", 1),
    (3, 64, 24, False, "relu", 2),
    (3, 72, 24, False, "relu", 1),
    (5, 72, 40, True, "relu", 2),
    (5, 120, 40, True, "relu", 1),
    (5, 120, 40, True, "relu", 1),
    (3, 240, 80, False, "swish", 2),
    (3, 200, 80, False, "swish", 1),
    (3, 184, 80, False, "swish", 1),
    (3, 184, 80, False, "swish", 1),
    (3, 480, 112, True, "swish", 1),
    (3, 672, 112, True, "swish", 1),
    (5, 672, 160, True, "swish", 2),
    (5, 960, 160, True, "swish", 1),
    (5, 960, 160, True, "swish", 1),
)
V3_SMALL = (
    (3, 16, 16, True, "relu", 2),
    (3, 72, 24, False, "relu", 2),
    (3, 88, 24, False, "relu", 1),
    (5, 96, 40, True, "swish", 2),
    (5, 240, 40, True, "swish", 1),
    (5, 240, 40, True, "swish", 1),
    (5, 120, 48, True, "swish", 1),
    (5, 144, 48, True, "swish", 1),
    (5, 288, 96, True, "swish", 2),
    (5, 576, 96, True, "swish", 1),
    (5, 576, 96, True, "swish", 1),
)


def _v2(scale: float) -> Network:
    stem = inputs = int(32 * scale)
    blocks = []
    for expansion, outputs, depth, first_stride in V2:
        for i in range(depth):
            stride = 1 if i else first_stride
            blocks.append(Block(expansion * inputs, int(outputs * scale), 3, stride, False, nn.ReLU6))
            inputs = int(outputs * scale)
    return Network(stem, blocks, int(1280 * max(scale, 1.0)), None, nn.ReLU6, dropout=0.0)


def _v3(scale: float, *, rows: Sequence[tuple[int, int, int, bool, str, int]]) -> Network:
    def width(channels: int) -> int:
        return make_divisible(channels * scale)

    kinds = {"relu": nn.ReLU, "swish": nn.Hardswish}
    blocks = [
        Block(width(inside), width(outputs), kernel, stride, has_attention, kinds[activation])
        for kernel, inside, outputs, has_attention, activation, stride in rows
    ]
    return Network(width(16), blocks, width(rows[-1][1]), 1280, nn.Hardswish, dropout=0.2)


NETWORKS: Mapping[Version, Callable[[float], Network]] = {
    "v2": _v2,
    "v3_large": functools.partial(_v3, rows=V3_LARGE),
    "v3_small": functools.partial(_v3, rows=V3_SMALL),
}
