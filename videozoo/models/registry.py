"""The registry of models: `create_model` builds one by name, `list_models` names them."""

from __future__ import annotations

import fnmatch
import math
from typing import TYPE_CHECKING, Any

from videozoo.config.check import build
from videozoo.config.registry import Registry
from videozoo.errors import ConfigError

if TYPE_CHECKING:
    from videozoo.models.model import VideoModel

__all__ = ["create_model", "list_models", "models", "register_model"]

models = Registry("model", "videozoo.models", decorator="register_model")
register_model = models.register


def list_models(pattern: str = "*") -> list[str]:
    """Names of the models that match a shell-style pattern."""
    return fnmatch.filter(models.names(), pattern)


def create_model(name: str, **args: Any) -> VideoModel:
    """The model `name` with checked arguments, e.g. `create_model("tsm", num_segments=8, num_classes=10)`.

    Raises:
        ConfigError: no such model, or an argument it does not take; the nearest name is suggested. A value that it
            cannot have.
    """
    for key, value in args.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"model {name}.{key}: is {value}; needs a finite number")
    model: VideoModel = build(models.get(name), args, where=f"model {name}")
    shape = getattr(model, "input_shape", ())  # a model of one's own may have none
    if any(size < 1 for size in shape):
        raise ConfigError(f"model {name}: its input would have the shape {shape}; all sizes are 1 or more")
    model.name = name
    return model
