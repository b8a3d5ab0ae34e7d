"""Checks that data set, input spec and task of a recipe fit together, before anything is decoded."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any, cast

from videozoo.contracts.dataset import Dataset
from videozoo.contracts.input import InputSpec
from videozoo.contracts.record import Record
from videozoo.errors import ConfigError
from videozoo.models.registry import models
from videozoo.tasks.registry import tasks
from videozoo.tasks.task import Task
from videozoo.transforms.registry import inputs

__all__ = ["check_data", "check_input", "check_model"]


def check_input(task: str, spec: InputSpec, *, where: str) -> None:
    """Refuses an input spec whose batches lack keys that the task reads.

    Raises:
        ConfigError: keys are missing; the message names inputs for the task and tasks for the input.
    """
    needed = _needed(task)
    if not _takes(task, spec.gives):
        missing = min((keys - spec.gives for keys in needed), key=len)
        fitting = [name for name in inputs.names() if _takes(task, _input(name).gives)]
        others = [name for name in tasks.names() if _takes(name, spec.gives)]
        raise ConfigError(
            f"{where}: task '{task}' needs {_and(missing)}, but input '{spec.recipe_name}' gives "
            f"{_and(spec.gives - {'id'})}; use {_or(input=fitting, task=others)}"
        )


def check_model(model: str, task: str, spec: InputSpec, *, where: str) -> None:
    """Refuses a network that cannot label what the input spec gives.

    Raises:
        ConfigError: the network takes features and the input gives clips, or the reverse, or it gives no class scores.
    """
    if not _task(task).scores_classes or _labels(model, spec):
        return
    fitting = [name for name in models.names() if _labels(name, spec)]
    raise ConfigError(
        f"{where}: model '{model}' does not label the {spec.takes} of input '{spec.recipe_name}' for task '{task}'; "
        f"use {_or(model=fitting)}"
    )


def check_data(records: Dataset[Record], spec: InputSpec, *, where: str) -> None:
    """Refuses a data set whose records the input spec cannot read or cannot learn from.

    Raises:
        ConfigError: it holds clips instead of features, or features instead of clips, or lacks the annotations.
    """
    if records.holds == spec.takes and spec.learns_from in records.truth:
        return
    fitting = [name for name in inputs.names() if _reads(_input(name), records)]
    if records.holds != spec.takes:
        problem = f"holds {records.holds}, but input '{spec.recipe_name}' takes {spec.takes}"
    else:
        problem = f"has {_and(records.truth)}, but input '{spec.recipe_name}' learns from {spec.learns_from}"
    advice = f"use {_or(input=fitting)}" if fitting else f"use a data set of {spec.takes} with {spec.learns_from}"
    if records.holds == "clips" and spec.takes == "features":
        advice += ", or features of the clips, which videozoo extract makes"
    raise ConfigError(f"{where}: {problem}; {advice}")


def _needed(task: str) -> list[frozenset[str]]:
    """Returns the groups of batch keys that a task reads, one of which an input has to give."""
    part = _task(task)
    return [part.needs | keys for keys in part.reads] or [part.needs]


def _takes(task: str, gives: frozenset[str]) -> bool:
    return any(keys and keys <= gives for keys in _needed(task))


def _labels(model: str, spec: InputSpec) -> bool:
    """Returns whether a network gives class scores for a batch of this input: rows of features come with a mask."""
    part: Any = models.get(model)
    return part.is_classifier and ("mask" in inspect.signature(part.forward).parameters) == ("mask" in spec.gives)


def _reads(spec: type[InputSpec], records: Dataset[Record]) -> bool:
    return records.holds == spec.takes and spec.learns_from in records.truth


def _task(name: str) -> type[Task]:
    return cast("type[Task]", tasks.get(name))


def _input(name: str) -> type[InputSpec]:
    return cast("type[InputSpec]", inputs.get(name))


def _and(names: Iterable[str]) -> str:
    *most, last = sorted(names) or ["nothing"]
    return f"{', '.join(most)} and {last}" if most else last


def _or(**names_of: list[str]) -> str:
    """Lists choices as `input 'a' or 'b' or task 'c'`."""
    parts = [f"{kind} {' or '.join(map(repr, names))}" for kind, names in names_of.items() if names]
    return " or ".join(parts) or "parts that fit together"
