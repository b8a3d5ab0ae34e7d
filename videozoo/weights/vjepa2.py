"""Names in the checkpoints of V-JEPA 2's authors (facebookresearch/vjepa2): encoders, and classifiers on them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from videozoo.models.model import VideoModel
from videozoo.weights.keymap import KeyMap, Port, Tensors
from videozoo.weights.vit_state import has, vit_sizes

__all__ = ["PORTS"]

CLASSIFIER_EPS, CLASSIFIER_HEADS = 1e-5, 16


def vjepa2(model: VideoModel) -> KeyMap:
    """Maps to the same names; version 2.1 has four last norms, of which the fourth is used after training.

    Its layers for images are ignored, as are the stored positions of version 2, which no layer reads.
    """
    is_21 = getattr(model, "version", "2") == "2.1"
    return KeyMap(
        [(r"^head\.", "linear."), *([(r"^norm\.", "norms_block.3.")] if is_21 else [])],
        ignored=[r"^pos_embed$", r"^patch_embed_img\.", r"^img_mod_embed$", r"^norms_block\.[012]\."],
        cleaning=[(r"^(module\.|backbone\.)+", "")],
    )


def _read_state(state: Tensors) -> dict[str, Any]:
    has_pooler = any(name.endswith("pooler.query_tokens") for name in state)
    is_21 = any(name.endswith("video_mod_embed") for name in state)
    return {
        **vit_sizes(
            state,
            embed=r"patch_embed\.proj\.weight$",
            block=r"(?<!pooler\.)blocks\.(\d+)\.attn\.qkv\.weight$",
            mlp=r"(?<!pooler\.)blocks\.0\.mlp\.fc1\.weight$",
            heads={768: 12, 1024: 16, 1280: 16, 1408: 22, 1664: 26},
        ),
        **({"version": "2.1", "crop_px": 384} if is_21 else {}),
        **({"pooler_heads": CLASSIFIER_HEADS} if has_pooler else {"pooling": "mean", "num_classes": 0}),
    }


def _classifier_eps(model: Any) -> Mapping[str, Any]:
    differs = model.pooler is not None and model.pooler_eps != CLASSIFIER_EPS
    return {"pooler_eps": CLASSIFIER_EPS} if differs else {}


def _recognizes(state: Tensors) -> bool:
    return has(state, r"patch_embed\.proj\.weight$", r"^(module\.|backbone\.)*blocks\.0\.attn\.qkv\.bias$") and not has(
        state, r"\bpos_embed_spatial$"
    )


PORTS: Mapping[str, Port] = {
    "vjepa2": Port(vjepa2, conventions=(_classifier_eps,), recognizes=_recognizes, read_state=_read_state),
}
