"""Names in the checkpoints of VideoMAE's authors (MCG-NJU/VideoMAE, OpenGVLab/VideoMAEv2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from videozoo.models.model import VideoModel
from videozoo.weights.keymap import KeyMap, Port, Tensors
from videozoo.weights.vit_state import has, shape_of, vit_sizes

__all__ = ["PORTS", "has_names", "key_map", "read_state"]


def key_map(model: VideoModel) -> KeyMap:
    """Maps to the same names, with biases of queries and values only; drops a decoder."""
    pooled = getattr(model, "norm_place", "pooled") == "pooled"
    return KeyMap(
        [(r"^norm\.", "fc_norm.")] if pooled else [],
        builders={r"\.attn\.qkv\.bias$": _query_value_biases},
        ignored=[r"^(decoder|encoder_to_decoder)\.", r"^mask_token$"],
        cleaning=[(r"^(module\.|model\.|encoder\.)+", "")],
    )


def _query_value_biases(name: str, state: Tensors) -> np.ndarray:
    query, value = (state[name.replace(".qkv.bias", f".{part}_bias")] for part in ("q", "v"))
    return np.concatenate([query, np.zeros_like(query), value])


def has_names(state: Tensors) -> bool:
    """Returns whether tensors have the names of these projects, which Unmasked Teacher shares."""
    return has(state, r"blocks\.0\.attn\.q_bias$", r"patch_embed\.proj\.weight$")


def read_state(state: Tensors) -> dict[str, Any]:
    sizes = vit_sizes(
        state,
        embed=r"(?<!decoder\.)patch_embed\.proj\.weight$",
        block=r"^(?!.*decoder\.).*blocks\.(\d+)\.norm1\.weight$",
        mlp=r"^(?!.*decoder\.).*blocks\.0\.mlp\.fc1\.weight$",
        heads={384: 6, 768: 12, 1024: 16, 1280: 16, 1408: 16},
    )
    is_pooled = has(state, r"(^|\.)fc_norm\.weight$")
    return {
        **sizes,
        **({} if is_pooled else {"norm_place": "tokens"}),
        **({"positions": "learned"} if has(state, r"(^|\.)pos_embed$") else {}),
        **({} if has(state, r"(^|\.)head\.weight$") else {"num_classes": 0}),
    }


def _recognizes(state: Tensors) -> bool:
    shape = shape_of(state, r"patch_embed\.proj\.weight$")
    return has_names(state) and shape is not None and shape[2:3] != (1,)


PORTS: Mapping[str, Port] = {"videomae": Port(key_map, recognizes=_recognizes, read_state=read_state)}
