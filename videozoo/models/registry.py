"""The registry of models: `create_model` builds a model by name, `list_models` returns the names."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from videozoo.config.check import accepted, build
from videozoo.config.registry import Registry
from videozoo.errors import ConfigError, require

if TYPE_CHECKING:
    from videozoo.models.model import VideoModel

__all__ = ["OF_INPUT", "create_model", "list_models", "models", "register_model", "sizes_of_input"]

models = Registry("model", "videozoo.models", decorator="register_model")
register_model = models.register
"""Registers a model: a `VideoModel` subclass, or a function that returns one."""

# arguments of an input that determine the size of its model
OF_INPUT = (
    *("num_frames", "segment_frames", "crop_px", "height_px", "width_px"),
    *("num_snippets", "feature_dim", "feature_dims"),
)


def list_models(pattern: str = "*") -> list[str]:
    """Returns the names of the models that match a shell-style pattern."""
    return fnmatch.filter(models.names(), pattern)


def sizes_of_input(name: str, input_args: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the model arguments that are set by the input: frames, pixels, snippets and widths."""
    found = {key: input_args[key] for key in OF_INPUT if key in input_args}
    if "num_frames" in found:
        found["num_segments"] = found["num_frames"] // input_args.get("segment_frames", 1)
    takes = accepted(models.get(name))
    return {key: value for key, value in found.items() if key in takes}


def create_model(name: str, **args: Any) -> VideoModel:
    """Returns the model `name` with checked arguments, e.g. `create_model("tsm", num_segments=8, num_classes=10)`.

    Raises:
        ConfigError: the model or one of its arguments does not exist (the nearest name is suggested), or a value is
            invalid.
        MissingPackageError: torch is not installed.
    """
    require("torch", extra="torch", purpose=f"model {name}")
    for key, value in args.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"model {name}.{key}: is {value}; needs a finite number")
    model: VideoModel = build(models.get(name), args, where=f"model {name}")
    shape = getattr(model, "input_shape", ())  # a model from outside the package may have none
    if any(size < 1 for size in shape):
        raise ConfigError(f"model {name}: these arguments give the input shape {shape}; all sizes must be 1 or more")
    model.name = name
    return model
