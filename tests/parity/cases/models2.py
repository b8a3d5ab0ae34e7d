"""Classifiers of PaddleVideo 2.x, run under paddlepaddle 3.3.1 in float32; ours train in float64, to be exact."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.parity.arrays import load
from tests.parity.rule import inputs2, params2, rel_err, slice_of
from tests.parity.train_step import compare_train_step
from videozoo.layers.loss import smooth_targets, soft_cross_entropy
from videozoo.models import create_model
from videozoo.models.model import VideoModel
from videozoo.weights import convert
from videozoo.weights.importer import key_map

Cfg = Mapping[str, Any]
Inputs = Mapping[str, Tensor]


def _frames(inputs: Inputs) -> Tensor:
    return inputs["imgs"]  # [b t c h w]


def _logits(model: VideoModel, inputs: Inputs, cfg: Cfg) -> dict[str, Tensor]:
    return {"logits": model(_frames(inputs))}


def _train_scores(model: VideoModel, inputs: Inputs, cfg: Cfg) -> Tensor:
    return model(_frames(inputs))


@dataclasses.dataclass(frozen=True)
class Family:
    """How the folders of one original backbone become a model of ours.

    name: our model.
    args: its arguments, from the manifest's `backbone` and `head` sections.
    outputs: what the folder stores of evaluation, by name, from (model, inputs, model_cfg).
    train_scores: what the training loss is taken of.
    decay_norms: whether the original lets normalisation layers decay; a recipe of ours says the same.
    """

    name: str
    args: Callable[[Cfg, Cfg], dict[str, Any]]
    outputs: Callable[[VideoModel, Inputs, Cfg], dict[str, Tensor]] = _logits
    train_scores: Callable[[VideoModel, Inputs, Cfg], Tensor] = _train_scores
    decay_norms: bool = False


def _tsn(backbone: Cfg, head: Cfg) -> dict[str, Any]:
    return {"backbone": f"resnet{backbone['depth']}"}


def _tsm(backbone: Cfg, head: Cfg) -> dict[str, Any]:
    num_segments = backbone.get("num_seg", 8)
    return {
        "backbone": f"resnet{backbone['depth']}",
        "num_segments": num_segments,
        "shift_fraction": 1 / num_segments,
    }


def _pptsn(backbone: Cfg, head: Cfg) -> dict[str, Any]:
    depth = backbone.get("depth") or backbone.get("layers", 50)
    return {**_resnet_d(depth), "first_projection": depth < 50}


def _resnet_d(depth: int) -> dict[str, Any]:
    if depth == 200:  # timm's has other stages
        return {"backbone": "resnet50d", "backbone_args": {"layers": [3, 12, 48, 3]}}
    return {"backbone": f"resnet{depth}d"}


def _pptsm(backbone: Cfg, head: Cfg) -> dict[str, Any]:
    num_segments = backbone.get("num_seg", 8)
    depth = backbone.get("depth", 50)
    shortcuts = "strided" if depth < 50 else "pooled"
    return {
        **_resnet_d(depth),
        "num_segments": num_segments,
        "shift_fraction": 1 / num_segments,
        "shortcuts": shortcuts,
    }


def _slowfast(backbone: Cfg, head: Cfg) -> dict[str, Any]:
    return {
        "depth": backbone.get("depth", 50),
        "num_frames": head.get("num_frames", 32),
        "alpha": backbone["alpha"],
        "beta": backbone["beta"],
        "width": backbone.get("width_per_group", 64),
        "fusion_kernel": backbone["fusion_kernel_sz"],
        "fusion_ratio": backbone.get("fusion_conv_channel_ratio", 2),
        "pooling": "frame" if head.get("multigrid_short", False) else "window",
        "crop_px": head.get("crop_size", 224),
    }


def _slowfast_probs(model: VideoModel, inputs: Inputs, cfg: Cfg) -> dict[str, Tensor]:
    """Of the clips at each size: the original's evaluation answers with probabilities."""
    probs = {}
    for name in inputs:
        if name.startswith("slow"):
            slow, fast = inputs[name], inputs[name.replace("slow", "fast")]
            probs[f"probs_crop{slow.shape[-1]}"] = model.forward_paths(slow, fast).softmax(-1)
    return probs


def _transformer(backbone: Cfg, head: Cfg) -> dict[str, Any]:
    size = {
        "embed_dim": backbone["embed_dim"],
        "depth": backbone["depth"],
        "num_heads": backbone["num_heads"],
    }
    size |= {
        "mlp_ratio": backbone["mlp_ratio"],
        "qkv_bias": backbone["qkv_bias"],
        "patch_size": backbone["patch_size"],
    }
    return {"num_frames": backbone["num_seg"], "crop_px": backbone["img_size"], "backbone_args": size}


def _timesformer(backbone: Cfg, head: Cfg) -> dict[str, Any]:
    scheme = backbone.get("attention_type", "divided_space_time")
    return {**_transformer(backbone, head), "attention": scheme.partition("_")[0]}


def _transformer_views(model: VideoModel, inputs: Inputs, cfg: Cfg) -> dict[str, Tensor]:
    """The bare network, and the test step, which averages views that lie one after the other in time."""
    test = cfg["runtime_cfg"]["test"]
    views = inputs["imgs2v"].transpose(1, 2).unflatten(1, (-1, test["num_seg"]))
    scores = model(views.flatten(0, 1)).unflatten(0, views.shape[:2])
    averaged = scores.softmax(-1).mean(1) if test["avg_type"] == "prob" else scores.mean(1)
    return {"logits_forward_net": model(inputs["imgs"].transpose(1, 2)), "test_step_two_views": averaged}


def _transformer_scores(model: VideoModel, inputs: Inputs, cfg: Cfg) -> Tensor:
    return model(inputs["imgs"].transpose(1, 2))


def _videoswin(backbone: Cfg, head: Cfg) -> dict[str, Any]:
    return {
        "width": backbone["embed_dim"],
        "depths": tuple(backbone["depths"]),
        "num_heads": tuple(backbone["num_heads"]),
        "window": tuple(backbone["window_size"]),
        "patch": tuple(backbone["patch_size"]),
        "mlp_ratio": backbone["mlp_ratio"],
        "small_maps": "prefix",
    }


def _videoswin_logits(model: VideoModel, inputs: Inputs, cfg: Cfg) -> dict[str, Tensor]:
    return {"logits_forward_net": model(inputs["imgs"].transpose(1, 2))}


def _movinet(backbone: Cfg, head: Cfg) -> dict[str, Any]:
    return {
        "is_causal": backbone.get("causal", True),
        "conv_type": backbone.get("conv_type", "3d"),
        "norm_momentum": 0.9,  # the original's 0.1 means the share that is kept
    }


def _pptsm_v2(backbone: Cfg, head: Cfg) -> dict[str, Any]:
    num_segments = backbone.get("num_seg", 8)
    return {
        "num_segments": num_segments,
        "shift_fraction": 1 / num_segments,
        "scale": backbone.get("scale", 1.0),
        "last_width": backbone.get("class_expand", 1280),
        "frame_attention": bool(backbone.get("use_temporal_att", False)),
        "dropout_scaling": "inference",
    }


def _pptsm_mobile(backbone: Cfg, head: Cfg) -> dict[str, Any]:
    num_segments = backbone.get("num_seg", 8)
    return {
        "version": {"PPTSM_MobileNetV2": "v2", "PPTSM_MobileNetV3": "v3_large"}[backbone["name"]],
        "num_segments": num_segments,
        "shift_fraction": 1 / num_segments,
        "dropout_scaling": "inference",
    }


FAMILIES: dict[str, Family] = {
    "ResNet": Family("tsn", _tsn, decay_norms=True),
    "ResNetTSM": Family("tsm", _tsm),
    "ResNetTweaksTSN": Family("pptsn", _pptsn),
    "ResNetTweaksTSM": Family("pptsm", _pptsm),
    "VisionTransformer": Family("timesformer", _timesformer, _transformer_views, _transformer_scores, decay_norms=True),
    "VisionTransformer_tweaks": Family(
        "pptimesformer", _timesformer, _transformer_views, _transformer_scores, decay_norms=True
    ),
    "TokenShiftVisionTransformer": Family(
        "tokenshift", _transformer, _transformer_views, _transformer_scores, decay_norms=True
    ),
    "SwinTransformer3D": Family("videoswin", _videoswin, _videoswin_logits, _transformer_scores),
    "MoViNet": Family("movinet", _movinet, decay_norms=True),
    "PPTSM_v2": Family("pptsm_v2", _pptsm_v2),
    "PPTSM_MobileNetV2": Family("pptsm_mobile", _pptsm_mobile),
    "PPTSM_MobileNetV3": Family("pptsm_mobile", _pptsm_mobile),
    "ResNetSlowFast": Family(
        "slowfast",
        _slowfast,
        outputs=_slowfast_probs,
        train_scores=lambda model, inputs, cfg: model.forward_paths(inputs["slow"], inputs["fast"]),
    ),
}


def _family(manifest: Cfg) -> Family | None:
    return FAMILIES.get(manifest.get("model_cfg", {}).get("backbone", {}).get("name", ""))


def build(manifest: Cfg) -> VideoModel:
    """Our model at the manifest's size, with the parameters of the reference run."""
    cfg, family = manifest["model_cfg"], _family(manifest)
    backbone, head = cfg["backbone"], cfg.get("head", {})
    # some originals hold the classifier in the backbone, under either name
    classes = head.get("num_classes") or backbone.get("num_classes") or backbone.get("class_num")
    model = create_model(family.name, num_classes=classes, **family.args(backbone, head))
    return convert(model, params2(manifest), source="paddlevideo")


def matches(folder: Path, manifest: Cfg) -> bool:
    return _family(manifest) is not None and (folder / "expected.npz").is_file()


def compare(folder: Path, manifest: Cfg) -> Iterator[tuple[str, float]]:
    expected, family, cfg = load(folder), _family(manifest), manifest["model_cfg"]
    model = build(manifest).eval()
    inputs = inputs2(manifest["inputs"])
    with torch.no_grad(), _Taps(model, manifest.get("taps", {})) as taps:
        outputs = family.outputs(model, inputs, cfg)
    for name, value in outputs.items():
        yield f"out/{name}", rel_err(value, expected[f"out/{name}"])
    for name, value in taps.seen.items():
        yield from compare_tap(f"tap/{name}", value, expected)
    if "train_step" in manifest:
        model = build(manifest).double()
        inputs = inputs2(manifest["train_step"]["inputs"])
        inputs = {name: x.double() if x.is_floating_point() else x for name, x in inputs.items()}
        targets = smooth_targets(inputs["labels"].flatten(), model.num_classes, cfg.get("head", {}).get("ls_eps", 0.0))
        yield from compare_train_step(
            model,
            manifest,
            expected,
            lambda: soft_cross_entropy(family.train_scores(model, inputs, cfg), targets),
            decay_norms=family.decay_norms,
        )


def compare_tap(name: str, value: Tensor, expected: Mapping[str, np.ndarray]) -> Iterator[tuple[str, float]]:
    """Compares a layer's output with the 64 values, the mean, the deviation and the shape that are stored of it."""
    exact = value.double()
    largest = float(exact.abs().max())
    yield name, rel_err(slice_of(value, 64), expected[f"{name}/slice"])
    for part, number in (("mean", exact.mean()), ("std", exact.std(correction=0))):
        yield f"{name}/{part}", abs(float(number) - float(expected[f"{name}/{part}"])) / largest
    yield f"{name}/shape", float(list(value.shape) != expected[f"{name}/shape"].tolist())


class _Taps:
    """First outputs of our modules that the key map calls by a tapped layer's name, where shapes agree.

    They locate a fault; the outputs decide.
    """

    def __init__(self, model: VideoModel, taps: Mapping[str, list[int]]):
        names = key_map(model, source="paddlevideo")
        self.seen: dict[str, Tensor] = {}
        self._shapes = taps
        self._tapped = [(names.theirs(n), m) for n, m in model.named_modules() if names.theirs(n) in taps]

    def __enter__(self) -> _Taps:
        self._hooks = [module.register_forward_hook(self._note(name)) for name, module in self._tapped]
        return self

    def _note(self, name: str) -> Callable[..., None]:
        def hook(module: torch.nn.Module, args: Any, output: Any) -> None:
            if isinstance(output, Tensor) and list(output.shape) == self._shapes[name]:
                self.seen.setdefault(name, output.detach().clone())

        return hook

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()
