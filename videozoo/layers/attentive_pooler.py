"""Attentive pooling: one learned query reads the tokens of a clip."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import Mlp
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from videozoo.shapes import Float

__all__ = ["AttentivePooler"]


class CrossAttention(nn.Module):
    """Attention of queries to tokens, without a projection of the result."""

    def __init__(self, width: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * width)

    def forward(self, query: Tensor, tokens: Tensor) -> Tensor:
        """Maps queries [b q d], which attend to tokens [b n d], to [b q d]."""
        q = self.q(query).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
        k, v = self.kv(tokens).unflatten(-1, (2, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


class CrossBlock(nn.Module):
    """Cross attention, then an MLP, each added to the query."""

    def __init__(self, width: int, num_heads: int, mlp_ratio: float, eps: float):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=eps)
        self.xattn = CrossAttention(width, num_heads)
        self.norm2 = nn.LayerNorm(width, eps=eps)
        self.mlp = Mlp(width, int(width * mlp_ratio))

    def forward(self, query: Tensor, tokens: Tensor) -> Tensor:
        query = query + self.xattn(query, self.norm1(tokens))
        return query + self.mlp(self.norm2(query))


class AttentivePooler(nn.Module):
    """Pools the tokens of a frozen encoder: `depth` blocks of self-attention, then one query that attends to all.

    Paper: Bardes et al., arXiv:2404.08471, section 4; four blocks in all in V-JEPA 2, arXiv:2506.09985.

    Input:  tokens [b, n, width].
    Output: features [b, width].

    Args:
        depth: blocks of self-attention before the query.
        eps: of the normalisations.
    """

    def __init__(self, width: int, *, num_heads: int, depth: int = 3, mlp_ratio: float = 4.0, eps: float = 1e-6):
        super().__init__()
        norm: Any = partial(nn.LayerNorm, eps=eps)
        self.query_tokens = nn.Parameter(torch.empty(1, 1, width))
        self.blocks = nn.ModuleList(
            Block(width, num_heads, mlp_ratio=mlp_ratio, qkv_bias=True, norm_layer=norm) for _ in range(depth)
        )
        self.cross_attention_block = CrossBlock(width, num_heads, mlp_ratio, eps)
        nn.init.trunc_normal_(self.query_tokens, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b d"]:
        for block in self.blocks:
            tokens = block(tokens)
        return self.cross_attention_block(self.query_tokens.expand(tokens.shape[0], -1, -1), tokens).squeeze(1)
