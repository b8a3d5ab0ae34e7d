"""Model arguments that reproduce another project's network; each project's `PORTS` name them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from videozoo.models.model import VideoModel
from videozoo.models.registry import create_model
from videozoo.weights.keymap import Tensors, ports

__all__ = ["args_from_state", "bias_prefix", "dropout_at_inference", "fitting_model", "needed_args"]


def needed_args(model: VideoModel, *, source: str) -> dict[str, Any]:
    """Returns the arguments that `model` needs to compute as `source`'s network does and lacks; mostly none."""
    port = ports(source).get(model.name)
    return {} if port is None else {key: value for needs in port.conventions for key, value in needs(model).items()}


def fitting_model(name: str, args: Mapping[str, Any], *, source: str) -> tuple[VideoModel, dict[str, Any]]:
    """Returns the model `name` as `source` computes it, and the arguments added to `args` for that."""
    model = create_model(name, **args)
    added = {key: value for key, value in needed_args(model, source=source).items() if key not in args}
    return (create_model(name, **{**args, **added}) if added else model), added


def args_from_state(state: Tensors, *, source: str, model: str) -> dict[str, Any]:
    """Returns the arguments of `model` that follow from the names and shapes of `source`'s tensors."""
    port = ports(source).get(model)
    return {} if port is None or port.read_state is None else dict(port.read_state(state))


# ---- conventions of more than one project ----------------------------------------------------------------


def dropout_at_inference(model: Any) -> Mapping[str, Any]:
    has_dropout = any(isinstance(module, nn.Dropout) and module.p > 0 for module in model.modules())
    return {"dropout_scaling": "inference"} if has_dropout else {}


def bias_prefix(model: Any) -> Mapping[str, Any]:
    """Returns `small_maps` where a map of `crop_px` is smaller than the window; larger clips have larger maps."""
    attention = model.layers[0].blocks[0].attn
    smallest_px = model.input_shape[-1] // (model.patch_embed.patch[-1] * 2 ** (len(model.layers) - 1))
    fits = smallest_px >= max(attention.window[1:])
    return {} if fits or attention.small_maps == "prefix" else {"small_maps": "prefix"}
