"""Non-local networks: 3-D ResNets with attention between all positions in space and time.

Paper: Wang et al., arXiv:1711.07971.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from videozoo.errors import ConfigError
from videozoo.layers.conv3d import Conv3d
from videozoo.layers.dropout import DropoutScaling, scaled_dropout
from videozoo.layers.inflate import inflate
from videozoo.layers.resnet3d import BLOCKS_BY_DEPTH, Bottleneck3d, ConvNorm3d
from videozoo.models.image_backbone import Pretrained, image_backbone
from videozoo.models.model import WindowClassifier
from videozoo.models.registry import register_model
from videozoo.shapes import Float

__all__ = ["Nonlocal", "NonlocalBlock"]


class NonlocalBlock(nn.Module):
    """Embedded-Gaussian attention over space and time, added to its input (section 3.2, figure 2).

    The last layer (the normalisation, if there is one) starts at zero, so a new block is the identity.

    Args:
        scale: divide the scores by the square root of their width, as transformers do; the paper does not.
        pool: halve height and width of keys and values ("sub-sampling", section 3.3).
        bias: whether the four convolutions have a bias.
        norm: normalise the attention's output before the addition.
        init_std: standard deviation of the convolutions' initial weights.
    """

    def __init__(
        self,
        channels: int,
        *,
        scale: bool = True,
        pool: bool = True,
        bias: bool = True,
        norm: bool = True,
        init_std: float = 0.01,
    ):
        super().__init__()
        inner = channels // 2
        self.theta = Conv3d(channels, inner, 1, bias=bias)
        self.phi = Conv3d(channels, inner, 1, bias=bias)
        self.g = Conv3d(channels, inner, 1, bias=bias)
        self.out = Conv3d(inner, channels, 1, bias=bias)
        self.norm = nn.BatchNorm3d(channels) if norm else nn.Identity()
        self.pool = nn.MaxPool3d((1, 2, 2)) if pool else nn.Identity()
        self.scale = None if scale else 1.0
        for conv in (self.theta, self.phi, self.g, self.out):
            nn.init.normal_(conv.weight, std=init_std)
            if conv.bias is not None:
                nn.init.zeros_(conv.bias)
        nn.init.zeros_(self.norm.weight if isinstance(self.norm, nn.BatchNorm3d) else self.out.weight)

    def forward(self, x: Tensor) -> Tensor:
        pooled = self.pool(x) if min(x.shape[-2:]) > 1 else x
        # an axis for the one head: the ONNX exporter supports attention only with a head axis
        query, key, value = (
            y.flatten(2).transpose(1, 2).unsqueeze(1) for y in (self.theta(x), self.phi(pooled), self.g(pooled))
        )
        attended = F.scaled_dot_product_attention(query, key, value, scale=self.scale).squeeze(1).transpose(1, 2)
        return x + self.norm(self.out(attended.reshape(x.shape[0], -1, *x.shape[2:])))


@register_model
class Nonlocal(WindowClassifier):
    """A 3-D ResNet with five non-local blocks in res3 and res4, on C2D or I3D (section 4, tables 1 and 2).

    "c2d" has no temporal convolution; "i3d" inflates the first convolution and every second residual block. A max-pool
    after res2 halves time once. At depth 101, attention follows every seventh block of res4.

    Input:  clips [b, t, 3, h, w], t even (unless `time_pool` is False); normalised with mean 0.45 and deviation 0.225.
    Output: scores [b, num_classes], or features [b, num_features] when `num_classes` is 0. Frames larger than
            `crop_px` are scored in overlapping windows of that size, and the windows' probabilities are averaged;
            the scores are then log probabilities.

    Args:
        arch: "c2d" or "i3d".
        depth: 50, 101 or 152; 26 for small data.
        pretrained: "imagenet" starts from timm's ResNet weights of the same depth, inflated over time; None starts from
            random weights.
        attention: False removes the non-local blocks, which gives the paper's baselines.
        attention_blocks: indices (from 0) of the residual blocks of res3 and of res4 before an attention block; None
            uses the paper's.
        attention_scale, attention_pool, attention_bias, attention_norm: arguments of `NonlocalBlock`.
        stem_padding: padding of the first max-pool, in pixels; PySlowFast uses 1.
        time_pool: whether to halve time after res2; False matches PySlowFast's "nopool" networks.
        width: channels of the stem.
        crop_px: size of one window of the classifier, in pixels of the frame.
        dropout_scaling: "training" divides the kept features by 1 - p in training; "inference" multiplies all features
            by 1 - p in inference, as PaddlePaddle's model of 2019 does.

    Raises:
        ConfigError: `num_frames` is odd, `attention_blocks` has an invalid index, or there are no ImageNet weights of
            this depth and width.
        WeightsError: the ImageNet weights cannot be fetched.
    """

    usual_recipe = "k400/nonlocal_i3d_r50_8f"

    def __init__(
        self,
        *,
        num_classes: int = 400,
        arch: Literal["c2d", "i3d"] = "i3d",
        depth: Literal[26, 50, 101, 152] = 50,
        num_frames: int = 8,
        pretrained: Pretrained = None,
        attention: bool = True,
        attention_blocks: tuple[Sequence[int], Sequence[int]] | None = None,
        attention_scale: bool = True,
        attention_pool: bool = True,
        attention_bias: bool = True,
        attention_norm: bool = True,
        stem_padding: Literal[0, 1] = 0,
        time_pool: bool = True,
        width: int = 64,
        dropout: float = 0.5,
        dropout_scaling: DropoutScaling = "training",
        crop_px: int = 224,
    ):
        super().__init__()
        if time_pool and num_frames % 2:
            raise ConfigError(f"nonlocal: num_frames={num_frames} is odd; the model halves time, give an even number")
        self.input_shape = (num_frames, 3, crop_px, crop_px)
        self.window = _map_px(crop_px, stem_padding)
        self.stem_padding = stem_padding
        inflated = arch == "i3d"
        self.stem = nn.Sequential(
            ConvNorm3d(3, width, (5 if inflated else 1, 7, 7), stride=(1, 2, 2)),
            nn.ReLU(inplace=True),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, stem_padding, stem_padding)),
        )
        blocks = BLOCKS_BY_DEPTH[depth]
        if attention_blocks is None:
            attention_blocks = range(1, blocks[1], 2), range(6, 23, 7) if depth == 101 else range(1, blocks[2], 2)
        for places, count in zip(attention_blocks, blocks[1:3], strict=True):
            if not all(0 <= place < count for place in places):
                raise ConfigError(
                    f"nonlocal: attention_blocks has {list(places)}; that stage has the blocks 0 to {count - 1}"
                )
        attended = {1: attention_blocks[0], 2: attention_blocks[1]} if attention else {}
        stages = []
        in_channels = width
        for stage, count in enumerate(blocks):
            out_channels = 4 * width * 2**stage
            new_stage = _Stage(
                in_channels,
                width * 2**stage,
                temporal_kernels=[3 if inflated and _is_inflated(stage, i) else 1 for i in range(count)],
                stride=1 if stage == 0 else 2,
            )
            for block in sorted(attended.get(stage, ())):
                new_stage.attention[str(block)] = NonlocalBlock(
                    out_channels, scale=attention_scale, pool=attention_pool, bias=attention_bias, norm=attention_norm
                )
            stages.append(new_stage)
            in_channels = out_channels
        self.stages = nn.ModuleList(stages)
        self.time_pool = nn.MaxPool3d((2, 1, 1)) if time_pool else nn.Identity()
        self.dropout = scaled_dropout(dropout, dropout_scaling)
        self.num_features = in_channels
        self.reset_classifier(num_classes)
        if pretrained is not None:
            if depth == 26 or width != 64:
                raise ConfigError(
                    f"nonlocal: there are no ImageNet weights of depth={depth} and width={width}; take depth 50, 101 "
                    "or 152 and width 64, or add model.pretrained=null"
                )
            self._inflate(image_backbone(f"resnet{depth}", pretrained=pretrained))

    def forward_maps(self, x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b _ _ _ _"]:
        if x.shape[1] % 2 and isinstance(self.time_pool, nn.MaxPool3d):
            raise ConfigError(f"nonlocal: the clip has {x.shape[1]} frames; the model halves time, give an even number")
        x = self.stem(x.transpose(1, 2))
        for index, stage in enumerate(self.stages):
            x = stage(x)
            if index == 0:
                x = self.time_pool(x)
        return x

    @torch.no_grad()
    def _inflate(self, resnet: Any) -> None:
        """Copies the inflated weights of a 2-D ResNet of the same depth; attention keeps its initial weights."""
        _start(self.stem[0], resnet.conv1, resnet.bn1)
        for stage, blocks in zip(
            self.stages, (resnet.layer1, resnet.layer2, resnet.layer3, resnet.layer4), strict=True
        ):
            for ours, theirs in zip(stage.blocks, blocks, strict=True):  # type: ignore[arg-type]
                for i, part in enumerate((ours.a, ours.b, ours.c), start=1):
                    _start(part, getattr(theirs, f"conv{i}"), getattr(theirs, f"bn{i}"))
                if theirs.downsample is not None:
                    _start(ours.shortcut, *theirs.downsample)


class _Stage(nn.Module):
    """Residual blocks; `attention` maps a block's index to the attention after it."""

    def __init__(self, in_channels: int, width: int, *, temporal_kernels: list[int], stride: int):
        super().__init__()
        out_channels = 4 * width
        self.blocks = nn.ModuleList(
            Bottleneck3d(
                out_channels if i else in_channels,
                width,
                out_channels,
                temporal_kernel=kernel,
                stride=1 if i else stride,
            )
            for i, kernel in enumerate(temporal_kernels)
        )
        self.attention = nn.ModuleDict()

    def forward(self, x: Tensor) -> Tensor:
        for i, block in enumerate(self.blocks):
            x = block(x)
            if str(i) in self.attention:
                x = self.attention[str(i)](x)
        return x


def _start(ours: Any, conv: nn.Conv2d, norm: nn.Module) -> None:
    ours.conv.weight.copy_(inflate(conv.weight, ours.conv.kernel_size[0]))
    ours.norm.load_state_dict(norm.state_dict())


def _is_inflated(stage: int, block: int) -> bool:
    """Returns whether I3D inflates a block: all blocks of res2, then every second block (in res5 the second)."""
    return stage == 0 or block % 2 == (1 if stage == 3 else 0)


def _map_px(crop_px: int, stem_padding: int) -> int:
    """Returns the height of the last feature map for a crop of that height."""
    size = (crop_px + 2 * 3 - 7) // 2 + 1
    size = (size + 2 * stem_padding - 3) // 2 + 1
    for _ in range(3):
        size = (size - 1) // 2 + 1
    return max(size, 1)
