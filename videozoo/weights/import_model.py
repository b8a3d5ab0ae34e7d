"""Models filled with other projects' weights, with the record that a videozoo weight file needs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from videozoo.config.check import accepted
from videozoo.config.recipe import Recipe, load_recipe
from videozoo.errors import ConfigError, WeightsError
from videozoo.models.model import VideoModel
from videozoo.models.registry import models, sizes_of_input
from videozoo.weights.conventions import args_from_state, fitting_model
from videozoo.weights.importer import Match, count_classes, match
from videozoo.weights.keymap import Tensors, ports
from videozoo.weights.label_sets import LabelSet
from videozoo.weights.transformers import Description

__all__ = ["ImportedModel", "import_model", "usual_input"]

ALWAYS_RECORDED = ("model", "task", "input", "data", "seed", "uses")


@dataclasses.dataclass(frozen=True)
class ImportedModel:
    """A model filled with another project's weights.

    Attributes:
        model: the model; it holds the weights only if `match` has no faults.
        match: the matching tensors, and the names that do not match.
        record: the resolved recipe for a weight file.
        class_names: names of the outputs.
        added_args: model arguments that the caller did not give and the other project's network requires.
    """

    model: VideoModel
    match: Match
    record: Mapping[str, Any]
    class_names: tuple[str, ...]
    added_args: Mapping[str, Any]


def import_model(
    state: Tensors,
    *,
    source: str,
    name: str | None = None,
    args: Mapping[str, Any] | None = None,
    input_args: Mapping[str, Any] | None = None,
    recipe: str | None = None,
    class_names: Sequence[str] | None = None,
    description: Description | None = None,
    labels: LabelSet | None = None,
) -> ImportedModel:
    """Builds a model and fills it from another project's `state`; check `match.faults` of the result.

    Args:
        source: the project that wrote the weights.
        name: the model; None takes the recipe's.
        args: its arguments. Missing ones follow from the weights (number of classes), from their tensors' names, or
            from the project's known conventions.
        input_args: fields of the input spec; they override the recipe's or the model's usual ones.
        recipe: the recipe whose sections are recorded; None records the defaults.
        class_names: names of the outputs; None takes those of `description`, or numbers them.
        labels: the data set of the classes; of a classifier with more classes, only its outputs are kept.
        description: what the configuration beside the weights states; `args` and `input_args` override it.

    Raises:
        ConfigError: the model, an argument or the recipe does not exist.
        WeightsError: the project has no such model, or the number of class names is wrong.
    """
    loaded = _load_last_step(recipe) if recipe is not None else None
    if description is not None:
        described = {key: value for key, value in description.args.items() if key not in (args or {})}
        input_args = {**description.input, **(input_args or {})}
        class_names = class_names or description.class_names or None
    else:
        described = {}
    sections = {key: dict(value) for key, value in loaded.sections.items()} if loaded is not None else {}
    model_args = {**sections.get("model", {}), **(args or {})}
    name = _model_name(name, model_args.pop("name", None), recipe)
    stated_classes = model_args.pop("num_classes", None)
    takes = accepted(models.get(name))
    if "pretrained" in takes:
        model_args["pretrained"] = None
    if loaded is not None:
        model_args = {**sizes_of_input(name, {**sections.get("input", {}), **(input_args or {})}), **model_args}
    from_state = {**args_from_state(state, source=source, model=name), **described}
    from_state = {key: value for key, value in from_state.items() if key not in model_args}
    has_classes, rows = "num_classes" in takes, None
    sized = {"num_classes": 1} if has_classes else {}
    model, added = fitting_model(name, {**sized, **model_args, **from_state}, source=source)
    added = {**from_state, **added}
    added.pop("num_classes", None)
    names = tuple(class_names or ())  # of segments or sentences, for a model without classes
    if has_classes:
        num_classes = count_classes(model, state, source=source) or stated_classes or 0
        if loaded is None and stated_classes not in (None, num_classes):
            raise WeightsError(f"num_classes={stated_classes}: the weights have {num_classes} classes; leave it out")
        if num_classes or from_state.get("num_classes") == 0:
            model.reset_classifier(num_classes)
        rows = None if labels is None else labels.rows_of(num_classes)
        names = _class_names(class_names if labels is None else None if rows else labels.class_names, num_classes)
    found = match(model, state, source=source)
    if not found.faults:
        model.load_state_dict(found.tensors, strict=False)
    if labels is not None and rows is not None:
        _keep_rows(model, rows)
        names = labels.class_names
    if "input" in sections:
        usual = sections["input"]
    else:
        usual = usual_input(model, source=source)
        average = load_recipe(model.usual_recipe).sections["task"].get("average", "score")
        sections.setdefault("task", {"name": "classify", "average": average})
    sections |= {"model": {"name": name, **model_args, **added}, "input": {**usual, **(input_args or {})}}
    return ImportedModel(model.eval(), found, _record(sections, loaded), names, added)


def _keep_rows(model: Any, rows: Sequence[int]) -> None:
    """Keeps these outputs of a linear classifier, in this order."""
    weight, bias = model.head.weight.detach()[list(rows)], model.head.bias.detach()[list(rows)]
    model.reset_classifier(len(rows))
    model.head.load_state_dict({"weight": weight, "bias": bias})


def _load_last_step(recipe: str) -> Recipe:
    """Loads a recipe; of one with several steps, the last, which trains the final weights."""
    loaded = load_recipe(recipe)
    return list(loaded.steps.values())[-1] if loaded.steps else loaded


def _model_name(given: str | None, in_recipe: str | None, recipe: str | None) -> str:
    """Returns the model's name.

    Raises:
        ConfigError: neither names a model, or they name different ones.
    """
    if given is not None and in_recipe is not None and given != in_recipe:
        raise ConfigError(f"import: --model {given}, but the recipe {recipe} has the model {in_recipe}; leave one out")
    if given is None and in_recipe is None:
        raise ConfigError("import: cannot tell which model these weights belong to; give --model NAME or --recipe NAME")
    return str(given or in_recipe)


def _class_names(class_names: Sequence[str] | None, num_classes: int) -> tuple[str, ...]:
    names = tuple(map(str, range(num_classes))) if class_names is None else tuple(class_names)
    if len(names) != num_classes:
        raise WeightsError(f"the weights have {num_classes} classes, but {len(names)} labels are given; give one each")
    return names


def _record(sections: Mapping[str, Any], recipe: Recipe | None) -> dict[str, Any]:
    """Returns the resolved sections; of training only what a recipe states, since the weights do not tell it."""
    described = Recipe(
        source="import" if recipe is None else recipe.source,
        sections={"optim": {"lr": 1.0}, **sections},
        data=recipe.data if recipe is not None else {},
        seed=recipe.seed if recipe is not None else 0,
        uses=recipe.uses if recipe is not None else (),
    )
    return {key: value for key, value in described.resolved().items() if key in (*ALWAYS_RECORDED, *sections)}


def usual_input(model: VideoModel, *, source: str = "paddlevideo") -> dict[str, Any]:
    """Returns the input section of the model's published recipe, at the size of `model`."""
    if len(model.input_shape) != 4:
        raise ConfigError(f"import: {model.name} takes no clips; give a recipe with its input: --recipe NAME")
    num_frames, _, height, width = model.input_shape
    usual = {key: value for key, value in load_recipe(model.usual_recipe).sections["input"].items() if key != "augment"}
    if "crop_px" in usual:
        short_side_px = round(height * usual["short_side_px"] / usual["crop_px"])
        sizes = {"num_frames": num_frames, "crop_px": height, "short_side_px": short_side_px}
    else:
        sizes = {"num_frames": num_frames, "height_px": height, "width_px": width}
    if model.segment_frames > 1:
        sizes["segment_frames"] = model.segment_frames
    port = ports(source).get(model.name)
    differs = {} if port is None else port.input
    return {"name": "clip", **usual, **differs, **sizes}
