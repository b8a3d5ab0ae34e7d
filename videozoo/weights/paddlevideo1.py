"""Names in the checkpoints of the static-graph models of 2019 and 2020 (PaddlePaddle/models, PaddleCV/video)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from videozoo.models.model import VideoModel
from videozoo.weights.keymap import KeyMap, Rename
from videozoo.weights.paddlevideo import resnet_block_letters

__all__ = ["KEY_MAPS", "NAMED_NORM", "resnet_names"]

NAMED_NORM: list[Rename] = [  # `bn..` with the name of its layer
    (r"(\bbn\w*)\.weight$", r"\1_scale"),
    (r"(\bbn\w*)\.bias$", r"\1_offset"),
    (r"(\bbn\w*)\.running_mean$", r"\1_mean"),
    (r"(\bbn\w*)\.running_var$", r"\1_variance"),
]


def resnet(model: VideoModel) -> KeyMap:
    """ResNet with one anonymous linear layer on top: TSN and TSM."""
    return KeyMap(
        [*resnet_names(model), (r"^head\.weight$", "fc_0.w_0"), (r"^head\.bias$", "fc_0.b_0")], linear_in_out=True
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


KEY_MAPS: Mapping[str, Callable[[VideoModel], KeyMap]] = {
    "tsm": resnet,
    "tsn": resnet,
}
