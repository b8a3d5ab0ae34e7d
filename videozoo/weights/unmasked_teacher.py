"""Names in the checkpoints of Unmasked Teacher (OpenGVLab/unmasked_teacher, single_modality)."""

from __future__ import annotations

from collections.abc import Mapping

from videozoo.weights.keymap import Port, Tensors
from videozoo.weights.videomae import has_names, key_map, read_state
from videozoo.weights.vit_state import shape_of

__all__ = ["PORTS"]


def _recognizes(state: Tensors) -> bool:
    """Returns whether the patches of VideoMAE's layout are those of single frames."""
    shape = shape_of(state, r"patch_embed\.proj\.weight$")
    return has_names(state) and shape is not None and shape[2:3] == (1,)


PORTS: Mapping[str, Port] = {"umt": Port(key_map, recognizes=_recognizes, read_state=read_state)}
