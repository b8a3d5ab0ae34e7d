"""Names in the checkpoints of Hiera's authors (facebookresearch/hiera), fine-tuned and pre-trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from videozoo.models.model import VideoModel
from videozoo.weights.keymap import KeyMap, Port, Tensors
from videozoo.weights.vit_state import has, shape_of

__all__ = ["PORTS"]


def hiera(model: VideoModel) -> KeyMap:
    """Maps to timm's names with another name of the head; a pre-trained model has no last norm."""
    return KeyMap(
        [(r"^head\.", "head.projection."), (r"^body\.head\.norm\.", "norm."), (r"^body\.", "")],
        builders={
            r"^body\.head\.norm\.weight$": lambda name, state: _or(np.ones, name, state),
            r"^body\.head\.norm\.bias$": lambda name, state: _or(np.zeros, name, state),
        },
        ignored=[r"^(decoder|encoder_norm|multi_scale_fusion_heads)", r"^mask_token$"],
        cleaning=[(r"^module\.", "")],
    )


def _or(start: Any, name: str, state: Tensors) -> np.ndarray:
    """Returns a tensor, or its first value if `state` is of a pre-trained model."""
    if name not in state and "encoder_norm.weight" in state:
        return np.asarray(start(state["encoder_norm.weight"].shape[0], np.float32))
    return state[name]


def _read_state(state: Tensors) -> dict[str, Any]:
    """Returns width, heads, depths and size; the blocks' outputs show the stages."""
    widths: list[int] = []
    while (shape := shape_of(state, rf"^(module\.)?blocks\.{len(widths)}\.attn\.proj\.weight$")) is not None:
        widths.append(shape[0])
    places, times = shape_of(state, r"\bpos_embed_spatial$"), shape_of(state, r"\bpos_embed_temporal$")
    if not widths or places is None or times is None:
        return {}
    found = {
        "width": widths[0],
        "depths": tuple(widths.count(widths[0] * 2**stage) for stage in range(4)),
        "num_frames": 2 * times[1],
        "crop_px": 4 * round(places[1] ** 0.5),
    }
    heads = {96: 1, 112: 2, 144: 2, 256: 4}
    found |= {"num_heads": heads[widths[0]]} if widths[0] in heads else {}
    return found | ({} if has(state, r"head\.projection\.weight$") else {"num_classes": 0})


def _recognizes(state: Tensors) -> bool:
    return has(
        state, r"\bpos_embed_spatial$", r"blocks\.0\.attn\.qkv\.weight$", r"patch_embed\.proj\.weight$"
    ) and not has(state, r"cls_token$")


PORTS: Mapping[str, Port] = {"hiera": Port(hiera, recognizes=_recognizes, read_state=_read_state)}
