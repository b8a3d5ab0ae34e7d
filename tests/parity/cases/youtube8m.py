"""The models on YouTube-8M's features: of 2019 and 2020 in float64, and PaddleVideo 2.x's AttentionLSTM in float32."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.parity.arrays import load
from tests.parity.rule import inputs1, inputs2, own_err, params1, params2, rel_err
from tests.parity.train_step import compare_train_step, silence
from videozoo.models import create_model
from videozoo.models.model import VideoModel
from videozoo.weights import convert
from videozoo.weights.importer import key_map

Cfg = Mapping[str, Any]
LABEL_ABOVE = 2.6  # of the drawn values of "lab": found from the stored loss, not stated in the manifest
NO_GRADIENT = 1e-9  # smaller norms are rounding: shifts that a soft-max or a batch norm takes out again


def _build1(manifest: Cfg) -> VideoModel:
    cfg, shapes = manifest["config"]["MODEL"], dict(manifest["parameters"])
    state = params1(manifest)
    args: dict[str, Any] = {
        "num_classes": cfg["num_classes"],
        "dropout": cfg["drop_rate"],
        "dropout_scaling": "inference",
    }
    if manifest["model"] == "NEXTVLAD":
        args["feature_dims"] = (cfg["video_feature_size"], cfg["audio_feature_size"])
        args |= {
            "num_clusters": cfg["cluster_size"],
            "num_groups": cfg["groups"],
            "expansion": cfg["expansion"],
            "hidden_dim": cfg["hidden_size"],
            "gating_reduction": cfg["gating_reduction"],
        }
        eigenvalues = np.float32(14) / (1 + np.arange(cfg["video_feature_size"], dtype=np.float32))
        state["eigen_param"] = (np.sqrt(eigenvalues) + np.float32(1e-4)).astype(np.float32)
        name = "nextvlad"
    elif manifest["model"] == "AttentionCluster":
        args |= {"feature_dims": cfg["feature_dims"], "cluster_sizes": cfg["cluster_nums"]}
        args["hidden_dims"] = (shapes["fc1.weights"][1], shapes["fc2.weights"][1])
        name = "attention_cluster"
    else:
        first = 4 * len(cfg["feature_dims"])
        args |= {"feature_dims": cfg["feature_dims"], "embedding_dim": cfg["embedding_size"]}
        args |= {"lstm_dim": cfg["lstm_size"], "peepholes": True}
        args["hidden_dims"] = tuple(shapes[f"fc_{first + i}.w_0"][1] for i in (0, 1))
        name = "attention_lstm"
    return convert(create_model(name, **args), state, source="paddlevideo1").double()


def _lengths(manifest: Cfg, num_rows: int) -> list[int]:
    """Of the packed sequences, as the manifest's notes and inputs say them."""
    for spec in manifest["inputs"]:
        for key in ("lod", "lengths"):
            if key in spec:
                return [int(n) for n in spec[key]]
    found = next(m for note in manifest["notes"] if (m := re.search(r"lengths (\d[\d, and]*\d)", note)))
    lengths = [int(n) for n in re.findall(r"\d+", found[1])]
    if sum(lengths) != num_rows:
        raise ValueError(f"lengths {lengths} for {num_rows} frames")
    return lengths


def _inputs1(manifest: Cfg, expected: Mapping[str, np.ndarray]) -> tuple[Tensor, Tensor | None, Tensor]:
    """(features, mask, targets)."""
    arrays = inputs1(manifest["inputs"], expected)
    rgb, audio = (np.asarray(arrays[name], np.float64) for name in ("rgb", "audio"))
    if manifest["model"] == "NEXTVLAD":
        rgb, audio = rgb * (4 / 255) - 2, audio * (4 / 255) - 2 + 4 / 512
    x = torch.from_numpy(np.concatenate([rgb, audio], axis=-1))
    mask = None
    if x.ndim == 2:
        lengths = _lengths(manifest, len(x))
        x = torch.nn.utils.rnn.pad_sequence(list(x.split(lengths)), batch_first=True, padding_value=7.0)
        mask = torch.arange(x.shape[1]) < torch.tensor(lengths).unsqueeze(1)
    indices = torch.from_numpy(arrays["label_indices"])
    targets = torch.zeros(len(x), manifest["config"]["MODEL"]["num_classes"], dtype=torch.float64)
    return x, mask, targets.scatter_(1, indices, 1.0)


def _outputs1(manifest: Cfg, expected: Mapping[str, np.ndarray], *, training: bool) -> Iterator[tuple[str, float]]:
    model = _build1(manifest).train(training)
    silence(model) if training else None
    x, mask, targets = _inputs1(manifest, expected)
    prefix = "train" if training else "eval"
    with torch.set_grad_enabled(training):
        logits = model(x, mask)
        loss = F.binary_cross_entropy_with_logits(logits, targets, reduction="sum")
        if manifest["model"] == "AttentionLSTM":
            loss = loss * (manifest["config"]["TRAIN"]["num_gpus"] if training else 1)
        else:
            loss = loss / len(x)
    for name, value in (("output_0", logits.sigmoid()), ("output_1", logits), ("loss_0", loss.reshape(1))):
        if f"{prefix}_{name}" in expected:
            yield f"{prefix}_{name}", rel_err(value, expected[f"{prefix}_{name}"])
    if training and (norms := manifest.get("train_grad_norms")):
        loss.backward()
        ours = _gradient_norms(model)
        wanted = {name: norm for name, norm in norms.items() if norm > NO_GRADIENT}
        yield "train_grad_names", float(len(wanted.keys() - ours.keys()))
        names = sorted(wanted.keys() & ours.keys())
        yield "train_grad_norms", own_err([ours[n] for n in names], np.array([wanted[n] for n in names]))


def _gradient_norms(model: VideoModel) -> dict[str, float]:
    """By original names; an LSTM's bias is in two of theirs, one of which holds the peepholes too."""
    names = key_map(model, source="paddlevideo1")
    norms: dict[str, float] = {}
    for name, parameter in model.named_parameters():
        norm = parameter.grad.norm().item()
        theirs = names.theirs(name)
        norms[theirs] = norm
        if theirs.startswith("lstm_") and theirs.endswith(".b_0"):
            bias = model.get_parameter(name.replace("peepholes", "inputs.bias"))
            norms[theirs] = float(np.hypot(norm, bias.grad.norm().item()))
    return norms


def _build2(manifest: Cfg) -> VideoModel:
    head, shapes = manifest["model_cfg"]["head"], {name: shape for name, shape, _ in manifest["state_dict"]}
    model = create_model(
        "attention_lstm",
        num_classes=head["num_classes"],
        feature_dims=head["feature_dims"],
        embedding_dim=head["embedding_size"],
        lstm_dim=head["lstm_size"],
        hidden_dims=(shapes["head.fc_out1.weight"][1], shapes["head.fc_out2.weight"][1]),
    )
    return convert(model, params2(manifest), source="paddlevideo")


def _inputs2(specs: Any) -> tuple[Tensor, Tensor, Mapping[str, Tensor]]:
    inputs = inputs2(specs)
    x = torch.cat([inputs["rgb"], inputs["audio"]], dim=-1)
    lengths = torch.stack([inputs["rgb_len"], inputs["audio_len"]], dim=-1)
    return x, torch.arange(x.shape[1])[None, :, None] < lengths[:, None], inputs


def _compare2(manifest: Cfg, expected: Mapping[str, np.ndarray]) -> Iterator[tuple[str, float]]:
    x, mask, _ = _inputs2(manifest["inputs"])
    with torch.no_grad():
        logits = _build2(manifest).eval()(x, mask)
    yield "out/logit", rel_err(logits, expected["out/logit"])
    yield "out/prob", rel_err(logits.sigmoid(), expected["out/prob"])
    if "train_step" in manifest:
        model = _build2(manifest)
        x, mask, inputs = _inputs2(manifest["train_step"]["inputs"])
        yield from compare_train_step(
            model,
            manifest,
            expected,
            lambda: F.binary_cross_entropy_with_logits(
                model(x, mask), (inputs["lab"] > LABEL_ABOVE).float(), reduction="sum"
            ),
        )


def matches(folder: Path, manifest: Cfg) -> bool:
    if not (folder / "expected.npz").is_file():
        return False
    if "kinds" in manifest:
        return manifest["model"] in ("AttentionCluster", "AttentionLSTM", "NEXTVLAD")
    return manifest.get("model_cfg", {}).get("head", {}).get("name") == "AttentionLstmHead"


def compare(folder: Path, manifest: Cfg) -> Iterator[tuple[str, float]]:
    expected = load(folder)
    if "kinds" not in manifest:
        yield from _compare2(manifest, expected)
        return
    for training in (False, True):
        if any(name.startswith("train" if training else "eval") for name in expected):
            yield from _outputs1(manifest, expected, training=training)
