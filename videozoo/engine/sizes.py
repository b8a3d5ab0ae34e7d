"""Derives model sizes (frames, pixels, snippets, feature widths) from the input spec."""

from __future__ import annotations

from typing import Any

from videozoo.config.recipe import Recipe, plain
from videozoo.contracts.input import InputSpec
from videozoo.errors import ConfigError
from videozoo.models.registry import sizes_of_input
from videozoo.transforms.input import build_input

__all__ = ["as_run", "model_sizes"]


def as_run(recipe: Recipe) -> dict[str, Any]:
    """Returns the record of a run of this recipe, without the values that depend on the data.

    Raises:
        ConfigError: a value is not valid.
    """
    if recipe.steps:
        init = {name: {"init": step.init} if step.init is not None else {} for name, step in recipe.steps.items()}
        return {"steps": {name: init[name] | as_run(step) for name, step in recipe.steps.items()}}
    record = recipe.resolved()
    record["model"] |= model_sizes(recipe, build_input(record["input"]))
    return record


def model_sizes(recipe: Recipe, input_spec: InputSpec) -> dict[str, Any]:
    """Returns the model's sizes that follow from the input spec and are not in the recipe.

    Raises:
        ConfigError: a size in the recipe differs from the input's.
    """
    model = recipe.name_of("model")
    found = sizes_of_input(model, {key: plain(value) for key, value in input_spec.model_sizes().items()})
    given = recipe.section("model")
    for name in ("segment_frames", "feature_dim", "feature_dims"):
        ours, theirs = plain(given.get(name)), found.get(name)
        if ours is not None and theirs is not None and ours != theirs:
            raise ConfigError(
                f"{recipe.source}: model.{name}: is {ours} but input.{name} is {theirs}; set it in the input only, the "
                "model takes it from there"
            )
    return {name: value for name, value in found.items() if name not in given}
