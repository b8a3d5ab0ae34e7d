"""Token Shift Transformer: an image transformer that shifts class tokens between frames.

Paper: Zhang et al., arXiv:2108.02432.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from videozoo.errors import ConfigError
from videozoo.models.image_backbone import Pretrained
from videozoo.models.model import LinearClassifier
from videozoo.models.registry import register_model
from videozoo.models.timesformer import vision_transformer
from videozoo.shapes import Float

__all__ = ["Tokenshift"]


@register_model
class Tokenshift(LinearClassifier):
    """A timm vision transformer on each frame; class tokens exchange channels before every attention and MLP.

    The first quarter of a class token's channels comes from the next frame, the second quarter from the previous one,
    with zeros beyond the ends; patch tokens are not shifted (section 3.2). The frames' scores are averaged.

    Input:  clips [b, num_frames, 3, h, w], normalised with mean 0.5 and deviation 0.5.
    Output: scores [b, num_classes], or features [b, num_features] when `num_classes` is 0.
    Maps:   [b, num_features, t, h, w], one position per patch; the features are the mean class token.

    Args:
        num_frames: frames of a clip in `input_shape`; the network accepts any number.
        backbone, pretrained, backbone_args, drop_path, position_std, crop_px: as for `timesformer`.

    Raises:
        ConfigError: the backbone is not a plain vision transformer, or does not accept `backbone_args`.
        WeightsError: the ImageNet weights cannot be fetched.
    """

    head_std = 0.02
    open_blocks = True
    usual_recipe = "ucf101/tokenshift_b16_8f"

    def __init__(
        self,
        *,
        num_classes: int = 400,
        num_frames: int = 8,
        backbone: str = "vit_base_patch16_224",
        pretrained: Pretrained = None,
        backbone_args: dict[str, Any] | None = None,
        drop_path: float = 0.1,
        position_std: float | None = None,
        crop_px: int = 256,
    ):
        super().__init__()
        self.input_shape = (num_frames, 3, crop_px, crop_px)
        args = {"img_size": crop_px, "drop_path_rate": drop_path, **(backbone_args or {})}
        self.backbone: Any = vision_transformer(backbone, pretrained=pretrained, args=args, position_std=position_std)
        self.num_features = int(self.backbone.num_features)
        self.reset_classifier(num_classes)

    def forward_features(self, x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b d"]:
        return self.backbone.norm(self._tokens(x)[:, :, 0]).mean(1)

    def forward_maps(self, x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b _ _ _ _"]:
        patches = self.backbone.norm(self._tokens(x)[:, :, 1:])
        return patches.permute(0, 3, 1, 2).unflatten(3, self.backbone.patch_embed.grid_size)

    def _tokens(self, x: Tensor) -> Tensor:
        """Returns the tokens [b t n d] of each frame before the last normalization, the class token first."""
        if x.ndim != 5:
            raise ConfigError(f"{self.name}: the input has shape {tuple(x.shape)}; needs clips [b t c h w]")
        b, t = x.shape[:2]
        vit = self.backbone
        tokens = vit.patch_embed(x.flatten(0, 1))
        tokens = vit.pos_drop(torch.cat([vit.cls_token.expand(b * t, -1, -1), tokens], 1) + vit.pos_embed)
        for block in vit.blocks:
            tokens = shift_class_tokens(tokens, t)
            tokens = tokens + block.drop_path1(block.attn(block.norm1(tokens)))
            tokens = shift_class_tokens(tokens, t)
            tokens = tokens + block.drop_path2(block.mlp(block.norm2(tokens)))
        return tokens.unflatten(0, (b, t))


def shift_class_tokens(tokens: Float[Tensor, "n m d"], num_frames: int) -> Float[Tensor, "n m d"]:
    """Shifts channels of the class token, the first of tokens [b*t n d], between neighbouring frames."""
    cls = tokens[:, 0].unflatten(0, (-1, num_frames))
    quarter = cls.shape[-1] // 4
    none = torch.zeros_like(cls[:, :1])
    after, before = torch.cat([cls[:, 1:], none], 1), torch.cat([none, cls[:, :-1]], 1)
    shifted = torch.cat(
        [after[..., :quarter], before[..., quarter : 2 * quarter], cls[..., 2 * quarter :]], -1
    ).flatten(0, 1)
    return torch.cat([shifted.unsqueeze(1), tokens[:, 1:]], 1)
