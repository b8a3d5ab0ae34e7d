"""V-JEPA 2: a vision transformer of tubelets with rotary positions, read by an attentive pooler.

Paper: Assran et al., arXiv:2506.09985. Version 2.1 follows its authors' code of March 2026.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
import torch.nn.functional as F
from timm.layers import DropPath, Mlp
from torch import Tensor, nn

from videozoo.errors import ConfigError
from videozoo.layers.attentive_pooler import AttentivePooler
from videozoo.layers.tubelets import Grid, TubeletEmbed
from videozoo.models.model import LinearClassifier
from videozoo.models.registry import register_model
from videozoo.shapes import Float

__all__ = ["VJEPA2"]

Version = Literal["2", "2.1"]
Pooling = Literal["attentive", "mean"]

PRETRAINED_ROWS = 16  # the rows and columns of tokens whose places version 2.1 stretches to any frame


class RotaryAttention(nn.Module):
    """Self-attention whose queries and keys are rotated by the place of their token."""

    def __init__(self, width: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Maps tokens [b n d] to the same shape; `cos` and `sin` are [n d/heads]."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(_rotated(q, cos, sin), _rotated(k, cos, sin), v)
        return self.proj(y.transpose(1, 2).flatten(2))


class RotaryBlock(nn.Module):
    """Rotary attention, then an MLP, both as pre-normalised residual branches."""

    def __init__(self, width: int, num_heads: int, mlp_width: int, drop_path: float):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = RotaryAttention(width, num_heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = Mlp(width, mlp_width)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.drop_path(self.attn(self.norm1(x), cos, sin))
        return x + self.drop_path(self.mlp(self.norm2(x)))


@register_model
class VJEPA2(LinearClassifier):
    """The encoder of V-JEPA 2 or 2.1 with the classifier that its authors train on it.

    The defaults are the large encoder. Others, as (width, depth, num_heads, mlp_width): base (768, 12, 12, 3072),
    huge (1280, 32, 16, 5120), giant (1408, 40, 22, 6144), gigantic (1664, 48, 26, 6656).
    A clip may have any length and size in whole tubelets: the positions are computed.

    Version 2 repeats its rotation frequencies in another order than it pairs the channels; the published weights depend
    on that. Version 2.1 pairs them, stretches the places of a frame to 16 rows and columns, and adds a learned
    vector to all tokens of a video. Its layers for single images and for training are left out.

    Input:  clips [b, t, 3, h, w], normalised by ImageNet's mean and deviation.
    Output: scores [b, num_classes], or features [b, num_features] when `num_classes` is 0.
    Maps:   [b, num_features, t/2, h/16, w/16], the encoder's tokens before pooling.

    Args:
        num_frames: frames of a clip in `input_shape`.
        version: "2" or "2.1".
        mlp_width: hidden width of the encoder's MLPs; None takes four times `width`.
        pooling: "attentive" reads the tokens by a learned query; "mean" averages them, for an encoder without a
            trained classifier.
        pooler_depth: blocks of self-attention in the pooler before its query; the published classifiers have 3.
        pooler_heads: attention heads of the pooler; None takes `num_heads`, as `transformers`
            does; the authors' classifiers have 16.
        pooler_eps: of the pooler's normalisations: 1e-6 in `transformers`, 1e-5 in the authors' code.
        drop_path: rate of dropped residual branches in the last block, rising linearly from 0 in the first.
        crop_px: height and width of a frame in `input_shape`.

    Raises:
        ConfigError: the heads do not divide the width into parts of even size, or a clip has no whole tubelets.
    """

    head_std = 0.02
    usual_recipe = "ssv2/vjepa2_l_probe"
    classifier_parts = ("pooler.", "head.")

    def __init__(
        self,
        *,
        num_classes: int = 174,
        num_frames: int = 16,
        version: Version = "2",
        width: int = 1024,
        depth: int = 24,
        num_heads: int = 16,
        mlp_width: int | None = None,
        pooling: Pooling = "attentive",
        pooler_depth: int = 3,
        pooler_heads: int | None = None,
        pooler_eps: float = 1e-6,
        drop_path: float = 0.0,
        tubelet_frames: int = 2,
        patch_px: int = 16,
        crop_px: int = 256,
    ):
        super().__init__()
        for heads in {num_heads, pooler_heads or num_heads}:
            if width % (2 * heads):
                raise ConfigError(
                    f"vjepa2: {heads} heads do not divide the width {width} into parts of even size; change num_heads, "
                    "pooler_heads or width"
                )
        self.input_shape = (num_frames, 3, crop_px, crop_px)
        self.version, self.num_features, self.pooler_eps = version, width, pooler_eps
        self.head_width = width // num_heads
        self.patch_embed = TubeletEmbed(width, tubelet_frames=tubelet_frames, patch_px=patch_px)
        if version == "2.1":
            self.video_mod_embed = nn.Parameter(torch.empty(1, 1, width))
            nn.init.normal_(self.video_mod_embed, std=1e-6)
        rates = torch.linspace(0, drop_path, depth, device="cpu").tolist()
        self.blocks = nn.ModuleList(
            RotaryBlock(width, num_heads, mlp_width or 4 * width, drop_path=rate) for rate in rates
        )
        self.norm = nn.LayerNorm(width, eps=1e-6)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv3d):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]  # all of them have biases
        for place, block in enumerate(self.blocks, start=1):
            _scale(block.get_submodule("attn.proj"), place)
            _scale(block.get_submodule("mlp.fc2"), place)
        self.pooler: Any = None
        if pooling == "attentive":
            heads = pooler_heads or num_heads
            self.pooler = AttentivePooler(width, num_heads=heads, depth=pooler_depth, eps=pooler_eps)
        self.reset_classifier(num_classes)

    def forward_features(self, x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b d"]:
        tokens, _ = self._tokens(x)
        return tokens.mean(1) if self.pooler is None else self.pooler(tokens)

    def forward_maps(self, x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b _ _ _ _"]:
        tokens, grid = self._tokens(x)
        return tokens.transpose(1, 2).unflatten(2, grid)

    def _tokens(self, x: Tensor) -> tuple[Tensor, Grid]:
        """Returns the normalized tokens [b n d] of clips, and their grid."""
        grid = self.patch_embed.grid(x, name=self.name)
        tokens = self.patch_embed(x)
        if self.version == "2.1":
            tokens = tokens + self.video_mod_embed
        cos, sin = rotations(grid, self.head_width, version=self.version, like=tokens)
        for block in self.blocks:
            tokens = block(tokens, cos, sin)
        return self.norm(tokens), grid


def rotations(grid: Grid, head_width: int, *, version: Version, like: Tensor) -> tuple[Tensor, Tensor]:
    """Returns cosine and sine [n head_width] of the rotation of each token on a grid of t, h and w.

    A third of the channels, rounded down to even, turns with each axis; the channels left over do not turn.
    """
    axis_width = 2 * (head_width // 3 // 2)
    rates = 1.0 / 10000 ** (torch.arange(axis_width // 2, device=like.device) / (axis_width / 2))
    parts = []
    for axis, places in enumerate(torch.meshgrid(*(torch.arange(n, device=like.device) for n in grid), indexing="ij")):
        place = places.flatten().float()
        if version == "2.1" and axis > 0:
            place = place * (PRETRAINED_ROWS - 1) / max(grid[axis] - 1, 1)
        angles = place.unsqueeze(1) * rates
        parts.append(angles.repeat_interleave(2, 1) if version == "2.1" else angles.repeat(1, 2))
    angles = F.pad(torch.cat(parts, 1), (0, head_width - 3 * axis_width))
    return angles.cos().to(like.dtype), angles.sin().to(like.dtype)


def _rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotates pairs of neighbouring channels of x [... n c]."""
    a, b = x.unflatten(-1, (-1, 2)).unbind(-1)
    return x * cos + torch.stack((-b, a), -1).flatten(-2) * sin


@torch.no_grad()
def _scale(layer: nn.Module, place: int) -> None:
    layer.get_parameter("weight").div_(math.sqrt(2.0 * place))
