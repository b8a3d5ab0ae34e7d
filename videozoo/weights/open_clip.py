"""Names in the weights of open_clip_torch, for dual encoders."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from videozoo.models.model import VideoModel
from videozoo.weights.keymap import KeyMap, Port, Tensors

__all__ = ["PORTS"]

PROJECTION, SCALE = r"^text\.projection\.weight", r"^logit_scale$"


def pe_core(model: VideoModel) -> KeyMap:
    """Maps the image tower to timm's names below `visual.trunk`, and the text tower to `resblocks`."""
    return KeyMap(
        [
            (r"^image\.", "visual.trunk."),
            (r"^text\.blocks\.(\d+)\.", r"text.transformer.resblocks.\1."),
            (r"^(text.*resblocks\.\d+)\.qkv\.", r"\1.attn.in_proj_"),
            (r"^(text.*resblocks\.\d+)\.norm(\d)", r"\1.ln_\2"),
            (r"^(text.*resblocks\.\d+)\.proj\.", r"\1.attn.out_proj."),
            (r"^(text.*resblocks\.\d+)\.fc1\.", r"\1.mlp.c_fc."),
            (r"^(text.*resblocks\.\d+)\.fc2\.", r"\1.mlp.c_proj."),
            (r"^text\.tokens\.weight", "text.token_embedding.weight"),
            (r"^text\.positions", "text.positional_embedding"),
            (r"^text\.norm\.", "text.ln_final."),
            (PROJECTION, "text.text_projection"),
        ],
        builders={PROJECTION: _transposed, SCALE: lambda name, state: state[name].reshape(1)},
        writers={PROJECTION: np.transpose, SCALE: np.squeeze},
    )


def _transposed(name: str, state: Tensors) -> np.ndarray:
    transposed: np.ndarray = state[name].T
    return transposed


PORTS: Mapping[str, Port] = {"pe_core": Port(pe_core)}
