"""Hiera: a vision transformer of four stages that pools its tokens and attends within mask units at first.

Paper: Ryali et al., arXiv:2306.00989.
"""

from __future__ import annotations

from typing import Any

import timm.models.hiera
import torch.nn.functional as F
from torch import Tensor, nn

from videozoo.errors import ConfigError
from videozoo.models.model import DropoutClassifier
from videozoo.models.registry import register_model
from videozoo.shapes import Float

__all__ = ["Hiera"]

Stages = tuple[int, int, int, int]


class MaskUnitAttention(nn.Module):
    """timm's attention within mask units, with the units among the heads: exporters take four axes and no more."""

    def __init__(self, attention: Any):
        super().__init__()
        self.qkv, self.proj = attention.qkv, attention.proj
        self.heads, self.head_dim, self.q_stride = attention.heads, attention.head_dim, attention.q_stride
        self.unit_tokens = attention.q_stride * attention.window_size if attention.use_mask_unit_attn else None

    def forward(self, x: Tensor) -> Tensor:
        """Maps tokens [b n c] to tokens [b n/q_stride c']; the tokens of a unit lie n/`unit_tokens` apart."""
        units = 1 if self.unit_tokens is None else x.shape[1] // self.unit_tokens
        qkv = self.qkv(x).unflatten(2, (3, self.heads, self.head_dim)).unflatten(1, (-1, units))
        q, k, v = qkv.permute(3, 0, 4, 2, 1, 5).flatten(2, 3)  # [b heads*units m c/heads]
        if self.q_stride > 1:
            q = q.unflatten(2, (self.q_stride, -1)).amax(2)
        y = F.scaled_dot_product_attention(q, k, v).unflatten(1, (self.heads, units))
        return self.proj(y.permute(0, 3, 2, 1, 4).flatten(3).flatten(1, 2))


@register_model
class Hiera(DropoutClassifier):
    """timm's Hiera on clips, with separate positions of space and time as in the authors' video models.

    The defaults are the base model. Others, as (width, num_heads, depths): base plus (112, 2, (2, 3, 16, 3)), large
    (144, 2, (2, 6, 36, 4)), huge (256, 4, (2, 6, 36, 4)).

    Input:  clips [b, num_frames, 3, crop_px, crop_px], normalised by mean 0.45 and deviation 0.225.
    Output: scores [b, num_classes], or features [b, 8 * width] when `num_classes` is 0.
    Maps:   [b, 8 * width, num_frames/2, crop_px/32, crop_px/32], the tokens of the last block.

    Args:
        num_frames: frames of a clip, an even number.
        width: channels of the first stage; each later stage doubles them.
        depths: blocks per stage.
        num_heads: attention heads of the first stage; each later stage doubles them.
        dropout: share of the pooled features set to zero in training.
        drop_path: rate of dropped residual branches in the last block, rising linearly from 0 in the first.
        crop_px: height and width of a frame, a multiple of 32.

    Raises:
        ConfigError: the sizes do not fit each other, or the input is not a clip of this size.
    """

    head_std = 0.02
    usual_recipe = "k400/hiera_b_16x4"

    def __init__(
        self,
        *,
        num_classes: int = 400,
        num_frames: int = 16,
        width: int = 96,
        depths: Stages = (2, 3, 16, 3),
        num_heads: int = 1,
        dropout: float = 0.0,
        drop_path: float = 0.1,
        crop_px: int = 224,
    ):
        super().__init__()
        if num_frames % 2 or crop_px % 32 or width % num_heads:
            raise ConfigError(
                f"hiera: {num_frames=}, {crop_px=}, {width=}, {num_heads=} do not fit; needs an even number of frames, "
                "a crop_px that is a multiple of 32, and a width that is a multiple of num_heads"
            )
        self.input_shape = (num_frames, 3, crop_px, crop_px)
        self.grid = (num_frames // 2, crop_px // 32, crop_px // 32)
        self.num_features = 8 * width
        self.body = timm.models.hiera.Hiera(
            img_size=(num_frames, crop_px, crop_px),
            embed_dim=width,
            num_heads=num_heads,
            num_classes=0,
            stages=depths,
            q_stride=(1, 2, 2),
            mask_unit_size=(1, 8, 8),
            patch_kernel=(3, 7, 7),
            patch_stride=(2, 4, 4),
            patch_padding=(1, 3, 3),
            sep_pos_embed=True,
            drop_path_rate=drop_path,
        )
        for block in self.body.blocks:
            block.attn = MaskUnitAttention(block.attn)
        self.dropout = nn.Dropout(dropout)
        self.reset_classifier(num_classes)

    def forward_features(self, x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b d"]:
        return self.body.head.norm(self._tokens(x).mean(1))

    def forward_maps(self, x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b _ _ _ _"]:
        return self._tokens(x).transpose(1, 2).unflatten(2, self.grid)

    def _tokens(self, x: Tensor) -> Tensor:
        """Returns the tokens [b n d] of the last block, in order of time, row and column."""
        if x.shape[1:] != self.input_shape:
            raise ConfigError(
                f"{self.name}: the clip has shape {tuple(x.shape[1:])}; the model was built for {self.input_shape} "
                "[t c h w]: sample as many frames, or set num_frames and crop_px"
            )
        return self.body.forward_features(x.transpose(1, 2))
