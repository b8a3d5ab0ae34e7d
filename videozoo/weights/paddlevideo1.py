"""Names in the checkpoints of the static-graph models of 2019 and 2020 (PaddlePaddle/models, PaddleCV/video)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from torch import nn

from videozoo.models.model import VideoModel
from videozoo.weights import paddlevideo
from videozoo.weights.keymap import KeyMap, Rename
from videozoo.weights.paddlevideo import resnet_block_letters

__all__ = ["KEY_MAPS", "NAMED_NORM", "resnet_names"]

NAMED_NORM: list[Rename] = [  # `bn..` with the name of its layer
    (r"(\bbn\w*)\.weight$", r"\1_scale"),
    (r"(\bbn\w*)\.bias$", r"\1_offset"),
    (r"(\bbn\w*)\.running_mean$", r"\1_mean"),
    (r"(\bbn\w*)\.running_var$", r"\1_variance"),
]

ANONYMOUS: list[Rename] = [  # parameters are numbered by kind: w_0 and b_0 are learned, w_1 and w_2 running statistics
    (r"\.weight$", ".w_0"),
    (r"\.bias$", ".b_0"),
    (r"\.running_mean$", ".w_1"),
    (r"\.running_var$", ".w_2"),
]


def resnet(model: VideoModel) -> KeyMap:
    """ResNet with one anonymous linear layer on top: TSN and TSM."""
    return KeyMap(
        [*resnet_names(model), (r"^head\.weight$", "fc_0.w_0"), (r"^head\.bias$", "fc_0.b_0")],
        linear_in_out=True,
    )


def resnet_names(model: VideoModel) -> list[Rename]:
    """`res2a_branch2a_weights` with `bn2a_branch2a_scale`, and branch1 for the shortcut."""
    return [
        (r"^backbone\.conv1\.weight$", "conv1_weights"),
        (r"^backbone\.bn1\b", "bn_conv1"),
        (r"^backbone\.layer(\d)\.(\d+)", lambda m: f"{int(m[1]) + 1}{resnet_block_letters(model, m)}"),
        (r"^(\w+)\.conv(\d)\.weight$", lambda m: f"res{m[1]}_branch2{'abc'[int(m[2]) - 1]}_weights"),
        (r"^(\w+)\.bn(\d)\b", lambda m: f"bn{m[1]}_branch2{'abc'[int(m[2]) - 1]}"),
        (r"^(\w+)\.downsample\.0\.weight$", r"res\1_branch1_weights"),
        (r"^(\w+)\.downsample\.1\b", r"bn\1_branch1"),
        *NAMED_NORM,
    ]


def nonlocal_net(model: VideoModel) -> KeyMap:
    """`res3b_branch2a_weights` and `nonlocal_conv3_1_theta_w`, counted from 0; the classifier is `pred`."""

    def block(match: re.Match[str]) -> str:
        stage, index = int(match[1]), int(match[2])
        long = len(model.get_submodule(f"stages.{stage}.blocks")) == 23  # type: ignore[arg-type]
        return f"{stage + 2}{f'b{index}' if long and index else chr(ord('a') + index)}"

    return KeyMap(
        [
            (r"^stem\.0\.conv\.weight$", "conv1_weights"),
            (r"^stem\.0\.norm\b", "bn_conv1"),
            (r"^stages\.(\d)\.attention\.(\d+)\.", lambda m: f"nonlocal_conv{int(m[1]) + 2}_{m[2]}_"),
            (r"^(nonlocal\w+)_norm\.weight$", r"\1_bn_scale"),
            (r"^(nonlocal\w+)_norm\.bias$", r"\1_bn_offset"),
            (r"^(nonlocal\w+)_norm\.running_mean$", r"\1_bn_mean"),
            (r"^(nonlocal\w+)_norm\.running_var$", r"\1_bn_variance"),
            (r"^(nonlocal\w+)\.weight$", r"\1_w"),
            (r"^(nonlocal\w+)\.bias$", r"\1_b"),
            (r"^stages\.(\d)\.blocks\.(\d+)", block),
            (r"^(\w+)\.([abc])\.conv\.weight$", r"res\1_branch2\2_weights"),
            (r"^(\w+)\.([abc])\.norm\b", r"bn\1_branch2\2"),
            (r"^(\w+)\.shortcut\.conv\.weight$", r"res\1_branch1_weights"),
            (r"^(\w+)\.shortcut\.norm\b", r"bn\1_branch1"),
            (r"^head\.weight$", "pred_w"),
            (r"^head\.bias$", "pred_b"),
            *NAMED_NORM,
        ],
        linear_in_out=True,
    )


def stnet(model: VideoModel) -> KeyMap:
    """ResNet; the layers between its stages are numbered among all of their kind, those of the head have names."""
    norms = [sum(isinstance(m, nn.BatchNorm2d) for m in stage.modules()) for stage in _stages(model)]
    numbers = 1 + sum(norms[:2]), 2 + sum(norms[:3])  # the stem's is the first
    head = {
        "norm": "bn",
        "depthwise1": "att_conv",
        "pointwise1": "att_2",
        "norm1": "bndw",
        "depthwise2": "att1",
        "pointwise2": "att1_2",
        "shortcut": "dw",
        "norm2": "bn2",
    }
    return KeyMap(
        [
            *resnet_names(model),
            (r"^temporal\.(\d)\.conv\b", r"conv3d_\1"),
            (r"^temporal\.(\d)\.norm\b", lambda m: f"batch_norm_{numbers[int(m[1])]}"),
            (r"^xception\.(\w+)", lambda m: f"xception_{head[m[1]]}"),
            (r"^head\.", "fc_0."),
            *ANONYMOUS,
        ],
        linear_in_out=True,
    )


def _stages(model: VideoModel) -> list[nn.Module]:
    return [model.get_submodule(f"backbone.layer{stage}") for stage in (1, 2, 3, 4)]


def slowfast(model: VideoModel) -> KeyMap:
    """The names of PaddleVideo 2.x, without their prefix `backbone`."""
    later = paddlevideo.slowfast(model)
    return KeyMap([*later.renames, (r"^backbone\.", "")], linear_in_out=True)


KEY_MAPS: Mapping[str, Callable[[VideoModel], KeyMap]] = {
    "nonlocal": nonlocal_net,
    "slowfast": slowfast,
    "stnet": stnet,
    "tsm": resnet,
    "tsn": resnet,
}
