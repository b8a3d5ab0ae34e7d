"""Perception Encoder: a dual encoder, whose vectors of videos and of sentences can be compared."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from videozoo.errors import ConfigError
from videozoo.models.model import VideoModel
from videozoo.models.registry import register_model
from videozoo.shapes import Float, Int

__all__ = ["PeCore"]

FIRST_SCALE = 1 / 0.07  # of the scores, before training


@register_model
class PeCore(VideoModel):
    """PE-Core: vectors of videos and of sentences.

    Paper: Perception Encoder, arXiv:2504.13181. Image tower: timm's `vit_pe_core_*`. Text tower: a causal transformer
    whose last token is projected. Equal to open_clip_torch's PE-Core.

    Input: clips `[b t 3 h w]`. Output: vectors `[b embed_dim]`, the mean of the frames' vectors of length 1.

    Args:
        num_frames: frames of a clip; any number can be given.
        crop_px: size of the frames; None takes the tower's.
        backbone: timm's name of the image tower.
        backbone_args: arguments of the image tower.
        embed_dim: width of the vectors.
        text_dim, text_heads, text_depth: width, heads and blocks of the text tower.
        context: most tokens of a sentence.
        vocabulary: number of tokens.

    Raises:
        ConfigError: timm has no such image tower, or refuses its arguments.
    """

    is_classifier = False
    usual_recipe = "msrvtt/pe_core_b"

    def __init__(
        self,
        *,
        num_frames: int = 8,
        crop_px: int | None = None,
        backbone: str = "vit_pe_core_base_patch16_224",
        backbone_args: Mapping[str, Any] | None = None,
        embed_dim: int = 1024,
        text_dim: int = 1024,
        text_heads: int = 16,
        text_depth: int = 24,
        context: int = 32,
        vocabulary: int = 49408,
    ):
        super().__init__()
        if not timm.is_model(backbone):
            raise ConfigError(f"model pe_core.backbone: this timm has no '{backbone}'; upgrade timm to 1.0.18 or later")
        args = dict(backbone_args or {}) | ({} if crop_px is None else {"img_size": crop_px})
        try:
            self.image = timm.create_model(backbone, num_classes=embed_dim, global_pool="map", **args)
        except (TypeError, ValueError, AssertionError, LookupError, RuntimeError) as error:
            raise ConfigError(
                f"model pe_core.backbone_args: {error}; see the arguments of timm's '{backbone}'"
            ) from error
        projection = cast(nn.Linear, self.image.head)  # timm's initial weights are a classifier's
        nn.init.kaiming_normal_(projection.weight, nonlinearity="linear")
        self.text = TextTower(text_dim, text_heads, text_depth, embed_dim, context=context, vocabulary=vocabulary)
        self.logit_scale = nn.Parameter(torch.full((1,), math.log(FIRST_SCALE)))  # a scalar could not be sharded
        self.num_classes, self.num_features, self.context = 0, embed_dim, context
        height, width = self.image.patch_embed.img_size  # type: ignore[misc, union-attr]
        self.input_shape = (num_frames, 3, height, width)

    def forward(self, x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b d"]:
        return self.forward_features(x)

    def forward_features(self, x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b d"]:
        vectors = F.normalize(self.image(x.flatten(0, 1)), dim=-1)
        return vectors.unflatten(0, x.shape[:2]).mean(1)

    def forward_text(self, tokens: Int[Tensor, "n context"]) -> Float[Tensor, "n d"]:
        """Returns the vectors of length 1 of sentences, from `sentences.clip_bpe.encode`."""
        return F.normalize(self.text(tokens), dim=-1)


class TextTower(nn.Module):
    """A causal transformer over the tokens of a sentence."""

    def __init__(self, dim: int, heads: int, depth: int, embed_dim: int, *, context: int, vocabulary: int):
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, dim)
        self.positions = nn.Parameter(torch.empty(context, dim))
        self.blocks = nn.ModuleList(TextBlock(dim, heads, depth) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)
        self.projection = nn.Linear(dim, embed_dim, bias=False)
        nn.init.normal_(self.tokens.weight, std=0.02)
        nn.init.normal_(self.positions, std=0.01)
        nn.init.normal_(self.projection.weight, std=dim**-0.5)

    def forward(self, tokens: Int[Tensor, "n t"]) -> Float[Tensor, "n d"]:
        x = self.tokens(tokens) + self.positions[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        ends = tokens.argmax(-1)  # the end has the highest number
        return self.projection(self.norm(x)[torch.arange(x.shape[0], device=x.device), ends])


class TextBlock(nn.Module):
    """Attention to the tokens before, and a perceptron."""

    def __init__(self, dim: int, heads: int, depth: int):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.fc1, self.fc2 = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        deviations = ((self.qkv, dim**-0.5), (self.fc1, (2 * dim) ** -0.5))
        for layer, std in (*deviations, *((last, (2 * depth * dim) ** -0.5) for last in (self.proj, self.fc2))):
            nn.init.normal_(layer.weight, std=std)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Float[Tensor, "n t d"]) -> Float[Tensor, "n t d"]:
        query, key, value = self.qkv(self.norm1(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.proj(attended.transpose(1, 2).flatten(2))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))
