"""TimeSformer: a vision transformer with alternating attention over time and over space.

Paper: Bertasius et al., arXiv:2102.05095.
"""

from __future__ import annotations

import copy
from typing import Any, Literal

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from videozoo.errors import ConfigError
from videozoo.models.image_backbone import Pretrained, image_backbone
from videozoo.models.model import LinearClassifier
from videozoo.models.param_rule import ParamRule
from videozoo.models.registry import register_model
from videozoo.shapes import Float

__all__ = ["PPTimesformer", "Timesformer", "vision_transformer"]

Attention = Literal["divided", "joint", "space"]


class DividedBlock(nn.Module):
    """Attention over time, over space, then an MLP, each added to its input ("divided", section 3, eq. 10-12).

    Built from a block of an image transformer: the spatial part reuses its layers, the temporal part copies its
    attention and adds a linear layer, initially zero in all blocks except the first.
    """

    def __init__(self, block: Any, *, is_first: bool):
        super().__init__()
        self.norm1, self.attn, self.norm2, self.mlp = block.norm1, block.attn, block.norm2, block.mlp
        self.drop_path = block.drop_path1
        self.temporal_norm1, self.temporal_attn = copy.deepcopy(block.norm1), copy.deepcopy(block.attn)
        width = block.norm1.weight.numel()
        self.temporal_fc = nn.Linear(width, width)
        nn.init.zeros_(self.temporal_fc.bias)
        if is_first:
            nn.init.trunc_normal_(self.temporal_fc.weight, std=0.02)
        else:
            nn.init.zeros_(self.temporal_fc.weight)

    def forward(self, cls: Tensor, patches: Tensor) -> tuple[Tensor, Tensor]:
        """Maps class tokens [b 1 d] and patches [b n t d] to the same shapes."""
        b, n, t, _ = patches.shape
        moments = patches.flatten(0, 1)
        change = self.temporal_fc(self.drop_path(self.temporal_attn(self.temporal_norm1(moments))))
        patches = patches + change.unflatten(0, (b, n))

        # the class token attends to each frame separately; the results are averaged
        frames = torch.cat([cls.unsqueeze(1).expand(-1, t, -1, -1), patches.transpose(1, 2)], 2).flatten(0, 1)
        change = self.drop_path(self.attn(self.norm1(frames))).unflatten(0, (b, t))
        cls = cls + change[:, :, :1].mean(1)
        patches = patches + change[:, :, 1:].transpose(1, 2)

        tokens = torch.cat([cls, patches.flatten(1, 2)], 1)
        tokens = tokens + self.drop_path(self.mlp(self.norm2(tokens)))
        return tokens[:, :1], tokens[:, 1:].unflatten(1, (n, t))


@register_model
class Timesformer(LinearClassifier):
    """A timm vision transformer whose patches attend over space and time (section 3).

    Computes the same outputs as the original code. ImageNet weights initialise both attentions of a block.

    Input:  clips [b, num_frames, 3, h, w] with h = w = crop_px.
    Output: scores [b, num_classes], or features [b, num_features] when `num_classes` is 0.
    Maps:   [b, num_features, num_frames, h, w], one position per patch; the features are the class token.

    Args:
        num_frames: frames of a clip, each with its own time embedding.
        attention: "divided" over time, then over space; "joint" over all patches of the clip, at a cost that grows
            with the square of its length; "space" within each frame, with averaged class tokens at the end.
        backbone: a timm vision transformer with a class token.
        pretrained: "imagenet" starts from timm's weights; None starts from random weights.
        backbone_args: arguments for timm's constructor, e.g. `{"depth": 4, "embed_dim": 192, "num_heads": 3}`.
        drop_path: rate of dropped residual branches in the last block, rising linearly from 0 in the first.
        position_std: standard deviation of the initial position and time embeddings; None uses the published 0.02 for
            positions and zeros for time, as ImageNet weights need. From random weights, 0.5 learns them much sooner.
        time_std: standard deviation of the initial time embeddings; None uses `position_std`. Attention over "space"
            has no time embeddings.
        crop_px: height and width of a frame.

    Raises:
        ConfigError: the backbone is not a plain vision transformer, or does not accept `backbone_args`.
        WeightsError: the ImageNet weights cannot be fetched.
    """

    head_std = 0.02
    usual_recipe = "k400/timesformer_b16_8f"

    def __init__(
        self,
        *,
        num_classes: int = 400,
        num_frames: int = 8,
        attention: Attention = "divided",
        backbone: str = "vit_base_patch16_224",
        pretrained: Pretrained = None,
        backbone_args: dict[str, Any] | None = None,
        drop_path: float = 0.1,
        position_std: float | None = None,
        time_std: float | None = None,
        crop_px: int = 224,
    ):
        super().__init__()
        self.input_shape = (num_frames, 3, crop_px, crop_px)
        args = {"img_size": crop_px, "drop_path_rate": drop_path, **(backbone_args or {})}
        vit: Any = vision_transformer(backbone, pretrained=pretrained, args=args, position_std=position_std)
        if attention == "divided":
            vit.blocks = nn.ModuleList(DividedBlock(block, is_first=i == 0) for i, block in enumerate(vit.blocks))
        self.attention, self.backbone = attention, vit
        self.num_features = int(self.backbone.num_features)
        if attention != "space":
            self.time_embed = nn.Parameter(torch.zeros(1, num_frames, self.num_features))
            time_std = position_std if time_std is None else time_std
            if time_std is not None:
                nn.init.normal_(self.time_embed, std=time_std)
        self.reset_classifier(num_classes)

    def forward_features(self, x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b d"]:
        cls, _ = self._tokens(x)
        return self.backbone.norm(cls)

    def forward_maps(self, x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b _ _ _ _"]:
        _, patches = self._tokens(x)
        grid = self.backbone.patch_embed.grid_size
        return self.backbone.norm(patches).permute(0, 3, 2, 1).unflatten(3, grid)

    def _tokens(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the class token [b d] and the patches [b n t d] of clips, both before the last normalization."""
        b, t = x.shape[:2]
        if x.shape[1:] != self.input_shape:
            raise ConfigError(
                f"{self.name}: the clip has shape {tuple(x.shape[1:])}; the model was built for {self.input_shape} "
                "[t c h w]: sample as many frames, or set num_frames and crop_px"
            )
        vit = self.backbone
        tokens = vit.patch_embed(x.flatten(0, 1))
        tokens = torch.cat([vit.cls_token.expand(b * t, -1, -1), tokens], 1) + vit.pos_embed
        tokens = vit.pos_drop(tokens)
        if self.attention == "space":
            tokens = vit.blocks(tokens).unflatten(0, (b, t))
            return tokens[:, :, 0].mean(1), tokens[:, :, 1:].transpose(1, 2)
        tokens = tokens.unflatten(0, (b, t))
        cls, patches = tokens[:, 0, :1], tokens[:, :, 1:].transpose(1, 2) + self.time_embed
        if self.attention == "joint":
            tokens = vit.blocks(torch.cat([cls, patches.flatten(1, 2)], 1))
            return tokens[:, 0], tokens[:, 1:].unflatten(1, (-1, t))
        for block in vit.blocks:
            cls, patches = block(cls, patches)
        return cls.squeeze(1), patches


@register_model
class PPTimesformer(Timesformer):
    """PaddleVideo's TimeSformer: attention without bias, and embeddings without weight decay.

    Inputs are scaled to 0..1, without further normalisation.

    Input, output, args: as for `timesformer`.
    """

    usual_recipe = "k400/pptimesformer_b16_8f"

    def __init__(
        self,
        *,
        num_classes: int = 400,
        num_frames: int = 8,
        attention: Attention = "divided",
        backbone: str = "vit_base_patch16_224",
        pretrained: Pretrained = None,
        backbone_args: dict[str, Any] | None = None,
        drop_path: float = 0.1,
        position_std: float | None = None,
        time_std: float | None = None,
        crop_px: int = 224,
    ):
        super().__init__(
            num_classes=num_classes,
            num_frames=num_frames,
            attention=attention,
            backbone=backbone,
            pretrained=pretrained,
            backbone_args={"qkv_bias": False, **(backbone_args or {})},
            drop_path=drop_path,
            position_std=position_std,
            time_std=time_std,
            crop_px=crop_px,
        )
        self.param_rules = (ParamRule(r"(cls_token|pos_embed|time_embed|^head\.bias)$", weight_decay=0.0),)


def vision_transformer(
    name: str, *, pretrained: Pretrained, args: dict[str, Any], position_std: float | None = None
) -> VisionTransformer:
    """Returns timm's plain vision transformer `name`: class token, learned positions, no layer scale.

    Raises:
        ConfigError: `name` is not such a model or does not accept `args`, or `position_std` is set with `pretrained`.
        WeightsError: the ImageNet weights cannot be fetched.
    """
    if position_std is not None and pretrained is not None:
        raise ConfigError(
            f"position_std: is {position_std}, but '{pretrained}' weights include learned positions; leave out one of "
            "pretrained and position_std"
        )
    vit: Any = image_backbone(name, pretrained=pretrained, args=args)
    plain = (
        isinstance(vit, VisionTransformer)
        and vit.cls_token is not None
        and vit.num_prefix_tokens == 1
        and vit.pos_embed is not None
        and isinstance(vit.norm_pre, nn.Identity)
        and all(isinstance(getattr(block, "ls1", None), nn.Identity) for block in vit.blocks)
    )
    if not plain:
        raise ConfigError(
            f"backbone: '{name}' is not a plain vision transformer with one class token and learned positions; "
            "take e.g. vit_base_patch16_224"
        )
    if position_std is not None:
        nn.init.normal_(vit.pos_embed, std=position_std)
    return vit
