"""Names in the checkpoints of the static-graph models of 2019 and 2020 (PaddlePaddle/models, PaddleCV/video)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import nn

from videozoo.errors import WeightsError
from videozoo.models.model import VideoModel
from videozoo.weights import paddlevideo
from videozoo.weights.conventions import dropout_at_inference
from videozoo.weights.keymap import KeyMap, Port, Rename, Tensors
from videozoo.weights.paddlevideo import SQUASHED, resnet_block_letters

__all__ = ["NAMED_NORM", "PORTS", "resnet_names"]

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
    """Maps TSN and TSM to a ResNet with one anonymous linear layer on top."""
    return KeyMap(
        [*resnet_names(model), (r"^head\.weight$", "fc_0.w_0"), (r"^head\.bias$", "fc_0.b_0")],
        linear_in_out=True,
    )


def resnet_names(model: VideoModel) -> list[Rename]:
    """Returns renames to `res2a_branch2a_weights` with `bn2a_branch2a_scale`, and branch1 for the shortcut."""
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
    """Maps to `res3b_branch2a_weights` and `nonlocal_conv3_1_theta_w`, counted from 0; the classifier is `pred`."""

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
    """Maps a ResNet; layers between its stages are numbered by kind, those of the head have names."""
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
    """Maps to the names of PaddleVideo 2.x, without their prefix `backbone`."""
    later = paddlevideo.slowfast(model)
    return KeyMap([*later.renames, (r"^backbone\.", "")], linear_in_out=True)


def bmn(model: VideoModel) -> KeyMap:
    """Maps to `Base_1`, `TEM_s1`, `PEM_2d1`; 1-D layers are stored as 2-D ones of height 1, the mask is computed."""
    return KeyMap(
        [
            (r"^base\.([02])\b", lambda m: f"Base_{int(m[1]) // 2 + 1}"),
            (r"^(start|end)\.([02])\b", lambda m: f"TEM_{m[1][0]}{int(m[2]) // 2 + 1}"),
            (r"^reduce\b", "PEM_1d"),
            (r"^matching\b", "PEM_3d1"),
            (r"^confidence\.([0246])\b", lambda m: f"PEM_2d{int(m[1]) // 2 + 1}"),
            *ANONYMOUS,
        ],
        builders={
            r"^(base|start|end)\..*weight$|^reduce\.weight$": _without_height,
            r"^matching\.weight$": lambda name, state: state[name].squeeze((-1, -2)),
        },
        ignored=[r"^sample_mask$"],
    )


def bsn_tem(model: VideoModel) -> KeyMap:
    return KeyMap(
        [(r"^base\.([02])\b", lambda m: f"Base_{int(m[1]) // 2 + 1}"), (r"^head\b", "Pred"), *ANONYMOUS],
        builders={r"\.weight$": _without_height},
    )


def bsn_pem(model: VideoModel) -> KeyMap:
    renames: list[Rename] = [(r"^hidden\b", "fc_0"), (r"^head\b", "fc_1"), *ANONYMOUS]
    return KeyMap(renames, ignored=_unread(model, "hidden"), linear_in_out=True)


def _unread(model: VideoModel, hidden: str) -> list[str]:
    """Returns the names to ignore: the hidden layer of 2019, which has no effect, if the model lacks it."""
    return [] if f"{hidden}.weight" in model.state_dict() else [r"^fc_0\."]


def bsn(model: VideoModel) -> KeyMap:
    """Maps both networks to the tensors of their two files together, whose names do not overlap."""
    return KeyMap(
        [
            (r"^tem\.base\.([02])\b", lambda m: f"Base_{int(m[1]) // 2 + 1}"),
            (r"^tem\.head\b", "Pred"),
            (r"^pem\.hidden\b", "fc_0"),
            (r"^pem\.head\b", "fc_1"),
            *ANONYMOUS,
        ],
        builders={r"^tem\..*weight$": _without_height},
        ignored=_unread(model, "pem.hidden"),
        linear_in_out=True,
    )


def ctcn(model: VideoModel) -> KeyMap:
    """Maps to anonymous layers, numbered in order of creation; the heads have names."""
    order = [
        *(name for name, _ in _convs(model, "stem")),
        *(name for name, _ in _convs(model, "stages")),
        *(f"coarse.{i}" for i in range(4)),
        *(f"laterals.{i}" for i in range(4)),
        *(f"smooth.{i}" for i in range(3)),
    ]
    convs = {name: f"conv2d_{i}" for i, name in enumerate(order)}
    norms = [name for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)]
    numbers = convs | {name: f"batch_norm_{i}" for i, name in enumerate(norms)}
    heads = {"offsets": "loc", "scores": "cls"}
    return KeyMap(
        [
            (
                r"^(offsets|scores)\.([01])\.(weight|bias)$",
                lambda m: f"{heads[m[1]]}_pred_conv{int(m[2]) + 1}_{m[3]}{'s' if m[3] == 'weight' else ''}",
            ),
            (r"^(\w+(?:\.\w+)*)\.(?=(weight|bias|running_\w+)$)", lambda m: f"{numbers[m[1]]}."),
            *ANONYMOUS,
        ]
    )


def _convs(model: VideoModel, part: str) -> list[tuple[str, nn.Module]]:
    named = model.get_submodule(part).named_modules(prefix=part)
    return [(name, module) for name, module in named if isinstance(module, nn.Conv2d)]


def _without_height(name: str, state: Tensors) -> np.ndarray:
    return state[name].squeeze(2)


def attention_cluster(model: VideoModel) -> KeyMap:
    """Maps the first modality to `satt0`; attention is stored as 1 x 1 convolutions, whose biases have no effect."""
    return KeyMap(
        [
            (r"^clusters\.(\d)\.attention\.", r"satt\1.conv."),
            (r"^clusters\.(\d)\.shift_scale$", r"satt\1.shift_w"),
            (r"^clusters\.(\d)\.shift$", r"satt\1.shift_b"),
            (r"^(fc\d)\.weight$", r"\1.weights"),
            (r"^head\.weight$", "logistic.weights"),
            (r"^head\.", "logistic."),
        ],
        builders={r"\.attention\.weight$": lambda name, state: state[name][:, :, 0, 0]},
        ignored=[r"^satt\d\.conv\.bias$"],
        linear_in_out=True,
    )


def attention_lstm(model: VideoModel) -> KeyMap:
    """Maps to numbered layers: four linear ones around two LSTMs for each modality, then the last three.

    The order of an LSTM's gates is candidate, input, forget, output; its bias ends with the peepholes.
    """
    num_modalities = len(model.get_submodule("readers"))  # type: ignore[arg-type]
    directions = {"forward": 0, "backward": 1}

    def lstm(match: re.Match[str]) -> str:
        reader, direction = int(match[1]), directions[match[2]]
        if match[3].startswith("inputs"):
            return f"fc_{4 * reader + 1 + direction}{match[3].removeprefix('inputs')}"
        return f"lstm_{2 * reader + direction}" + {"hidden.weight": ".weight", "peepholes": ".bias"}[match[3]]

    def bias(name: str, state: Tensors) -> np.ndarray:
        number = int(name.removeprefix("fc_").removesuffix(".b_0"))
        own = state[f"lstm_{2 * (number // 4) + number % 4 - 1}.b_0"].reshape(7, -1)[:4]
        return _torch_gates(state[name] + own.reshape(-1))

    return KeyMap(
        [
            (r"^readers\.(\d)\.(forward|backward)_lstm\.([\w.]+)$", lstm),
            (r"^readers\.(\d)\.embedding\b", lambda m: f"fc_{4 * int(m[1])}"),
            (r"^readers\.(\d)\.attention\b", lambda m: f"fc_{4 * int(m[1]) + 3}"),
            (r"^fc1\b", f"fc_{4 * num_modalities}"),
            (r"^fc2\b", f"fc_{4 * num_modalities + 1}"),
            (r"^head\b", f"fc_{4 * num_modalities + 2}"),
            *ANONYMOUS,
        ],
        builders={
            r"_lstm\.(inputs|hidden)\.weight$": lambda name, state: _torch_gates(state[name].T),
            r"_lstm\.inputs\.bias$": bias,
            r"_lstm\.peepholes$": lambda name, state: state[name].reshape(7, -1)[4:],
        },
        ignored=[rf"^fc_({'|'.join(str(4 * i + 3) for i in range(num_modalities))})\.b_0$"],
        linear_in_out=True,
    )


def _torch_gates(value: np.ndarray) -> np.ndarray:
    """Reorders rows from PaddlePaddle 1.x's order (candidate, input, forget, output) to torch's."""
    candidate, of_input, forget, output = np.split(value, 4)
    return np.concatenate([of_input, forget, candidate, output])


def nextvlad(model: VideoModel) -> KeyMap:
    """Maps the modalities to `video` and `audio`; `eigen_param` scales the features of the first."""
    modality = {"0": "video", "1": "audio"}
    layers = {"expand": "fc_expansion", "attention": "fc_group_attention"}
    norms = {"assign_norm": 0, "norm": 1}
    count = 2 * len(model.get_submodule("aggregators"))  # type: ignore[arg-type]

    def scale(name: str, state: Tensors) -> np.ndarray:
        whole = np.ones(tuple(model.get_buffer("feature_scale").shape), np.float32)
        known = state[name].reshape(-1)
        whole[: len(known)] = known
        return whole

    return KeyMap(
        [
            (r"^feature_scale$", "eigen_param"),
            (r"^aggregators\.(\d)\.(expand|attention)\.(w|b)\w+$", lambda m: f"{modality[m[1]]}_{layers[m[2]]}_{m[3]}"),
            (r"^aggregators\.(\d)\.assign\.weight$", lambda m: f"{modality[m[1]]}_cluster_weights"),
            (r"^aggregators\.(\d)\.centers$", lambda m: f"{modality[m[1]]}_cluster_weights2"),
            (r"^aggregators\.(\d)\.(assign_norm|norm)\b", lambda m: f"batch_norm_{2 * int(m[1]) + norms[m[2]]}"),
            (r"^hidden\.weight$", "hidden1_fc_weights"),
            (r"^gate_in\.weight$", "gating_fc1_weights"),
            (r"^gate_out\.weight$", "gating_fc2_weights"),
            (r"^hidden_norm\b", f"batch_norm_{count}"),
            (r"^gate_norm\b", f"batch_norm_{count + 1}"),
            (r"^head\.weight$", "logits_clf_weights"),
            (r"^head\.bias$", "logits_clf_bias"),
            *ANONYMOUS,
        ],
        builders={r"^feature_scale$": scale},
        linear_in_out=True,
    )


def tall(model: VideoModel) -> KeyMap:
    """Maps two linear layers, and two 1 x 1 convolutions over the table of all pairs.

    Raises:
        WeightsError: the model standardises its features; PaddleVideo's does not.
    """
    if isinstance(model.norm, nn.BatchNorm1d):
        raise WeightsError("source 'paddlevideo1': its tall has no batch norm; take one with model.standardise=false")
    flat, table = (lambda name, state: state[name][:, :, 0, 0]), (lambda value: value[:, :, None, None])
    return KeyMap(
        [
            (r"^window\.weight$", "v2s_lt_weights"),
            (r"^sentence\.weight$", "s2s_lt_weights"),
            (r"^hidden\.weight$", "mid_out_weights"),
            (r"^head\.weight$", "sim_mat_weights"),
        ],
        builders={r"^(hidden|head)\.weight$": flat},
        writers={r"^(hidden|head)\.weight$": table},
        linear_in_out=True,
    )


def ets(model: VideoModel) -> KeyMap:
    """Maps to anonymous layers in order of creation; a GRU's weights are in one table, read as flat.

    Its first two thirds are the gates' [D, 2D], the last third is the candidate's [D, D].
    """
    layers = ["embed", "ahead_inputs", "back_inputs", "pool", "keys", "first", "query", "attention", "", "head"]
    cells = {"ahead": "gru_0", "back": "gru_1", "writer": "gru_unit_0"}

    def part(match: re.Match[str]) -> str:
        return f"{cells[match[1]]}.{'w_0' if match[3] == 'weight' else 'b_0'}"

    def gates(name: str, state: Tensors) -> np.ndarray:
        width = state[name].shape[0]
        both: np.ndarray = state[name].reshape(-1)[: 2 * width**2].reshape(width, 2 * width).T
        return both

    def candidate(name: str, state: Tensors) -> np.ndarray:
        width = state[name].shape[0]
        last: np.ndarray = state[name].reshape(-1)[2 * width**2 :].reshape(width, width).T
        return last

    return KeyMap(
        [
            (r"^(ahead|back|writer)\.(gates|candidate)\.(weight|bias)$", part),
            (r"^words\.weight$", "embedding_0.w_0"),
            (r"^word_inputs\.weight$", "fc_8.w_0"),
            (r"^context_inputs\.weight$", "fc_8.w_1"),
            *((rf"^{layer}\.", f"fc_{i}.") for i, layer in enumerate(layers) if layer),
            *ANONYMOUS,
        ],
        builders={
            r"\.gates\.weight$": gates,
            r"\.candidate\.weight$": candidate,
            r"\.gates\.bias$": lambda name, state: state[name].reshape(3, -1)[:2].reshape(-1),
            r"\.candidate\.bias$": lambda name, state: state[name].reshape(3, -1)[2],
        },
        linear_in_out=True,
    )


def _shift_an_eighth(model: Any) -> Mapping[str, Any]:
    return {} if math.isclose(model.shift_fraction, 1 / 8) else {"shift_fraction": 1 / 8}


PORTS: Mapping[str, Port] = {
    "attention_cluster": Port(attention_cluster, conventions=(dropout_at_inference,)),
    "attention_lstm": Port(attention_lstm, conventions=(dropout_at_inference,)),
    "bmn": Port(bmn),
    "bsn": Port(bsn),
    "bsn_pem": Port(bsn_pem),
    "bsn_tem": Port(bsn_tem),
    "ctcn": Port(ctcn),
    "ets": Port(ets),
    "nextvlad": Port(nextvlad, conventions=(dropout_at_inference,)),
    "nonlocal": Port(nonlocal_net, conventions=(dropout_at_inference,)),
    "slowfast": Port(slowfast),
    "stnet": Port(stnet, input=SQUASHED),
    "tall": Port(tall),
    "tsm": Port(
        resnet,
        conventions=(
            _shift_an_eighth,
            dropout_at_inference,
        ),
        input=SQUASHED,
    ),
    "tsn": Port(resnet, input=SQUASHED),
}
