"""The static-graph classifiers of 2019 and 2020, run in float64 from float32 parameters.

Ours run in float64 too, so that one formula is compared with the other without rounding between them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.parity.arrays import load
from tests.parity.rule import inputs1, own_err, params1, rel_err
from tests.parity.train_step import silence
from videozoo.models import create_model
from videozoo.models.model import VideoModel
from videozoo.weights import convert
from videozoo.weights.importer import key_map

Cfg = Mapping[str, Any]
Inputs = Mapping[str, Tensor]
Outputs = dict[str, Tensor]

MAX_LOSS = 1e20  # what the original's -log(p) is clipped to


def _softmax_outputs(model: VideoModel, inputs: Inputs, cfg: Cfg) -> Outputs:
    """Of the models that end in a soft-max: probabilities, logits, and the loss of the probabilities."""
    logits = model(inputs["image"])
    picked = logits.softmax(-1).gather(1, inputs["label"])
    loss = -(logits.log_softmax(-1).gather(1, inputs["label"]))
    loss = torch.where(picked > 0, loss, MAX_LOSS).mean().reshape(1)
    return {"logits": logits, "output_0": logits.softmax(-1), "loss_0": loss}


def _nonlocal_outputs(model: VideoModel, inputs: Inputs, cfg: Cfg) -> Outputs:
    return _softmax_outputs(model, {"image": inputs["data_224"].transpose(1, 2), "label": inputs["label"]}, cfg)


def _nonlocal_large(model: VideoModel, inputs: Inputs) -> Outputs:
    """Frames larger than the crop: scores of each window, and the mean of their probabilities."""
    if "data_256" not in inputs:
        return {}
    clips = inputs["data_256"].transpose(1, 2)
    return {
        "test256_damped_logits": model.head(model.dropout(model.forward_windows(clips))).unsqueeze(1),
        "test256_damped_output_0": model(clips).softmax(-1),
    }


def _slowfast_outputs(model: VideoModel, inputs: Inputs, cfg: Cfg) -> Outputs:
    logits = model.forward_paths(inputs["slow"], inputs["fast"])
    loss = F.cross_entropy(logits, inputs["label"].flatten()).reshape(1)
    return {"logits": logits, "prob": logits.softmax(-1), "loss": loss, "loss_0": loss}


def _slowfast_large(model: VideoModel, inputs: Inputs) -> Outputs:
    paths = inputs["slow96"], inputs["fast96"]
    return {
        "damped96_logits_THWC": model.head(model.dropout(model.path_windows(*paths))).unsqueeze(1),
        "damped96_prob": model.forward_paths(*paths).softmax(-1),
    }


@dataclasses.dataclass(frozen=True)
class Family:
    """How the folders of one original model become a model of ours.

    name: our model.
    args: its arguments, from the manifest's `config`.
    outputs: what the folder stores of one run, by name; `loss_0` is what the gradients are of.
    damped_outputs: what it stores of the damped run alone, by full name.
    """

    name: str
    args: Callable[[Cfg], dict[str, Any]]
    outputs: Callable[[VideoModel, Inputs, Cfg], Outputs] = _softmax_outputs
    damped_outputs: Callable[[VideoModel, Inputs], Outputs] = lambda model, inputs: {}


def _tsn(cfg: Cfg) -> dict[str, Any]:
    return {
        "num_classes": cfg["MODEL"]["num_classes"],
        "backbone": f"resnet{cfg['MODEL']['num_layers']}",
        "dropout": 0.0,
    }


def _tsm(cfg: Cfg) -> dict[str, Any]:
    return {
        "num_classes": cfg["MODEL"]["num_classes"],
        "backbone": f"resnet{cfg['MODEL']['num_layers']}",
        "num_segments": cfg["MODEL"]["seg_num"],
        "dropout_scaling": "inference",
    }


def _nonlocal(cfg: Cfg) -> dict[str, Any]:
    arch, depth = {1: ("c2d", 50), 2: ("i3d", 50), 3: ("c2d", 101), 4: ("i3d", 101)}[cfg["MODEL"]["video_arc_choice"]]
    options = cfg.get("NONLOCAL", {})
    every = options.get("layer_mod", 2)  # of ResNet-50; the stages of the longer network have numbers of their own
    every_res3, every_res4 = (every, every) if depth == 50 else (2, 4 * every - 1)
    num_res4 = 6 if depth == 50 else 23
    return {
        "num_classes": cfg["MODEL"]["num_classes"],
        "arch": arch,
        "depth": depth,
        "attention_blocks": (
            range(every_res3 - 1, 4, every_res3) if options.get("conv3_nonlocal", True) else (),
            range(every_res4 - 1, num_res4, every_res4) if options.get("conv4_nonlocal", True) else (),
        ),
        "attention_scale": options.get("use_scale", True),
        "attention_pool": options.get("use_maxpool", True),
        "attention_bias": not options.get("no_bias", 0),
        "attention_norm": options.get("use_bn", True),
        "num_frames": cfg["TRAIN"]["video_length"],
        "crop_px": cfg["TRAIN"]["crop_size"],
        "dropout": cfg["TRAIN"]["dropout_rate"],
        "dropout_scaling": "inference",
    }


def _slowfast(cfg: Cfg) -> dict[str, Any]:
    return {
        "num_classes": cfg["num_classes"],
        "num_frames": cfg["num_frames"],
        "alpha": cfg["alpha"],
        "beta": cfg["beta"],
        "crop_px": cfg["crop_size"],
    }


def _stnet(cfg: Cfg) -> dict[str, Any]:
    return {
        "num_classes": cfg["MODEL"]["num_classes"],
        "backbone": f"resnet{cfg['MODEL']['num_layers']}",
        "num_segments": cfg["MODEL"]["seg_num"],
        "segment_frames": cfg["MODEL"]["seglen"],
    }


def _stnet_outputs(model: VideoModel, inputs: Inputs, cfg: Cfg) -> Outputs:
    frames = inputs["image"].unflatten(2, (cfg["MODEL"]["seglen"], 3)).flatten(1, 2)
    return _softmax_outputs(model, {"image": frames, "label": inputs["label"]}, cfg)


FAMILIES: dict[str, Family] = {
    "NONLOCAL": Family("nonlocal", _nonlocal, _nonlocal_outputs, _nonlocal_large),
    "SLOWFAST (dygraph, dev-static)": Family("slowfast", _slowfast, _slowfast_outputs, _slowfast_large),
    "STNET": Family("stnet", _stnet, _stnet_outputs),
    "TSN": Family("tsn", _tsn),
    "TSM": Family("tsm", _tsm),
}


def _family(manifest: Cfg) -> Family | None:
    return FAMILIES.get(manifest["model"]) if "parameters" in manifest and "kinds" in manifest else None


def build(manifest: Cfg, *, damped: bool = False) -> VideoModel:
    """Our model with the reference run's parameters; `damped` halves the scale of every norm."""
    family = _family(manifest)
    state = params1(manifest)
    if damped:
        state |= {name: value / 2 for name, value in state.items() if manifest["kinds"][name] == "bn_scale"}
    model = create_model(family.name, **family.args(manifest["config"]))
    return convert(model, state, source="paddlevideo1").double()


def matches(folder: Path, manifest: Cfg) -> bool:
    return _family(manifest) is not None and (folder / "expected.npz").is_file()


def compare(folder: Path, manifest: Cfg) -> Iterator[tuple[str, float]]:
    expected, family, cfg = load(folder), _family(manifest), manifest["config"]
    inputs = {name: torch.from_numpy(value) for name, value in inputs1(manifest["inputs"], expected).items()}
    inputs = {name: value.double() if value.is_floating_point() else value for name, value in inputs.items()}
    if "labels" in manifest:
        inputs["label"] = torch.tensor(manifest["labels"])

    for mode in ("eval", "damped"):
        if not any(name.startswith(mode) for name in expected):
            continue
        model = build(manifest, damped=mode == "damped").eval()
        with torch.no_grad():
            outputs = family.outputs(model, inputs, cfg)
            outputs = {f"{mode}_{name}": value for name, value in outputs.items()}
            if mode == "damped":
                outputs |= family.damped_outputs(model, inputs)
        yield from _compared(outputs, expected)

    if not any(name.startswith("train") for name in expected):
        return
    model = build(manifest).train()
    silence(model)
    outputs = family.outputs(model, inputs, cfg)
    yield from _compared({f"train_{name}": value for name, value in outputs.items()}, expected)
    if norms := manifest.get("train_grad_norms"):
        outputs["loss_0"].sum().backward()
        names = key_map(model, source="paddlevideo1")
        ours = {names.theirs(name): parameter.grad for name, parameter in model.named_parameters()}
        common = [name for name in norms if name in ours]
        yield "train_grad_names", float(len(norms) - len(common))
        yield (
            "train_grad_norms",
            own_err([ours[n].norm().item() for n in common], np.array([norms[n] for n in common])),
        )


def _compared(outputs: Outputs, expected: Mapping[str, np.ndarray]) -> Iterator[tuple[str, float]]:
    for name, value in outputs.items():
        if name in expected:
            yield name, rel_err(value, expected[name])
