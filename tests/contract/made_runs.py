"""A run of every registered model at its smallest, with untrained weights, and a video or features for it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from tests.contract.tiny import TINY
from videozoo.contracts.features import Features
from videozoo.io.encode import write_video
from videozoo.models import create_model
from videozoo.models.model import VideoModel
from videozoo.transforms.captioned_clip import CaptionedClipInput
from videozoo.transforms.captions import CaptionsInput
from videozoo.transforms.features import FeaturesInput
from videozoo.transforms.input import ClipInput
from videozoo.transforms.moments import MomentsInput
from videozoo.transforms.shots import ShotsInput
from videozoo.transforms.snippets import SnippetsInput
from videozoo.weights import checkpoint

FPS = 10
WORDS = ("<s>", "<e>", "<unk>", "a", "ring", "grows", "slowly")
SENTENCE = "the ring grows"
LOCALIZERS: dict[str, dict[str, Any]] = {
    "bmn": {"name": "localize_bmn"},
    "bsn": {"name": "localize_bsn", "stage": "pem"},
    # nothing is suppressed or cut: of segments with near scores, rounding would choose
    "ctcn": {"name": "localize_ctcn", "max_iou": 1.0, "sigma": 1e9, "min_decayed": 0.0, "max_segments": 5000},
}
WITHOUT_TASK = {"bsn_pem", "bsn_tem"}  # halves of bsn, which no run holds alone


def random_model(name: str, **args: Any) -> VideoModel:
    """A tiny model whose layers all matter: none is zero, and batch norms have statistics."""
    torch.manual_seed(0)
    model = create_model(name, **TINY[name] | args)
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any() or (name == "pe_core" and parameter.ndim > 1):  # its towers begin near zero
                nn.init.normal_(parameter, std=0.1)
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None:
                module.running_mean.normal_(std=0.1)
                module.running_var.uniform_(0.5, 1.5)
        if isinstance(head := getattr(model, "head", None), nn.Linear):
            nn.init.normal_(head.weight, std=0.3)  # classifiers start near zero: all clips would have one answer
    return model.eval()


def sections(name: str, model: VideoModel) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The task and the input of a run's record, and its class names."""
    shape = model.input_shape
    names = tuple(f"class {i}" for i in range(TINY[name].get("num_classes", 3)))
    if name in LOCALIZERS:
        rows = SnippetsInput(num_snippets=shape[0], feature_dim=shape[1])
        return {"task": LOCALIZERS[name], "input": rows.to_dict()}, names
    if name == "ets":
        task = {"name": "caption", "max_words": 6}
        return {"task": task, "input": CaptionsInput(feature_dim=shape[1]).to_dict()}, WORDS
    if name == "tall":
        task = {"name": "ground", "encoder": {"name": "bag_of_words", "dim": TINY[name]["sentence_dim"]}}
        moments = MomentsInput(window_s=(1.0, 2.0), overlap=0.5, context_s=1.0, feature_dim=TINY[name]["feature_dim"])
        return {"task": task, "input": moments.to_dict()}, ("grows", "ring", "the")
    if name == "transnetv2":
        shots = ShotsInput(num_frames=shape[0], height_px=shape[2], width_px=shape[3])
        return {"task": {"name": "shots"}, "input": shots.to_dict()}, ("boundary",)
    if "feature_dims" in TINY[name]:
        rows_of = FeaturesInput(
            num_frames=30, feature_dims=(shape[1],), mid_bin=(True,)
        )  # side by side, as in Features
        return {"task": {"name": "tag"}, "input": rows_of.to_dict()}, names
    frames, _, size, _ = shape
    if name == "pe_core":
        words = CaptionedClipInput(num_frames=frames, short_side_px=size, crop_px=size, resize="pillow")
        return {"task": {"name": "retrieve"}, "input": words.to_dict()}, ()
    segment_frames = TINY[name].get("segment_frames", 1)
    clip = ClipInput(
        num_frames=frames, segment_frames=segment_frames, short_side_px=size, crop_px=size, resize="pillow"
    )
    return {"task": {"name": "classify"}, "input": clip.to_dict()}, names


def write_run(
    name: str,
    folder: Path,
    *,
    beside: Mapping[str, Any] | None = None,
    args: Mapping[str, Any] | None = None,
    **record: Any,
) -> Path:
    """Writes a run directory, with more in its record and in its checkpoint, beside the model."""
    args = {**(args or {}), **({"feature_dim": record["features"]["dim"]} if "features" in record else {})}
    model = random_model(name, **args)
    found, names = sections(name, model)
    described = {"model": {"name": name, **TINY[name], **args}, **found, **record}
    folder.mkdir(parents=True, exist_ok=True)
    payload = {"record": described, "class_names": names, "model": model.state_dict(), "step": 1, **(beside or {})}
    checkpoint.write(folder / "best.pt", payload)
    return folder


def write_clip(path: Path, *, seconds: int = 3) -> Path:
    """Writes a video of large moving blocks, of other colors every half second."""
    rng = np.random.default_rng(0)
    frames = []
    for number in range(FPS * seconds):
        if number % (FPS // 2) == 0:
            wide = rng.integers(0, 255, (4, 8, 3), np.uint8).repeat(48, 0).repeat(48, 1)
        frames.append(wide[:, 4 * (number % 10) :][:, :256])
    write_video(path, frames, fps=FPS)
    return path


def made_features(width: int, *, num_rows: int = 12) -> Features:
    """Features of six seconds."""
    values = np.random.default_rng(1).standard_normal((num_rows, width)).astype(np.float32)
    return Features(values=values, stride_s=0.5, offset_s=0.25, duration_s=num_rows * 0.5)


def content_for(name: str, folder: Path) -> Path | Features:
    """What a predictor of the model's run takes."""
    shape = create_model(name, **TINY[name]).input_shape
    if len(shape) == 4:
        return write_clip(folder / "clip.mp4")
    return made_features(TINY[name]["feature_dim"] if name == "tall" else shape[-1])
