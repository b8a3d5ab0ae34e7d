"""VideoMAE and VideoMAE v2: plain vision transformers of tubelets with fixed positions.

Papers: Tong et al., arXiv:2203.12602; Wang et al., arXiv:2303.16727.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from videozoo.errors import ConfigError
from videozoo.layers.tubelets import Grid, TubeletEmbed, sine_positions
from videozoo.models.model import DropoutClassifier
from videozoo.models.param_rule import layer_decay as decayed_rules
from videozoo.models.registry import register_model
from videozoo.shapes import Float

__all__ = ["Videomae"]

Positions = Literal["sine", "learned"]
NormPlace = Literal["pooled", "tokens"]


@register_model
class Videomae(DropoutClassifier):
    """The encoder of VideoMAE with mean pooling and a linear classifier, as in its fine-tuning.

    The defaults are the base model. Others, as (width, depth, num_heads): small (384, 12, 6), large (1024, 24, 16),
    huge (1280, 32, 16), giant (1408, 40, 16) with mlp_width 6144 and patches of 14 px. Some published small models have
    16 heads; no tensor shows their number.

    Input:  clips [b, num_frames, 3, crop_px, crop_px].
    Output: scores [b, num_classes], or features [b, num_features] when `num_classes` is 0.
    Maps:   [b, num_features, t, h, w], the tokens of the last block.

    Args:
        num_frames: frames of a clip.
        mlp_width: hidden width of the MLPs; None takes four times `width`.
        positions: fixed "sine" embeddings, which no file stores, or "learned" ones that start there.
        norm_place: the last normalisation is applied to the "pooled" features, as after fine-tuning, or to the
            "tokens", as after pre-training.
        norm_eps: of the blocks' normalisations: 1e-6 in the authors' code, 1e-12 in `transformers`.
        pooled_eps: of the last normalisation, if it is applied to pooled features: 1e-6, or 1e-5 in `transformers`.
        dropout: share of the pooled features set to zero in training.
        drop_path: rate of dropped residual branches in the last block, rising linearly from 0 in the first.
        layer_decay: factor of the learning rate from each block to the one before it; fine-tuning takes 0.75.
        crop_px: height and width of a frame.

    Raises:
        ConfigError: the heads do not divide the width, or the input is not a clip of this size.
    """

    head_std = 0.02
    usual_recipe = "k400/videomae_b_16x4"

    def __init__(
        self,
        *,
        num_classes: int = 400,
        num_frames: int = 16,
        width: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        mlp_width: int | None = None,
        positions: Positions = "sine",
        norm_place: NormPlace = "pooled",
        norm_eps: float = 1e-6,
        pooled_eps: float = 1e-6,
        dropout: float = 0.0,
        drop_path: float = 0.1,
        layer_decay: float = 1.0,
        tubelet_frames: int = 2,
        patch_px: int = 16,
        crop_px: int = 224,
    ):
        super().__init__()
        if width % num_heads:
            raise ConfigError(f"{self.name}: {num_heads} heads do not divide the width {width}; change one of them")
        self.input_shape = (num_frames, 3, crop_px, crop_px)
        self.num_features, self.norm_place = width, norm_place
        self.patch_embed = TubeletEmbed(width, tubelet_frames=tubelet_frames, patch_px=patch_px)
        self.grid: Grid = (num_frames // tubelet_frames, crop_px // patch_px, crop_px // patch_px)
        table = self.position_table()
        if positions == "learned":
            self.pos_embed = nn.Parameter(table)
        else:
            self.register_buffer("pos_embed", table, persistent=False)
        rates = torch.linspace(0, drop_path, depth, device="cpu").tolist()
        norm: Any = partial(nn.LayerNorm, eps=norm_eps)
        mlp_ratio = (mlp_width or 4 * width) / width
        self.blocks = nn.ModuleList(
            Block(width, num_heads, mlp_ratio=mlp_ratio, qkv_bias=True, drop_path=rate, norm_layer=norm)
            for rate in rates
        )
        self.norm = nn.LayerNorm(width, eps=pooled_eps if norm_place == "pooled" else norm_eps)
        self.dropout = nn.Dropout(dropout)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
        self.param_rules = decayed_rules(layer_decay, depth, first=r"^(patch_embed\.|pos_embed$)")
        self.reset_classifier(num_classes)

    def position_table(self) -> Float[Tensor, "1 n d"]:
        """Returns the positions of the tokens [1 n d] before training."""
        t, h, w = self.grid
        return sine_positions(t * h * w, self.num_features).unsqueeze(0)

    def forward_features(self, x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b d"]:
        pooled = self._tokens(x).mean(1)
        return self.norm(pooled) if self.norm_place == "pooled" else pooled

    def forward_maps(self, x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b _ _ _ _"]:
        return self._tokens(x).transpose(1, 2).unflatten(2, self.grid)

    def _tokens(self, x: Tensor) -> Tensor:
        """Returns the tokens [b n d] of the last block."""
        if self.patch_embed.grid(x, name=self.name) != self.grid:
            raise ConfigError(
                f"{self.name}: the clip has shape {tuple(x.shape[1:])}; the model was built for {self.input_shape} "
                "[t c h w]: sample as many frames, or set num_frames and crop_px"
            )
        tokens = self.patch_embed(x) + self.pos_embed
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens) if self.norm_place == "tokens" else tokens
