"""Names in the files of torchvision's video models."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from videozoo.models.model import VideoModel
from videozoo.weights.conventions import bias_prefix
from videozoo.weights.keymap import KeyMap, Port, Tensors
from videozoo.weights.vit_state import has, shape_of

__all__ = ["PORTS"]


def s3d(model: VideoModel) -> KeyMap:
    """Maps to the same names; the classifier is a convolution of 1 x 1 x 1."""
    return KeyMap(
        [(r"^head\.", "classifier.1.")],
        builders={r"^head\.weight$": lambda name, state: _squeezed(state[name])},
        cleaning=[(r"^module\.", "")],
    )


def _squeezed(weight: np.ndarray) -> np.ndarray:
    return weight.reshape(weight.shape[:2])


def mvit(model: VideoModel) -> KeyMap:
    """Maps to the same names."""
    return KeyMap([(r"^head\.", "head.1."), (r"^body\.", "")], cleaning=[(r"^module\.", "")])


def _mvit_state(state: Tensors) -> dict[str, Any]:
    """Returns version, width and the depths, which the changes of the blocks' widths show."""
    widths: list[int] = []
    while (shape := shape_of(state, rf"^(module\.)?blocks\.{len(widths)}\.norm1\.weight$")) is not None:
        widths.append(shape[0])
    version = 2 if has(state, r"rel_pos_h$") else 1
    if not widths or widths[-1] != 8 * widths[0]:
        return {"version": version}
    firsts = [widths.index(widths[0] * 2**stage) for stage in range(4)]
    if version == 2:  # the width of a stage enters its second block
        firsts = [max(first - 1, 0) for first in firsts]
    depths = tuple(end - start for start, end in zip(firsts, [*firsts[1:], len(widths)], strict=True))
    return {"version": version, "width": widths[0], "depths": depths}


def videoswin(model: VideoModel) -> KeyMap:
    """Maps to stages and mergings in one list, and to MLPs without names of layers."""
    return KeyMap(
        [
            (r"^layers\.(\d)\.blocks\.", lambda found: f"features.{2 * int(found[1])}."),
            (r"^layers\.(\d)\.downsample\.", lambda found: f"features.{2 * int(found[1]) + 1}."),
            (r"\.mlp\.fc1\.", ".mlp.0."),
            (r"\.mlp\.fc2\.", ".mlp.3."),
        ],
        ignored=[r"\.relative_position_index$"],
        cleaning=[(r"^module\.", "")],
    )


def _videoswin_state(state: Tensors) -> dict[str, Any]:
    embed = shape_of(state, r"patch_embed\.proj\.weight$")
    table = r"features\.(\d)\.(\d+)\.attn\.relative_position_bias_table$"
    blocks = {
        (int(found[1]), int(found[2])): value for name, value in state.items() if (found := re.search(table, name))
    }
    stages = sorted({stage for stage, _ in blocks})
    if embed is None or len(stages) != 4:
        return {}
    return {
        "width": embed[0],
        "depths": tuple(sum(stage == wanted for stage, _ in blocks) for wanted in stages),
        "num_heads": tuple(blocks[stage, 0].shape[1] for stage in stages),
    }


FIRST_CONVOLUTION = r"^(module\.)?features\.0\.0\.0\.weight$"

PORTS: Mapping[str, Port] = {
    "mvit": Port(
        mvit,
        recognizes=lambda state: has(state, r"pos_encoding\.class_token$", r"blocks\.0\.attn\.project\.0\.weight$"),
        read_state=_mvit_state,
    ),
    "s3d": Port(s3d, recognizes=lambda state: has(state, FIRST_CONVOLUTION, r"classifier\.1\.weight$")),
    "videoswin": Port(
        videoswin,
        conventions=(bias_prefix,),
        recognizes=lambda state: has(state, r"features\.0\.0\.attn\.relative_position_bias_table$"),
        read_state=_videoswin_state,
    ),
}
