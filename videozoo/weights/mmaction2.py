"""Names in MMAction2 checkpoints, versions 0.x and 1.x."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from videozoo.models.model import VideoModel
from videozoo.weights.conventions import bias_prefix
from videozoo.weights.keymap import KeyMap, Port, Rename
from videozoo.weights.shift_order import swap_shifted_channels, wrapped_by_shift

__all__ = ["PORTS"]

CLEANING: list[Rename] = [(r"^module\.", "")]
HEAD: Rename = (r"^head\.", "cls_head.fc_cls.")
RESNET: list[Rename] = [
    HEAD,
    (r"\.conv(\d)\.", r".conv\1.conv."),
    (r"\.bn(\d)\.", r".conv\1.bn."),
    (r"\.downsample\.0\.", ".downsample.conv."),
    (r"\.downsample\.1\.", ".downsample.bn."),
]
PREPROCESSOR = r"^data_preprocessor\."


def tsn(model: VideoModel) -> KeyMap:
    """Maps to a ResNet in which each convolution is a module with its normalisation."""
    return KeyMap(RESNET, ignored=[PREPROCESSOR], cleaning=CLEANING)


def tsm(model: VideoModel) -> KeyMap:
    """Maps as `tsn`; the shift wraps the first convolution of a block and has the opposite direction."""
    return KeyMap(
        [*RESNET, wrapped_by_shift(model, "conv1.conv")],
        builders=swap_shifted_channels(model, source="mmaction2"),
        ignored=[PREPROCESSOR],
        cleaning=CLEANING,
    )


def slowfast(model: VideoModel) -> KeyMap:
    """Maps with the fast path first in the classifier; without `lateral_norm` there is no `..._lateral.bn`."""
    num_fast = model.get_parameter("fast_stages.3.0.c.conv.weight").shape[0]
    lateral = {0: "conv1", 1: "layer1", 2: "layer2", 3: "layer3"}
    part = {"a": "conv1", "b": "conv2", "c": "conv3"}
    return KeyMap(
        [
            HEAD,
            (r"^(slow|fast)_stem\.0\.", r"backbone.\1_path.conv1."),
            (r"^laterals\.(\d)\.0\.", lambda m: f"backbone.slow_path.{lateral[int(m[1])]}_lateral."),
            (r"^(slow|fast)_stages\.(\d)\.", lambda m: f"backbone.{m[1]}_path.layer{int(m[2]) + 1}."),
            (r"\.([abc])\.(?=conv|norm)", lambda m: f".{part[m[1]]}."),
            (r"\.shortcut\.", ".downsample."),
            (r"\.norm\.", ".bn."),
        ],
        builders={r"^head\.weight$": lambda name, state: np.roll(state[name], -num_fast, axis=1)},
        writers={r"^head\.weight$": lambda value: np.roll(value, num_fast, axis=1)},
        ignored=[PREPROCESSOR],
        cleaning=CLEANING,
    )


def timesformer(model: VideoModel) -> KeyMap:
    """Maps temporal attention to attention 0 of a layer, spatial to 1; each has its norm and torch's projection names.

    A layer with joint or only spatial attention has one attention, with the norms in a list.
    """
    divided = model.attention == "divided"
    return KeyMap(
        [
            HEAD,
            (r"^time_embed$", "backbone.time_embed"),
            (r"\bpatch_embed\.proj\b", "patch_embed.projection"),
            (r"\bblocks\.(\d+)\.", r"transformer_layers.layers.\1."),
            (r"\.temporal_norm1\.", ".attentions.0.norm."),
            (r"\.temporal_attn\.", ".attentions.0.attn."),
            (r"\.temporal_fc\.", ".attentions.0.temporal_fc."),
            (r"(layers\.\d+)\.norm1\.", r"\1.attentions.1.norm." if divided else r"\1.norms.0."),
            (r"(layers\.\d+)\.attn\.", rf"\1.attentions.{int(divided)}.attn."),
            (r"\.attn\.qkv\.(weight|bias)$", r".attn.in_proj_\1"),
            (r"\.attn\.proj\.", ".attn.out_proj."),
            (r"\.norm2\.", ".ffns.0.norm." if divided else ".norms.1."),
            (r"\.mlp\.fc1\.", ".ffns.0.layers.0.0."),
            (r"\.mlp\.fc2\.", ".ffns.0.layers.1."),
        ],
        ignored=[PREPROCESSOR],
        cleaning=CLEANING,
    )


def videoswin(model: VideoModel) -> KeyMap:
    """Maps to the same names except for the last norm; the authors' own repository (version 0.x) calls it `norm`."""
    return KeyMap(
        [HEAD, (r"^norm\.", "norm3."), (r"^(?!cls_head\.)", "backbone.")],
        ignored=[PREPROCESSOR, r"\.relative_position_index$"],
        cleaning=[*CLEANING, (r"^backbone\.norm\.", "backbone.norm3.")],
    )


HALF_NORM = {"mean": [0.5] * 3, "std": [0.5] * 3}
IMAGENET_NORM = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


def _bare_laterals(names: Iterable[str]) -> Mapping[str, Any]:
    has_laterals = any("_lateral.conv." in name for name in names)
    return {"lateral_norm": False} if has_laterals and not any("_lateral.bn." in name for name in names) else {}


def _strided_frames(model: Any) -> Mapping[str, Any]:
    return {} if model.slow_frames == "strided" else {"slow_frames": "strided"}


def _whole_frame(model: Any) -> Mapping[str, Any]:
    """Returns `pooling`, which differs only for frames larger than the crop, as in the published test."""
    return {} if model.window is None else {"pooling": "frame"}


PORTS: Mapping[str, Port] = {
    "slowfast": Port(
        slowfast,
        conventions=(_strided_frames, _whole_frame),
        read_state=_bare_laterals,
        input=IMAGENET_NORM,
    ),
    "timesformer": Port(timesformer, input=HALF_NORM),
    "tsm": Port(tsm),
    "tsn": Port(tsn),
    "videoswin": Port(videoswin, conventions=(bias_prefix,)),
}
