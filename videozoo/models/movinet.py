"""Mobile video networks: small 3-D networks from an architecture search, which can also run on a stream.

Paper: Kondratyuk et al., arXiv:2103.11511.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from timm.layers import make_divisible
from torch import Tensor, nn

from videozoo.errors import ConfigError
from videozoo.layers.conv3d import Conv3d
from videozoo.models.model import DropoutClassifier, State
from videozoo.models.registry import register_model
from videozoo.shapes import Float

__all__ = ["Movinet"]

Size = tuple[int, int, int]  # along t, h and w
ConvType = Literal["3d", "2plus1d"]

Memory = dict[nn.Module, Tensor]
"""The earlier frames that each layer of a causal network keeps (section 3.2)."""


@dataclasses.dataclass(frozen=True)
class BlockSize:
    """A row of table 1 of the paper. Blocks without padding lose a spatial border."""

    channels: int
    expanded: int
    kernel: Size
    stride: int = 1
    is_padded: bool = True


A0_STEM, A0_LAST, A0_HIDDEN = 8, 480, 2048
A0 = (
    BlockSize(8, 24, (1, 5, 5), stride=2),
    BlockSize(32, 80, (3, 3, 3), stride=2, is_padded=False),
    BlockSize(32, 80, (3, 3, 3)),
    BlockSize(32, 80, (3, 3, 3)),
    BlockSize(56, 184, (5, 3, 3), stride=2, is_padded=False),
    BlockSize(56, 112, (3, 3, 3)),
    BlockSize(56, 184, (3, 3, 3)),
    BlockSize(56, 184, (5, 3, 3)),
    BlockSize(56, 184, (3, 3, 3)),
    BlockSize(56, 184, (3, 3, 3)),
    BlockSize(56, 184, (3, 3, 3)),
    BlockSize(104, 384, (5, 3, 3), stride=2),
    BlockSize(104, 280, (1, 5, 5)),
    BlockSize(104, 280, (1, 5, 5)),
    BlockSize(104, 344, (1, 5, 5)),
)


@dataclasses.dataclass(frozen=True)
class Flavour:
    """The settings shared by all layers of one network."""

    is_causal: bool
    conv_type: ConvType
    norm_momentum: float

    @property
    def activation(self) -> Callable[[], nn.Module]:
        return nn.SiLU if self.conv_type == "3d" else nn.Hardswish


class Conv(nn.Module):
    """Convolution, normalisation and activation over space and time, jointly ("3d") or in sequence ("2plus1d").

    "2plus1d" has two 2-D convolutions, over [h w] of each frame and over [t h*w], each with its own normalisation and
    activation; the second exists only if the kernel spans more than one frame.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        flavour: Flavour,
        *,
        kernel: Size = (1, 1, 1),
        stride: int = 1,
        is_padded: bool = True,
        groups: int = 1,
        is_normed: bool = True,
        is_active: bool = True,
    ):
        super().__init__()
        self.frames_before = kernel[0] - 1 if flavour.is_causal else 0
        self.is_3d = flavour.conv_type == "3d"
        t, h, w = kernel
        pad_t = 0 if flavour.is_causal else t // 2
        pad = (h // 2, w // 2) if is_padded else (0, 0)

        def layers(conv: type[nn.Module], norm: type[nn.Module], *args: object) -> nn.Sequential:
            modules = [conv(in_channels, out_channels, *args, groups=groups, bias=not is_normed)]
            if is_normed:
                modules.append(norm(out_channels, momentum=flavour.norm_momentum))
            if is_active:
                modules.append(flavour.activation())
            return nn.Sequential(*modules)

        self.time: nn.Module | None = None
        if self.is_3d:
            self.space = layers(Conv3d, nn.BatchNorm3d, kernel, (1, stride, stride), (pad_t, *pad))
        else:
            self.space = layers(nn.Conv2d, nn.BatchNorm2d, (h, w), stride, pad)
            if t > 1:
                self.time = layers(nn.Conv2d, nn.BatchNorm2d, (t, 1), 1, (pad_t, 0))

    def forward(self, x: Tensor, memory: Memory) -> Tensor:
        if self.is_3d:
            return self.space(self._with_past(x, memory))
        t = x.shape[2]
        x = self.space(x.transpose(1, 2).flatten(0, 1)).unflatten(0, (-1, t)).transpose(1, 2)
        if self.time is None:
            return x
        x = self._with_past(x, memory)
        return self.time(x.flatten(3)).unflatten(3, x.shape[3:])

    def _with_past(self, x: Tensor, memory: Memory) -> Tensor:
        """Prepends the earlier frames, zeros at the start, and stores the last frames for the next chunk."""
        if not self.frames_before:
            return x
        before = memory.get(self)
        if before is None:
            before = torch.zeros_like(x[:, :, :1]).expand(-1, -1, self.frames_before, -1, -1)
        x = torch.cat([before, x], 2)
        memory[self] = x[:, :, -self.frames_before :]
        return x


class CumulativeMean(nn.Module):
    """Running mean up to each frame of [b c t 1 1]; its sums are in float64, since streams are long."""

    def forward(self, x: Tensor, memory: Memory) -> Tensor:
        counted = torch.cat([x, torch.ones_like(x[:, :1])], 1)
        sums = counted.to(torch.float32 if x.device.type == "mps" else torch.float64).cumsum(2)  # mps has no float64
        if (before := memory.get(self)) is not None:
            sums = sums + before
        memory[self] = sums[:, :, -1:]
        return (sums[:, :-1] / sums[:, -1:]).to(x.dtype)


class SqueezeExcite(nn.Module):
    """Weights channels by the clip's mean; a causal network uses the running mean and the frame's own mean instead."""

    def __init__(self, channels: int, flavour: Flavour):
        super().__init__()
        factor = 2 if flavour.is_causal else 1
        squeezed = make_divisible(channels // 4 * factor)
        self.mean = CumulativeMean() if flavour.is_causal else None
        self.fc1 = Conv(channels * factor, squeezed, flavour, is_normed=False)
        self.fc2 = Conv(squeezed, channels, flavour, is_normed=False, is_active=False)
        self.gate = nn.Sigmoid() if flavour.conv_type == "3d" else nn.Hardsigmoid()

    def forward(self, x: Tensor, memory: Memory) -> Tensor:
        if self.mean is None:
            seen = x.mean((2, 3, 4), keepdim=True)
        else:
            frames = x.mean((3, 4), keepdim=True)
            seen = torch.cat([self.mean(frames, memory), frames], 1)
        return x * self.gate(self.fc2(self.fc1(seen, memory), memory))


class Block(nn.Module):
    """Inverted residual with a learned scale on the branch, initially zero (arXiv:2003.04887)."""

    def __init__(self, in_channels: int, size: BlockSize, flavour: Flavour):
        super().__init__()
        self.expand = Conv(in_channels, size.expanded, flavour)
        self.deep = Conv(
            size.expanded,
            size.expanded,
            flavour,
            kernel=size.kernel,
            stride=size.stride,
            is_padded=size.is_padded,
            groups=size.expanded,
        )
        self.se = SqueezeExcite(size.expanded, flavour)
        self.project = Conv(size.expanded, size.channels, flavour, is_active=False)
        self.alpha = nn.Parameter(torch.zeros(1))
        self.pool: nn.Module = nn.Identity()
        if size.stride > 1:
            pad = (0, 1, 1) if size.is_padded else (0, 0, 0)
            self.pool = nn.AvgPool3d((1, 3, 3), (1, size.stride, size.stride), pad, count_include_pad=False)
        self.shortcut = None
        if size.stride > 1 or in_channels != size.channels:
            self.shortcut = Conv(in_channels, size.channels, flavour, is_active=False)

    def forward(self, x: Tensor, memory: Memory) -> Tensor:
        shortcut = self.pool(x)
        if self.shortcut is not None:
            shortcut = self.shortcut(shortcut, memory)
        x = self.deep(self.expand(x, memory), memory)
        return shortcut + self.alpha * self.project(self.se(x, memory), memory)


@register_model
class Movinet(DropoutClassifier):
    """MoViNet-A0 (table 1), for whole clips or, if causal, for streams.

    A causal network uses no later frames: convolutions read earlier frames, and means are running means
    (section 3.2). On a stream, the outputs after each frame are those of all frames since the start.

    Input:  clips [b, t, 3, h, w] of any length and 64 px or more; scaled to 0..1 and normalised by ImageNet's mean and
            deviation.
    Output: scores [b, num_classes], or features [b, num_features] when `num_classes` is 0.
    Maps:   [b, 480, t, h, w]; one more layer computes the features from their mean.

    Args:
        num_frames: frames of a clip in `input_shape`.
        is_causal: whether each frame depends on earlier frames only.
        conv_type: "3d", or "2plus1d": a convolution over space, then one over time, with hard-swish activations, for
            processors without 3-D convolutions (section 4.3).
        dropout: share of the features set to zero in training.
        norm_momentum: share of the running statistics that each batch replaces. PaddleVideo uses 0.9, so the last batch
            dominates.
        crop_px: height and width of a frame in `input_shape`.

    Raises:
        ConfigError: the input is not a clip or is too small.
    """

    head_std = None
    usual_recipe = "k400/movinet_a0_50f"

    def __init__(
        self,
        *,
        num_classes: int = 400,
        num_frames: int = 50,
        is_causal: bool = False,
        conv_type: ConvType = "3d",
        dropout: float = 0.2,
        norm_momentum: float = 0.1,
        crop_px: int = 172,
    ):
        super().__init__()
        self.input_shape = (num_frames, 3, crop_px, crop_px)
        self.is_causal = is_causal
        flavour = Flavour(is_causal, conv_type, norm_momentum)
        self.stem = Conv(3, A0_STEM, flavour, kernel=(1, 3, 3), stride=2)
        blocks, channels = [], A0_STEM
        for size in A0:
            blocks.append(Block(channels, size, flavour))
            channels = size.channels
        self.blocks = nn.ModuleList(blocks)
        self.last = Conv(channels, A0_LAST, flavour)
        self.mean = CumulativeMean() if is_causal else None
        self.hidden = nn.Linear(A0_LAST, A0_HIDDEN)
        self.dropout = nn.Dropout(dropout)
        self.num_features = A0_HIDDEN
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        self.reset_classifier(num_classes)

    def forward_features(self, x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b d"]:
        return self._features(x, {})

    def forward_maps(self, x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b _ _ _ _"]:
        return self._maps(x, {})

    def stream_step(
        self, frames: Float[Tensor, "b c h w"], state: Mapping[str, Tensor]
    ) -> tuple[Float[Tensor, "b d"], Float[Tensor, "b k"], State]:
        if not self.is_causal:
            return super().stream_step(frames, state)
        names = {module: name for name, module in self.named_modules()}
        memory = {module: state[name] for module, name in names.items() if name in state}
        features = self._features(frames[:, None], memory)
        return features, self.forward_head(features), {names[module]: tensor for module, tensor in memory.items()}

    def _features(self, x: Tensor, memory: Memory) -> Tensor:
        x = self._maps(x, memory).mean((3, 4), keepdim=True)
        x = x.mean(2, keepdim=True) if self.mean is None else self.mean(x, memory)[:, :, -1:]
        return F.silu(self.hidden(x.flatten(1)))

    def _maps(self, x: Tensor, memory: Memory) -> Tensor:
        if x.ndim != 5 or min(x.shape[-2:]) < 64:
            raise ConfigError(
                f"{self.name}: the input has shape {tuple(x.shape)}; needs clips [b t c h w] of 64 px or more"
            )
        x = self.stem(x.transpose(1, 2), memory)
        for block in self.blocks:
            x = block(x, memory)
        return self.last(x, memory)
