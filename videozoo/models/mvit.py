"""MViT: transformers that pool their tokens as they go deeper.

Papers: Fan et al., arXiv:2104.11227 (version 1); Li et al., arXiv:2112.01526 (version 2).
"""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor, nn
from torchvision.models.video.mvit import MSBlockConfig, MViT

from videozoo.errors import ConfigError
from videozoo.models.model import DropoutClassifier
from videozoo.models.registry import register_model
from videozoo.shapes import Float

__all__ = ["Mvit"]

Stages = tuple[int, int, int, int]


@register_model
class Mvit(DropoutClassifier):
    """torchvision's MViT of four stages, each with twice the channels and a quarter of the tokens of the one before.

    The defaults are MViTv2-S; MViTv2-B is `depths=(2, 3, 16, 3), num_frames=32`, and MViT-B `version=1`.

    Input:  clips [b, num_frames, 3, crop_px, crop_px], normalised by mean 0.45 and deviation 0.225.
    Output: scores [b, num_classes], or features [b, 8 * width] when `num_classes` is 0.
    Maps:   [b, 8 * width, num_frames/2, crop_px/32, crop_px/32]; the features are the class token.

    Args:
        num_frames: frames of a clip.
        version: 1 adds learned positions to the tokens; 2 adds relative positions to the attention, and the pooled
            queries to its result.
        width: channels of the first stage.
        depths: blocks per stage.
        num_heads: attention heads of the first stage; each later stage doubles them.
        dropout: share of the features set to zero in training.
        drop_path: rate of dropped residual branches in the last block, rising linearly from 0 in the first.
        crop_px: height and width of a frame.

    Raises:
        ConfigError: the heads do not divide the width, or the input is not a clip of this size.
    """

    head_std = 0.02
    usual_recipe = "k400/mvit_v2_s_16x4"

    def __init__(
        self,
        *,
        num_classes: int = 400,
        num_frames: int = 16,
        version: Literal[1, 2] = 2,
        width: int = 96,
        depths: Stages = (1, 2, 11, 2),
        num_heads: int = 1,
        dropout: float = 0.5,
        drop_path: float = 0.2,
        crop_px: int = 224,
    ):
        super().__init__()
        if width % num_heads:
            raise ConfigError(f"mvit: {num_heads} heads do not divide the width {width}; change one of them")
        self.input_shape = (num_frames, 3, crop_px, crop_px)
        self.num_features = 8 * width
        self.body: Any = MViT(
            spatial_size=(crop_px, crop_px),
            temporal_size=num_frames,
            block_setting=_blocks(version, width, depths, num_heads),
            residual_pool=version == 2,
            residual_with_cls_embed=False,
            rel_pos_embed=version == 2,
            proj_after_attn=version == 2,
            stochastic_depth_prob=drop_path,
            num_classes=1,
        )
        self.body.head = nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.reset_classifier(num_classes)

    def forward_features(self, x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b d"]:
        return self._tokens(x)[0][:, 0]

    def forward_maps(self, x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b _ _ _ _"]:
        tokens, grid = self._tokens(x)
        return tokens[:, 1:].transpose(1, 2).unflatten(2, grid)

    def _tokens(self, x: Tensor) -> tuple[Tensor, tuple[int, int, int]]:
        """Returns the normalized tokens [b 1+n d], class token first, and the grid of the others."""
        if x.shape[1:] != self.input_shape:
            raise ConfigError(
                f"{self.name}: the clip has shape {tuple(x.shape[1:])}; the model was built for {self.input_shape} "
                "[t c h w]: sample as many frames, or set num_frames and crop_px"
            )
        body = self.body
        tokens = body.pos_encoding(body.conv_proj(x.transpose(1, 2)).flatten(2).transpose(1, 2))
        grid = (body.pos_encoding.temporal_size, *body.pos_encoding.spatial_size)
        for block in body.blocks:
            tokens, grid = block(tokens, grid)
        return body.norm(tokens), grid


def _blocks(version: int, width: int, depths: Stages, num_heads: int) -> list[MSBlockConfig]:
    """Returns the blocks' sizes. The channels of a stage begin in its first block, in version 1 one block earlier."""
    stages = [stage for stage, depth in enumerate(depths) for _ in range(depth)]
    shifted = [stages[0], *stages] if version == 2 else [*stages, stages[-1]]
    blocks = []
    for i, stage in enumerate(stages):
        pools = i > 0 and stage > stages[i - 1]
        stride = [1, 2, 2] if pools else [1, 1, 1]
        skips = version == 1 and not pools
        blocks.append(
            MSBlockConfig(
                num_heads=num_heads * 2**stage,
                input_channels=width * 2 ** shifted[i],
                output_channels=width * 2 ** shifted[i + 1],
                kernel_q=[] if skips else [3, 3, 3],
                kernel_kv=[3, 3, 3],
                stride_q=[] if skips else stride,
                stride_kv=[1, 8 // 2**stage, 8 // 2**stage],
            )
        )
    return blocks
