"""Video Swin Transformer: attention in local windows of space and time, shifted in every second block.

Paper: Liu et al., arXiv:2106.13230.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from timm.layers import DropPath, Mlp
from torch import Tensor, nn

from videozoo.errors import ConfigError
from videozoo.layers.inflate import inflate
from videozoo.models.image_backbone import Pretrained, image_backbone
from videozoo.models.model import DropoutClassifier
from videozoo.models.param_rule import ParamRule
from videozoo.models.registry import register_model
from videozoo.shapes import Float

__all__ = ["Videoswin"]

Size = tuple[int, int, int]  # along t, h and w
SmallMaps = Literal["positions", "prefix"]

IMAGE_SWINS = {  # timm's networks of the same width and depths
    (96, (2, 2, 6, 2)): "swin_tiny_patch4_window7_224",
    (96, (2, 2, 18, 2)): "swin_small_patch4_window7_224",
    (128, (2, 2, 18, 2)): "swin_base_patch4_window7_224",
}

MASKED = -100.0  # the value of the published training; e^-100 is practically 0


class WindowAttention(nn.Module):
    """Attention among the tokens of one window, with a learned bias for each relative position (section 3.2).

    `small_maps` selects the rows of the bias table for windows clipped to a smaller map, see `videoswin`.
    """

    relative_position_index: Tensor

    def __init__(self, width: int, num_heads: int, window: Size, small_maps: SmallMaps):
        super().__init__()
        self.num_heads, self.window, self.small_maps = num_heads, window, small_maps
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.relative_position_bias_table = nn.Parameter(
            torch.empty(math.prod(2 * size - 1 for size in window), num_heads)
        )
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        self.register_buffer("relative_position_index", _relative_positions(window), persistent=False)

    def forward(self, x: Tensor, window: Size, mask: Tensor | None) -> Tensor:
        """Maps windows [b w n c] of size `window` to the same shape; `mask` [w n n] is added to the scores."""
        b, w, n, _ = x.shape
        qkv = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).permute(3, 0, 1, 4, 2, 5)
        bias = self._bias(window)
        if mask is None:  # one bias for all windows
            query, key, value = qkv.flatten(1, 2)
        else:
            query, key, value = qkv.flatten(2, 3)
            bias = (bias + mask.unsqueeze(1)).flatten(0, 1)
        y = F.scaled_dot_product_attention(query, key, value, attn_mask=bias.to(query.dtype).unsqueeze(0))
        y = y.reshape(b, w, self.num_heads, n, -1).transpose(2, 3)
        # always a copy: the output of the ONNX exporter's attention has another memory layout
        return self.proj(y.clone(memory_format=torch.contiguous_format).flatten(3))

    def _bias(self, window: Size) -> Tensor:
        """Returns the biases [heads n n] of a window no larger than the table's."""
        index = self.relative_position_index
        if window != self.window:
            n = math.prod(window)
            tokens = torch.arange(index.shape[0], device=index.device)
            if self.small_maps == "positions":
                t, h, w = window
                tokens = tokens.view(self.window)[:t, :h, :w].flatten()
            index = index[tokens[:n]][:, tokens[:n]]
        return self.relative_position_bias_table[index].permute(2, 0, 1)


class SwinBlock(nn.Module):
    """Window attention, then an MLP, both as pre-normalised residual branches."""

    def __init__(
        self,
        width: int,
        num_heads: int,
        window: Size,
        *,
        is_shifted: bool,
        mlp_ratio: float,
        drop_path: float,
        small_maps: SmallMaps,
    ):
        super().__init__()
        self.is_shifted = is_shifted
        self.norm1 = nn.LayerNorm(width)
        self.attn = WindowAttention(width, num_heads, window, small_maps)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Mlp(width, int(width * mlp_ratio))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, window: Size, shift: Size, mask: Tensor | None) -> Tensor:
        """Maps [b t h w c] to the same shape; only a shifted block uses `shift` and `mask`."""
        if not self.is_shifted:
            shift, mask = (0, 0, 0), None
        y = _pad(self.norm1(x), window)
        _, *padded, _ = y.shape
        y = torch.roll(y, [-by for by in shift], (1, 2, 3)) if any(shift) else y
        y = _unsplit(self.attn(_split(y, window), window, mask), window, padded)
        y = torch.roll(y, shift, (1, 2, 3)) if any(shift) else y
        x = x + self.drop_path(y[:, : x.shape[1], : x.shape[2], : x.shape[3]])
        return x + self.drop_path(self.mlp(self.norm2(x)))


class PatchMerging(nn.Module):
    """Halves height and width: merges four neighbouring tokens into one of twice the width."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(4 * width)
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = _pad(x, (1, 2, 2))
        corners = [x[:, :, i::2, j::2] for j in (0, 1) for i in (0, 1)]
        return self.reduction(self.norm(torch.cat(corners, -1)))


class SwinStage(nn.Module):
    """Blocks on maps of one size, every second with shifted windows; then `downsample`, except in the last stage."""

    def __init__(self, blocks: list[SwinBlock], window: Size, downsample: nn.Module | None):
        super().__init__()
        self.window = window
        self.blocks = nn.ModuleList(blocks)
        self.downsample: nn.Module = downsample or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        _, t, h, w, _ = x.shape
        (t0, h0, w0) = self.window
        window = min(t, t0), min(h, h0), min(w, w0)
        # no shift along an axis that one window covers
        shift = t0 // 2 if t > t0 else 0, h0 // 2 if h > h0 else 0, w0 // 2 if w > w0 else 0
        mask = _mask((t, h, w), window, shift, x) if any(shift) and len(self.blocks) > 1 else None
        for block in self.blocks:
            x = block(x, window, shift, mask)
        return self.downsample(x)


class PatchEmbed(nn.Module):
    """Embeds the patches of clips [b c t h w] as normalised tokens [b t' h' w' width]."""

    def __init__(self, width: int, patch: Size):
        super().__init__()
        self.patch = patch
        self.proj = nn.Conv3d(3, width, patch, patch)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        x = _pad(x.movedim(1, -1), self.patch).movedim(-1, 1)
        return self.norm(self.proj(x).movedim(1, -1))


@register_model
class Videoswin(DropoutClassifier):
    """A pyramid of four stages of window attention (section 3.1).

    The defaults are the small model; base is `width=128, num_heads=(4, 8, 16, 32)`, tiny `depths=(2, 2, 6, 2)`.
    Patches span two frames; a clip may have any length and size.

    Input:  clips [b, t, 3, h, w], normalised by ImageNet's mean and deviation.
    Output: scores [b, num_classes], or features [b, num_features] when `num_classes` is 0.

    Args:
        num_frames: frames of a clip in `input_shape`.
        pretrained: "imagenet" starts from timm's Swin of the same size, with patches inflated and position biases
            repeated over time; None starts from random weights.
        width: channels of the first stage; each later stage doubles them.
        depths: blocks per stage.
        num_heads: attention heads per stage.
        window: largest window, in tokens along t, h and w.
        patch: size of a patch, in frames and pixels.
        drop_path: rate of dropped residual branches in the last block, rising linearly from 0 in the first.
        dropout: share of the averaged features set to zero in training.
        init_std: standard deviation of the random weights of linear layers, 0.02 in the original; None uses
            1 / sqrt(inputs) for each layer, since narrow networks with 0.02 start nearly linear.
        small_maps: biases of a window that is clipped to a smaller map: those of its "positions", or those of the
            "prefix" of a full window, as in the original code. Both are equal if only time is clipped, as at 224 px.
        crop_px: height and width of a frame in `input_shape`.

    Raises:
        ConfigError: a stage's width is not a multiple of its heads, there are no ImageNet weights of this size, or the
            input is not a clip.
        WeightsError: the ImageNet weights cannot be fetched.
    """

    usual_recipe = "k400/videoswin_small_32f"

    def __init__(
        self,
        *,
        num_classes: int = 400,
        num_frames: int = 32,
        pretrained: Pretrained = None,
        width: int = 96,
        depths: tuple[int, int, int, int] = (2, 2, 18, 2),
        num_heads: tuple[int, int, int, int] = (3, 6, 12, 24),
        window: Size = (8, 7, 7),
        patch: Size = (2, 4, 4),
        mlp_ratio: float = 4.0,
        drop_path: float = 0.1,
        dropout: float = 0.5,
        init_std: float | None = 0.02,
        small_maps: SmallMaps = "positions",
        crop_px: int = 224,
    ):
        super().__init__()
        self.input_shape = (num_frames, 3, crop_px, crop_px)
        self.patch_embed = PatchEmbed(width, patch)
        rates = torch.linspace(0, drop_path, sum(depths), device="cpu").tolist()
        stages = []
        for i, (depth, heads) in enumerate(zip(depths, num_heads, strict=True)):
            channels = width * 2**i
            if channels % heads:
                raise ConfigError(
                    f"videoswin: stage {i} has {channels} channels, which {heads} heads do not divide; change width or "
                    "num_heads"
                )
            blocks = [
                SwinBlock(
                    channels,
                    heads,
                    window,
                    is_shifted=j % 2 == 1,
                    mlp_ratio=mlp_ratio,
                    drop_path=rates.pop(0),
                    small_maps=small_maps,
                )
                for j in range(depth)
            ]
            stages.append(SwinStage(blocks, window, PatchMerging(channels) if i < len(depths) - 1 else None))
        self.layers = nn.ModuleList(stages)
        self.num_features = width * 2 ** (len(depths) - 1)
        self.norm = nn.LayerNorm(self.num_features)
        self.dropout = nn.Dropout(dropout)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=module.in_features**-0.5 if init_std is None else init_std)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        self.reset_classifier(num_classes)
        if pretrained is not None:
            if (name := IMAGE_SWINS.get((width, depths))) is None or window[1:] != (7, 7) or patch[1:] != (4, 4):
                raise ConfigError(
                    f"videoswin: there are no ImageNet weights of {width=}, {depths=}, {window=}, {patch=}; take those "
                    "of the tiny, small or base model, or add model.pretrained=null"
                )
            self._inflate(image_backbone(name, pretrained=pretrained))
        self.param_rules = (
            ParamRule(r"^head\.", lr_scale=10),
            ParamRule(r"relative_position_bias_table", weight_decay=0.0),
        )

    def forward_features(self, x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b d"]:
        return self._tokens(x).mean((1, 2, 3))

    def forward_maps(self, x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b _ _ _ _"]:
        return self._tokens(x).movedim(-1, 1)

    def _tokens(self, x: Tensor) -> Tensor:
        """Returns the normalized tokens [b t h w c] of the last stage."""
        if x.ndim != 5:
            raise ConfigError(f"{self.name}: the input has shape {tuple(x.shape)}; needs clips [b t c h w]")
        x = self.patch_embed(x.transpose(1, 2))
        for stage in self.layers:
            x = stage(x)
        return self.norm(x)

    @torch.no_grad()
    def _inflate(self, swin: Any) -> None:
        """Loads the inflated weights of a 2-D Swin (section 3.3), in which merging belongs to the later stage."""
        state = {}
        for name, value in swin.state_dict().items():
            if name == "patch_embed.proj.weight":
                value = inflate(value, self.patch_embed.patch[0])
            if name.endswith("relative_position_bias_table"):
                value = value.repeat(2 * self.layers[0].window[0] - 1, 1)  # type: ignore[index]
            stage = re.match(r"layers\.(\d)\.downsample", name)
            name = f"layers.{int(stage[1]) - 1}{name[len('layers.0') :]}" if stage else name
            state[name] = value
        ours = self.state_dict()
        state = {name: value for name, value in state.items() if name in ours}  # without masks and indices
        left = [name for name in ours if name not in state and not name.startswith("head.")]
        if left:
            raise ConfigError(f"videoswin: timm's weights have no {', '.join(left)}; add model.pretrained=null")
        self.load_state_dict(state, strict=False)


def _pad(x: Tensor, multiple: Size) -> Tensor:
    """Pads maps [b t h w c] at their ends with zeros, up to multiples of `multiple`."""
    t, h, w = (-size % of for size, of in zip(x.shape[1:4], multiple, strict=True))
    return F.pad(x, (0, 0, 0, w, 0, h, 0, t)) if t or h or w else x


def _split(x: Tensor, window: Size) -> Tensor:
    """Splits maps [b t h w c] into windows [b w n c]."""
    t, h, w = window
    x = x.unflatten(3, (-1, w)).unflatten(2, (-1, h)).unflatten(1, (-1, t))
    return x.permute(0, 1, 3, 5, 2, 4, 6, 7).flatten(4, 6).flatten(1, 3)


def _unsplit(x: Tensor, window: Size, size: Sequence[int]) -> Tensor:
    """Joins windows [b w n c] to maps [b t h w c] of that `size`."""
    counts = [whole // part for whole, part in zip(size, window, strict=True)]
    x = x.unflatten(2, window).unflatten(1, counts).permute(0, 1, 4, 2, 5, 3, 6, 7)
    return x.flatten(5, 6).flatten(3, 4).flatten(1, 2)


def _mask(size: Size, window: Size, shift: Size, like: Tensor) -> Tensor:
    """Returns the mask [w n n] for scores of shifted windows: no attention between opposite ends of the map."""
    regions = torch.zeros(1, 1, 1, 1, 1, device=like.device)
    for axis in range(3):
        padded = size[axis] + -size[axis] % window[axis]
        place = torch.arange(padded, device=like.device)
        region = (place >= padded - window[axis]).int() + (place >= padded - shift[axis]).int()
        shape = [1] * 5
        shape[1 + axis] = padded
        regions = 3 * regions + (region.view(shape) if shift[axis] else 0)
    padded_size = [whole + -whole % part for whole, part in zip(size, window, strict=True)]
    region = _split(regions.expand(1, *padded_size, 1), window).flatten(2).squeeze(0)
    apart = region.unsqueeze(1) != region.unsqueeze(2)
    return apart.to(like.dtype) * MASKED


def _relative_positions(window: Size) -> Tensor:
    """Returns the row of the bias table for each pair of a window's tokens [n n]."""
    axes = torch.meshgrid(*(torch.arange(size) for size in window), indexing="ij")
    index = torch.zeros((), dtype=torch.long)
    for size, axis in zip(window, axes, strict=True):
        place = axis.flatten()
        index = index * (2 * size - 1) + place.unsqueeze(1) - place.unsqueeze(0) + size - 1
    return index
