"""Arguments that make a model of ours compute what another project's network does; each project's `PORTS` name them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from videozoo.models.model import VideoModel
from videozoo.models.registry import create_model
from videozoo.weights.keymap import ports

__all__ = ["bias_prefix", "dropout_at_inference", "fitting_model", "needed_args", "told_args"]


def needed_args(model: VideoModel, *, source: str) -> dict[str, Any]:
    """Arguments of `model` that would have to be others for it to compute what `source`'s network does; mostly none."""
    port = ports(source).get(model.name)
    return {} if port is None else {key: value for needs in port.conventions for key, value in needs(model).items()}


def fitting_model(name: str, args: Mapping[str, Any], *, source: str) -> tuple[VideoModel, dict[str, Any]]:
    """The model `name` as `source` computes it, and the arguments that were added to `args` for that."""
    model = create_model(name, **args)
    added = {key: value for key, value in needed_args(model, source=source).items() if key not in args}
    return (create_model(name, **{**args, **added}) if added else model), added


def told_args(names: Iterable[str], *, source: str, model: str) -> dict[str, Any]:
    """Arguments of `model` that the names of `source`'s tensors tell; mostly none."""
    port = ports(source).get(model)
    return {} if port is None or port.read_names is None else dict(port.read_names(list(names)))


# ---- conventions of more than one project ----------------------------------------------------------------


def dropout_at_inference(model: Any) -> Mapping[str, Any]:
    is_other = any(isinstance(module, nn.Dropout) and module.p > 0 for module in model.modules())
    return {"dropout_scaling": "inference"} if is_other else {}


def bias_prefix(model: Any) -> Mapping[str, Any]:
    """It matters where a map is smaller than a window in space; clips larger than `crop_px` only have larger ones."""
    attention = model.layers[0].blocks[0].attn
    smallest_px = model.input_shape[-1] // (model.patch_embed.patch[-1] * 2 ** (len(model.layers) - 1))
    fits = smallest_px >= max(attention.window[1:])
    return {} if fits or attention.small_maps == "prefix" else {"small_maps": "prefix"}
