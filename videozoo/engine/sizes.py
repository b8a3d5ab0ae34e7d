"""The model follows the input: its frames, pixels, snippets and feature widths."""

from __future__ import annotations

from typing import Any

from videozoo.config.recipe import Recipe, plain
from videozoo.contracts.input import InputSpec
from videozoo.errors import ConfigError
from videozoo.models.registry import sizes_of_input
from videozoo.transforms.input import build_input

__all__ = ["as_run", "model_sizes"]


def as_run(recipe: Recipe) -> dict[str, Any]:
    """Returns the record that a run of this recipe has, as far as it is known without the data.

    Raises:
        ConfigError: a value that the code would not take.
    """
    if recipe.steps:
        init = {name: {"init": step.init} if step.init is not None else {} for name, step in recipe.steps.items()}
        return {"steps": {name: init[name] | as_run(step) for name, step in recipe.steps.items()}}
    record = recipe.resolved()
    record["model"] |= model_sizes(recipe, build_input(record["input"]))
    return record


def model_sizes(recipe: Recipe, input_spec: InputSpec) -> dict[str, Any]:
    """Returns the sizes that the model takes from the input, unless the recipe says them.

    Raises:
        ConfigError: the recipe says one that differs from the input's.
    """
    model = recipe.name_of("model")
    found = sizes_of_input(model, {key: plain(value) for key, value in input_spec.model_sizes().items()})
    said = recipe.section("model")
    for name in ("segment_frames", "feature_dim", "feature_dims"):
        ours, theirs = plain(said.get(name)), found.get(name)
        if ours is not None and theirs is not None and ours != theirs:
            raise ConfigError(
                f"{recipe.source}: model.{name}: is {ours}, input.{name} is {theirs}; write it in the input alone, the "
                "model follows"
            )
    return {name: value for name, value in found.items() if name not in said}
