"""Other projects' weights as a file of ours: the record beside the tensors says how to build, feed and name them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from videozoo.config.check import accepted
from videozoo.config.recipe import Recipe, load_recipe
from videozoo.errors import ConfigError, WeightsError
from videozoo.models.model import VideoModel
from videozoo.models.registry import models, sizes_of_input
from videozoo.weights.conventions import fitting_model, told_args
from videozoo.weights.importer import Match, count_classes, match
from videozoo.weights.keymap import Tensors, ports

__all__ = ["Brought", "bring", "usual_input"]

KNOWN = ("model", "task", "input", "data", "seed", "uses")


@dataclasses.dataclass(frozen=True)
class Brought:
    """A model with what of the foreign weights fits it, and the record and class names for a file of ours."""

    model: VideoModel
    match: Match
    record: Mapping[str, Any]
    class_names: tuple[str, ...]
    added_args: Mapping[str, Any]
    """Arguments of the model that were not given: what the other project's network does."""


def bring(
    state: Tensors,
    *,
    source: str,
    name: str | None = None,
    args: Mapping[str, Any] | None = None,
    input_args: Mapping[str, Any] | None = None,
    recipe: str | None = None,
    class_names: Sequence[str] | None = None,
) -> Brought:
    """The model `name` filled from another project's `state`, as far as it fits; see `Brought.match.faults`.

    Args:
        source: the project that wrote the weights.
        name: the model; None takes the recipe's.
        args: its arguments; the number of classes is read from the weights, where they tell it, and what else the
            project's network does otherwise is known by the project's name, or told by the names of its tensors.
        input_args: fields of the input spec, over the recipe's or the model's usual ones.
        recipe: whose sections the record takes; without one they are the defaults.
        class_names: what the outputs are called; their numbers by default.

    Raises:
        ConfigError: a model, an argument or a recipe that does not exist.
        WeightsError: the project has no such model, or there is another number of classes than of names.
    """
    loaded = load_recipe(recipe) if recipe is not None else None
    if loaded is not None and loaded.steps:
        loaded = list(loaded.steps.values())[-1]  # what it has learned in the end
    sections = {key: dict(value) for key, value in loaded.sections.items()} if loaded is not None else {}
    model_args = {**sections.get("model", {}), **(args or {})}
    said = model_args.pop("name", None)
    said_classes = model_args.pop("num_classes", None)
    if name is None and said is None:
        raise ConfigError("import: which model this is, is not said; give --model NAME, or a recipe")
    if name is not None and said is not None and name != said:
        raise ConfigError(f"import: --model {name}, but the recipe {recipe} has the model {said}; leave one out")
    name = str(name or said)
    takes = accepted(models.get(name))
    if "pretrained" in takes:
        model_args["pretrained"] = None
    if loaded is not None:
        model_args = {**sizes_of_input(name, {**sections.get("input", {}), **(input_args or {})}), **model_args}
    told = told_args(state, source=source, model=name)
    told = {key: value for key, value in told.items() if key not in model_args}
    model_args |= told
    sized = {"num_classes": 1} if "num_classes" in takes else {}
    model, added = fitting_model(name, {**sized, **model_args}, source=source)
    added = {**told, **added}
    model_args |= added
    if sized:
        num_classes = count_classes(model, state, source=source) or said_classes or 0
        if loaded is None and said_classes not in (None, num_classes):
            raise WeightsError(f"num_classes={said_classes}: the weights have {num_classes} classes; leave it out")
        if num_classes:
            model.reset_classifier(num_classes)
        names = tuple(map(str, range(num_classes))) if class_names is None else tuple(class_names)
        if len(names) != num_classes:
            raise WeightsError(
                f"the weights have {num_classes} classes, and there are {len(names)} labels; needs one each"
            )
    else:  # it proposes segments, or compares; what names them is beside it
        names = tuple(class_names or ())
    found = match(model, state, source=source)
    if not found.faults:
        model.load_state_dict(found.tensors, strict=False)
    if "input" in sections:
        usual = sections["input"]
    else:
        usual = usual_input(model, source=source)
        average = load_recipe(model.usual_recipe).sections["task"].get("average", "score")
        sections.setdefault("task", {"name": "classify", "average": average})
    sections |= {"model": {"name": name, **model_args}, "input": {**usual, **(input_args or {})}}
    described = Recipe(
        source="import" if recipe is None else recipe,
        sections={"optim": {"lr": 1.0}, **sections},
        data=loaded.data if loaded is not None else {},
        seed=loaded.seed if loaded is not None else 0,
        uses=loaded.uses if loaded is not None else (),
    )
    # how these weights were trained is only known where a recipe says it
    record = {key: value for key, value in described.resolved().items() if key in (*KNOWN, *sections)}
    return Brought(model.eval(), found, record, names, added)


def usual_input(model: VideoModel, *, source: str = "paddlevideo") -> dict[str, Any]:
    """The input section of the model's published recipe, at the size that `model` was built for."""
    if len(model.input_shape) != 4:
        raise ConfigError(f"import: {model.name} takes no clips; give a recipe whose input it is to have with --recipe")
    num_frames, _, height, _ = model.input_shape
    usual = {key: value for key, value in load_recipe(model.usual_recipe).sections["input"].items() if key != "augment"}
    short_side_px = round(height * usual["short_side_px"] / usual["crop_px"])
    sizes = {"num_frames": num_frames, "crop_px": height, "short_side_px": short_side_px}
    if model.segment_frames > 1:
        sizes["segment_frames"] = model.segment_frames
    port = ports(source).get(model.name)
    differs = {} if port is None else port.input
    return {"name": "clip", **usual, **differs, **sizes}
