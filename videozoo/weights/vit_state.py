"""Facts about vision transformers that follow from their tensors."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from videozoo.weights.keymap import Tensors

__all__ = ["has", "joined", "shape_of", "vit_sizes"]


def vit_sizes(state: Tensors, *, embed: str, block: str, mlp: str, heads: Mapping[int, int]) -> dict[str, Any]:
    """Returns the sizes of a transformer of tubelets; nothing that its tensors do not show.

    Args:
        embed: pattern of the name of the patch embedding's weight, [width 3 (t) h w].
        block: pattern of the name of one tensor in each block; its group is the block's number.
        mlp: pattern of the weight of the first layer of an MLP, [mlp_width width].
        heads: attention heads by width, which no tensor shows.
    """
    patch, hidden = shape_of(state, embed), shape_of(state, mlp)
    depth = len({found[1] for name in state if (found := re.search(block, name))})
    if patch is None or hidden is None or not depth:
        return {}
    sizes = {"width": patch[0], "depth": depth, "mlp_width": hidden[0], "patch_px": patch[-1]}
    if len(patch) == 5:
        sizes["tubelet_frames"] = patch[2]
    return sizes | ({"num_heads": heads[patch[0]]} if patch[0] in heads else {})


def has(state: Tensors, *patterns: str) -> bool:
    """Returns whether each pattern matches the name of a tensor."""
    return all(any(re.search(pattern, name) for name in state) for pattern in patterns)


def shape_of(state: Tensors, pattern: str) -> tuple[int, ...] | None:
    """Returns the shape of the first tensor whose name matches."""
    return next((value.shape for name, value in state.items() if re.search(pattern, name)), None)


def joined(whole: str, *parts: str) -> Callable[[str, Tensors], np.ndarray]:
    """Returns a builder that joins their tensors `parts` where the mapped name has `whole`, along the first axis."""

    def build(name: str, state: Tensors) -> np.ndarray:
        return np.concatenate([state[name.replace(f".{whole}.", f".{part}.")] for part in parts])

    return build
