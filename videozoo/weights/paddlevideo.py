"""Names in PaddleVideo 2.x checkpoints (2021 to 2024)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from timm.models.resnet import BasicBlock
from torch import nn

from videozoo.models.model import VideoModel
from videozoo.models.pptsm_mobile import V2
from videozoo.weights.conventions import bias_prefix, dropout_at_inference
from videozoo.weights.keymap import KeyMap, Port, Rename

__all__ = ["NORM_STATS", "PORTS", "resnet_block_letters"]

NORM_STATS: list[Rename] = [(r"\.running_mean$", "._mean"), (r"\.running_var$", "._variance")]


def resnet(model: VideoModel) -> KeyMap:
    """Maps TSN and TSM to a ResNet with blocks `res2a`, `res2b` ..."""
    return KeyMap(
        [
            (r"^backbone\.conv1\b", "backbone.conv._conv"),
            (r"^backbone\.bn1\b", "backbone.conv._batch_norm"),
            (r"\blayer(\d)\.(\d+)", lambda m: f"res{int(m[1]) + 1}{resnet_block_letters(model, m)}"),
            (r"\.conv(\d)\b", lambda m: f".conv{int(m[1]) - 1}._conv"),
            (r"\.bn(\d)\b", lambda m: f".conv{int(m[1]) - 1}._batch_norm"),
            (r"\.downsample\.0\b", ".short._conv"),
            (r"\.downsample\.1\b", ".short._batch_norm"),
            (r"^head\.", "head.fc."),
            *NORM_STATS,
        ],
        linear_in_out=True,
    )


def resnet_d(model: VideoModel) -> KeyMap:
    """Maps PP-TSN and PP-TSM to blocks `bb_<stage>_<block>`, PP-TSM 18 and 34 to blocks `res2a`, `res2b` ..."""
    is_shallow_tsm = getattr(model, "shortcuts", None) == "strided"

    def block(match: re.Match[str]) -> str:
        if is_shallow_tsm:
            return f"res{int(match[1]) + 1}{resnet_block_letters(model, match)}"
        return f"bb_{int(match[1]) - 1}_{match[2]}"

    conv, norm = ("0", "1") if is_shallow_tsm else ("1", "2")
    stem = {
        "0": "conv1_1._conv",
        "1": "conv1_1._batch_norm",
        "3": "conv1_2._conv",
        "4": "conv1_2._batch_norm",
    }
    return KeyMap(
        [
            (r"^backbone\.conv1\.([0134])\b", lambda m: f"backbone.{stem[m[1]]}"),
            (r"^backbone\.conv1\.6\b", "backbone.conv1_3._conv"),
            (r"^backbone\.bn1\b", "backbone.conv1_3._batch_norm"),
            (r"\blayer(\d)\.(\d+)", block),
            (r"\.conv(\d)\b", lambda m: f".conv{int(m[1]) - 1}._conv"),
            (r"\.bn(\d)\b", lambda m: f".conv{int(m[1]) - 1}._batch_norm"),
            (rf"\.downsample\.{conv}\b", ".short._conv"),
            (rf"\.downsample\.{norm}\b", ".short._batch_norm"),
            (r"^head\.", "head.fc."),
            *NORM_STATS,
        ],
        linear_in_out=True,
    )


def slowfast(model: VideoModel) -> KeyMap:
    """Maps slow and fast to pathways 0 and 1; stages count from 1 (the stem) to 5."""
    paths = {"slow": 0, "fast": 1}
    return KeyMap(
        [
            (r"^(slow|fast)_stem\.0\.", lambda m: f"backbone.s1.pathway{paths[m[1]]}_stem."),
            (r"^laterals\.(\d)\.0\.conv", lambda m: f"backbone.s{int(m[1]) + 1}_fuse._conv_f2s"),
            (r"^laterals\.(\d)\.0\.norm", lambda m: f"backbone.s{int(m[1]) + 1}_fuse._bn"),
            (
                r"^(slow|fast)_stages\.(\d)\.(\d+)\.",
                lambda m: f"backbone.s{int(m[2]) + 2}.pathway{paths[m[1]]}_res{m[3]}.",
            ),
            (r"_stem\.conv\b", "_stem._conv"),
            (r"_stem\.norm\b", "_stem._bn"),
            (r"\.([abc])\.conv\b", r".branch2.\1"),
            (r"\.([abc])\.norm\b", r".branch2.\1_bn"),
            (r"\.shortcut\.conv\b", ".branch1"),
            (r"\.shortcut\.norm\b", ".branch1_bn"),
            (r"^head\.", "head.projection."),
            *NORM_STATS,
        ],
        linear_in_out=True,
    )


def vision_transformer(model: VideoModel) -> KeyMap:
    """Maps TimeSformer, PP-TimeSformer and TokenShift; only the classifier and the time embedding are renamed."""
    return KeyMap([(r"^time_embed$", "backbone.time_embed"), (r"^head\.", "head.fc.")], linear_in_out=True)


def videoswin(model: VideoModel) -> KeyMap:
    """Maps to the same names below `backbone`; ignores the stored relative positions, which follow from the window."""
    return KeyMap(
        [(r"^(?!head\.)", "backbone."), (r"^head\.", "head.fc.")],
        ignored=[r"\.relative_position_index$"],
        linear_in_out=True,
    )


def movinet(model: VideoModel) -> KeyMap:
    """Maps spatial (or full) convolutions to `conv_1`, temporal ones to `conv_2`; the classifier is convolutions."""

    def residual(match: re.Match[str]) -> str:
        is_pooled = not isinstance(model.get_submodule(f"blocks.{match[1]}.pool"), nn.Identity)
        return f"blocks.{match[1]}.res.{int(is_pooled)}"

    linear, axes = r"^(hidden|head)\.weight$", model.get_parameter("stem.space.0.weight").ndim - 2
    return KeyMap(
        [
            (r"^blocks\.(\d+)\.shortcut\b", residual),
            (r"\.space\.", ".conv_1."),
            (r"\.time\.", ".conv_2."),
            (r"^stem\b", "conv1"),
            (r"^last\b", "conv7"),
            (r"^hidden\b", "classifier.0.conv_1.0"),
            (r"^head\b", "classifier.3.conv_1.0"),
            (r"^", "backbone."),
            *NORM_STATS,
        ],
        builders={linear: lambda name, state: state[name].reshape(state[name].shape[:2])},
        writers={linear: lambda value: value.reshape(*value.shape, *[1] * axes)},
    )


def pptsm_v2(model: VideoModel) -> KeyMap:
    """Maps the kernels of a block to a list; ignores the fused kernel that is stored in addition."""

    def depthwise(match: re.Match[str]) -> str:
        several = len(model.get_submodule(f"{match[1]}.depthwise.branches")) > 1  # type: ignore[arg-type]
        return f"{match[1]}.dw_conv_list.{match[2]}" if several else f"{match[1]}.dw_conv"

    def pointwise(match: re.Match[str]) -> str:
        several = len(model.get_submodule(f"{match[1]}.pointwise")) > 1  # type: ignore[arg-type]
        return f"{match[1]}.pw_conv_{int(match[2]) + 1}" if several else f"{match[1]}.pw_conv"

    return KeyMap(
        [
            (r"^attention\.", "global_attention."),
            (r"^([\w.]+)\.depthwise\.branches\.(\d)", depthwise),
            (r"^([\w.]+)\.pointwise\.(\d)", pointwise),
            (r"\.attention\.fc(\d)", r".se.conv\1"),
            (r"\.norm\b", ".bn"),
            (r"^last\b", "last_conv"),
            (r"^head\b", "fc"),
            (r"^", "backbone."),
            *NORM_STATS,
        ],
        ignored=[r"\.dw_conv\.(weight|bias)$"],
        linear_in_out=True,
    )


def pptsm_mobile(model: VideoModel) -> KeyMap:
    """Maps version 2 to stages `conv2` to `conv8` with blocks, version 3 to blocks numbered throughout."""
    layers = {"expand": "expand_conv", "depthwise": "bottleneck_conv", "project": "linear_conv"}
    convs: list[Rename] = [(r"\b(expand|depthwise|project)\b", lambda m: layers[m[1]])]
    if model.version == "v2":
        names = [f"conv{i}" for i, (*_, depth, _) in enumerate(V2, 2) for _ in range(depth)]

        def block(match: re.Match[str]) -> str:
            stage = names[int(match[1])]
            place = int(match[1]) - names.index(stage)
            return f"{stage}.{stage}_{place + 1}._" if place else f"{stage}._first_block._"

        names_of_parts: list[Rename] = [
            (r"^blocks\.(\d+)\.", block),
            (r"^stem\b", "conv1"),
            (r"^widen\b", "conv9"),
            (r"\.0\.weight$", "._conv.weight"),
            (r"\.1\.(\w+)$", r"._batch_norm.\1"),
            (r"^head\b", "out"),
        ]
    else:
        names_of_parts = [
            (r"\.attention\.fc(\d)", r".mid_se.conv\1"),
            (r"^last\.0\b", "last_conv"),
            (r"^stem\b", "conv"),
            (r"^widen\b", "last_second_conv"),
            (r"\.0\.weight$", ".conv.weight"),
            (r"\.1\.(\w+)$", r".bn.\1"),
            (r"^head\b", "fc"),
        ]
    return KeyMap([*convs, *names_of_parts, (r"^", "backbone."), *NORM_STATS], linear_in_out=True)


def bmn(model: VideoModel) -> KeyMap:
    """Maps branches to `b` (base), `ts` and `te` (start, end), `p` (proposals); the 3-D layer joins the samples."""
    return KeyMap(
        [*BMN_BRANCHES, (r"^matching\b", "p_conv3d1"), (r"^", "backbone.")],
        builders={r"^matching\.weight$": lambda name, state: state[name].squeeze((-1, -2))},
    )


BMN_BRANCHES: list[Rename] = [
    (r"^base\.([02])\b", lambda m: f"b_conv{int(m[1]) // 2 + 1}"),
    (r"^(start|end)\.([02])\b", lambda m: f"t{m[1][0]}_conv{int(m[2]) // 2 + 1}"),
    (r"^reduce\b", "p_conv1"),
    (r"^confidence\.([0246])\b", lambda m: f"p_conv2d{int(m[1]) // 2 + 1}"),
]


def attention_lstm(model: VideoModel) -> KeyMap:
    """Maps both directions to one layer; ignores its second names, and the attention biases, which have no effect."""
    return KeyMap(
        [
            (r"^readers\.(\d)\.embedding\b", r"head.fc_feature\1"),
            (r"^readers\.(\d)\.attention\b", r"head.att_fc\1"),
            (r"^readers\.(\d)\.forward_lstm\b", r"head.bi_lstm\1"),
            (r"^readers\.(\d)\.backward_lstm\.(\w+)$", r"head.bi_lstm\1.\2_reverse"),
            (r"^fc(\d)\b", r"head.fc_out\1"),
            (r"^head\.(weight|bias)$", r"head.fc_logit.\1"),
        ],
        ignored=[r"\.0\.cell_(fw|bw)\.", r"\.att_fc\d\.bias$"],
        linear_in_out=True,
    )


def resnet_block_letters(model: nn.Module, match: re.Match[str]) -> str:
    """Returns a block's letter: `layer3.2` is block c; the third stage of ResNet-101 and 152 counts a, b1, b2 ..."""
    stage, block = match[1], int(match[2])
    if stage == "3" and block and len(model.get_submodule(f"backbone.layer{stage}")) > 6:  # type: ignore[arg-type]
        return f"b{block}"
    return chr(ord("a") + block)


SQUASHED = {"force_ratio": 4 / 3}  # every frame to 4:3, whatever its shape


def _shift_by_frames(model: Any) -> Mapping[str, Any]:
    """Returns the `shift_fraction` of PaddleVideo 2.x, which shifts fewer channels in longer clips."""
    fraction = 1 / model.num_segments
    return {} if math.isclose(model.shift_fraction, fraction) else {"shift_fraction": fraction}


def _projected_first(model: Any) -> Mapping[str, Any]:
    """Returns `first_projection` for ResNet-D 18 and 34; in deeper ones that block always has a projection."""
    stage = getattr(model.backbone, "layer1", None)
    return {"first_projection": True} if stage is not None and stage[0].downsample is None else {}


def _strided_shortcuts(model: Any) -> Mapping[str, Any]:
    """Returns the `shortcuts` of PP-TSM 18 and 34."""
    is_shallow = isinstance(next(iter(getattr(model.backbone, "layer1", ())), None), BasicBlock)
    return {"shortcuts": "strided"} if is_shallow and model.shortcuts != "strided" else {}


PORTS: Mapping[str, Port] = {
    "attention_lstm": Port(attention_lstm),
    "bmn": Port(bmn),
    "movinet": Port(movinet, input=SQUASHED),
    "pptimesformer": Port(vision_transformer),
    "pptsm": Port(
        resnet_d,
        conventions=(
            _shift_by_frames,
            _strided_shortcuts,
        ),
        input=SQUASHED,
    ),
    "pptsm_mobile": Port(
        pptsm_mobile,
        conventions=(
            _shift_by_frames,
            dropout_at_inference,
        ),
        input=SQUASHED,
    ),
    "pptsm_v2": Port(
        pptsm_v2,
        conventions=(
            _shift_by_frames,
            dropout_at_inference,
        ),
        input=SQUASHED,
    ),
    "pptsn": Port(resnet_d, conventions=(_projected_first,)),
    "slowfast": Port(slowfast),
    "timesformer": Port(vision_transformer),
    "tokenshift": Port(vision_transformer),
    "tsm": Port(resnet, conventions=(_shift_by_frames,)),
    "tsn": Port(resnet),
    "videoswin": Port(videoswin, conventions=(bias_prefix,)),
}
