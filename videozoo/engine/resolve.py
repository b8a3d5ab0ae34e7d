"""Resolves a recipe before training: reads and checks the recipe and its data, once."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from videozoo.config.check import accepted, build
from videozoo.config.recipe import Recipe
from videozoo.contracts.dataset import Dataset
from videozoo.contracts.features import FeatureRecipe
from videozoo.contracts.input import InputSpec, Pipeline
from videozoo.contracts.record import Record
from videozoo.data.check import notes_of
from videozoo.data.registry import datasets
from videozoo.engine.options import Fit
from videozoo.engine.sizes import model_sizes
from videozoo.errors import ConfigError, DataError, WidthError
from videozoo.io.packed import is_packed
from videozoo.tasks.fitting import check_data, check_input, check_model
from videozoo.tasks.registry import tasks
from videozoo.transforms.input import build_input
from videozoo.weights import checkpoint

__all__ = ["ResolvedRun", "Split", "check_features", "check_width", "resolve"]

MOST_OPENED = 100  # samples tried when looking for the width of the features


@dataclasses.dataclass(frozen=True)
class Split:
    """A data set and the pipeline that turns its records into samples."""

    records: Dataset[Record]
    pipeline: Pipeline


@dataclasses.dataclass(frozen=True)
class ResolvedRun:
    """A recipe with all values derived from it and from its data.

    Attributes:
        record: every value of the recipe and of the data; recipe.yaml and checkpoints store it.
        input_spec: builds pipelines and moves batches to the device.
        train, val: the data; `val` is None if the recipe has no such split.
        pipeline_of: returns the training pipeline of a given input spec on the same data.
    """

    recipe: Recipe
    fit: Fit
    record: Mapping[str, Any]
    input_spec: InputSpec
    class_names: tuple[str, ...]
    train: Split
    val: Split | None
    pipeline_of: Callable[[InputSpec], Pipeline]

    @property
    def notes(self) -> Mapping[str, Sequence[str]]:
        """Suspicious findings about the data, by split, for reports."""
        return dict(self.record.get("notes", {}))

    def extras(self) -> dict[str, Any]:
        """Returns the extractor that prediction needs with a model on features; empty for other models."""
        return _extractor_of(self.train.records)


def resolve(recipe: Recipe) -> ResolvedRun:
    """Reads and checks the recipe and the data of a run.

    Raises:
        ConfigError: the recipe is wrong.
        DataError, WeightsError: a data set cannot be used.
    """
    record = recipe.resolved()
    fit: Fit = build(Fit, recipe.section("fit"), where=f"{recipe.source}: fit")
    input_spec = build_input(record["input"])
    check_input(recipe.name_of("task"), input_spec, where=recipe.source)
    check_model(recipe.name_of("model"), recipe.name_of("task"), input_spec, where=recipe.source)
    records = _build_records(recipe, "train")
    check_data(records, input_spec, where=f"{recipe.source}: data.train")
    record["input"] |= input_spec.fill_in(recipe.section("input"), records)
    input_spec = build_input(record["input"])
    class_names = tuple(records.class_names)
    record["model"] |= model_sizes(recipe, input_spec)
    multi_label = records.multi_label
    record["task"] = _task_of(recipe, record["task"], records, multi_label=multi_label)
    if (made_by := records.feature_recipe) is not None:
        record["features"] = dict(made_by)
    num_classes = len(class_names) if multi_label else None

    def split(name: str, records: Dataset[Record], pipeline: Pipeline) -> Split:
        advice = "give features of that width, or set their width in the recipe's input"
        check_width(records, pipeline, where=f"{recipe.source}: data.{name}", advice=advice)
        return Split(records, pipeline)

    train = split("train", records, input_spec.train_pipeline(num_classes=num_classes))
    val = None
    if "val" in recipe.data:
        val_records = _build_records(recipe, "val", class_names=class_names)
        check_data(val_records, input_spec, where=f"{recipe.source}: data.val")
        check_features(record.get("features"), val_records, where=f"{recipe.source}: data.val")
        val = split("val", val_records, input_spec.eval_pipeline(fit.eval_views, num_classes=num_classes))
    if notes := notes_of(train.records, val.records if val is not None else None):
        record["notes"] = notes
    return ResolvedRun(
        recipe=recipe,
        fit=fit,
        record=record,
        input_spec=input_spec,
        class_names=class_names,
        train=train,
        val=val,
        pipeline_of=lambda spec: spec.train_pipeline(num_classes=num_classes),
    )


def _task_of(recipe: Recipe, args: Mapping[str, Any], records: Dataset[Record], *, multi_label: bool) -> dict[str, Any]:
    """Returns the task's arguments, completed with those that depend on the data."""
    part: Any = tasks.get(recipe.name_of("task"))
    if multi_label and "multi_label" in accepted(part):
        args = {**args, "multi_label": True}
    return dict(part.fill_in(args, records))


def _build_records(recipe: Recipe, split: str, *, class_names: Sequence[str] | None = None) -> Dataset[Record]:
    if split not in recipe.data:
        raise ConfigError(f"{recipe.source}: data.{split}: is missing; give a data set")
    args = dict(recipe.data[split])
    where = f"{recipe.source}: data.{split}"
    if "name" not in args:
        raise ConfigError(f"{where}.name: is missing; name a data set: {', '.join(datasets.names())}")
    part = datasets.get(args.pop("name"))
    given = {}
    if "class_names" in accepted(part) and "class_names" not in args:
        given["class_names"] = class_names
    records: Dataset[Record] = build(part, args, where=where, **given)
    return records


def _extractor_of(records: Dataset[Record]) -> dict[str, Any]:
    """Returns the extractor of the records' features for the checkpoints, which hold no exported network."""
    path = records.extractor
    return {} if path is None or is_packed(path) else {"extractor": checkpoint.extractor_payload(checkpoint.read(path))}


def check_features(recipe: Mapping[str, Any] | None, records: Dataset[Record], *, where: str) -> None:
    """Refuses records whose features were made with a different feature recipe than the model's.

    Nothing is checked if either recipe is unknown.

    Raises:
        DataError: the recipes differ; the message names both.
    """
    stored = records.feature_recipe
    if recipe is not None and stored is not None:
        expected = FeatureRecipe.from_dict(recipe, where=where)
        expected.check_same(FeatureRecipe.from_dict(stored, where=where), where=where)


def check_width(records: Dataset[Record], pipeline: Pipeline, *, where: str, advice: str) -> None:
    """Refuses records whose features have a different width than the input; checks the first readable record.

    Raises:
        DataError: the widths differ; the message names the file and both widths.
    """
    if pipeline.spec.takes != "features":
        return
    for record in itertools.islice(records, MOST_OPENED):
        try:
            pipeline(record, np.random.default_rng(0))
        except WidthError as error:
            file = "" if record.location == record.id else f"{record.location}: "
            raise DataError(f"{where}: {file}{error}; {advice}") from error
        except DataError:  # a missing or damaged sample; the run reports it
            continue
        return
