"""Task and input spec from a checkpoint: the way in which evaluation, prediction and export load a model."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from videozoo.config.check import accepted, build
from videozoo.errors import ConfigError, WeightsError, counted
from videozoo.models.memory_format import channels_last
from videozoo.models.registry import create_model, models
from videozoo.tasks.registry import tasks
from videozoo.tasks.task import Task
from videozoo.transforms.input import build_input
from videozoo.weights.checkpoint import Checkpoint

__all__ = ["build_task", "task_from_checkpoint"]


def build_task(record: Mapping[str, Any], class_names: Sequence[str]) -> Task:
    """Builds the task of a resolved recipe around a freshly initialised model.

    Raises:
        ConfigError: the model or the task refuses a value.
    """
    model_args = dict(record["model"])
    name = model_args.pop("name")
    if "num_classes" in accepted(models.get(name)):  # networks that propose segments have no classes
        num_classes = model_args.setdefault("num_classes", len(class_names))
        if num_classes != len(class_names):
            raise ConfigError(
                f"model.num_classes: is {num_classes}, but the data have {counted(len(class_names), 'class')}; leave "
                "it out, or name all classes in data.train.class_names (for a list of numbers data.train.num_classes)"
            )
    new_model = functools.partial(create_model, name, **model_args)
    task_args = dict(record["task"])
    part = tasks.get(task_args.pop("name"))
    given: dict[str, Callable[[], Any]] = {
        "input_spec": lambda: build_input(record["input"]),
        "new_model": lambda: new_model,
    }
    taken = {name: make() for name, make in given.items() if name in accepted(part)}
    task: Task = build(part, task_args, where="task", model=new_model(), class_names=tuple(class_names), **taken)
    return task


def task_from_checkpoint(checkpoint: Checkpoint) -> tuple[Task, Any]:
    """Returns the task with its weights, in eval mode and in channels-last format, and its input spec.

    Raises:
        WeightsError: the weights do not match the model in the checkpoint's record, or are not finite; or the
            checkpoint needs a user's own code that is not imported.
    """
    checkpoint.check_code()
    checkpoint.check_finite()
    record: dict[str, Any] = {name: checkpoint.section(name) for name in ("model", "task", "input")}
    only_training = tasks.get(record["task"]["name"]).training_args  # type: ignore[attr-defined]
    record["task"] = {key: value for key, value in record["task"].items() if key not in only_training}
    if "pretrained" in record["model"]:
        record["model"]["pretrained"] = None  # the checkpoint contains the weights
    try:
        task = build_task(record, checkpoint.class_names)
        task.model.load_state_dict(checkpoint.model)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise WeightsError(f"{checkpoint.path}: does not fit its own record ({reason})") from error
    channels_last(task.model)
    return task.eval(), build_input(record["input"])
