"""Networks that torch runs, from checkpoints and from tasks in memory."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from videozoo.contracts.backend import Precision
from videozoo.contracts.input import InputSpec
from videozoo.contracts.network import Network
from videozoo.tasks.backend import TorchBackend
from videozoo.tasks.build import task_from_checkpoint
from videozoo.tasks.device import pick_device
from videozoo.tasks.task import Task
from videozoo.weights import cards, checkpoint
from videozoo.weights.checkpoint import Checkpoint

__all__ = ["network_from_checkpoint", "open_torch", "torch_network"]

TIMM = "timm:"
ARRAYS = "pca."  # prefix of the names of further arrays stored with the weights
STORED = ("name", "model", "task", "input", "uses")  # sections of the record that a written network keeps


def open_torch(source: str | os.PathLike[str], *, device: str = "auto", precision: Precision = "fp32") -> Network:
    """Opens a run directory, a weight file, a card of `videozoo list weights`, or "timm:NAME", the image network NAME.

    Raises:
        WeightsError: no such weights, or they do not match their record.
        ConfigError: this machine does not have the device or the precision.
    """
    text = os.fspath(source)
    if text.startswith(TIMM):
        from videozoo.weights.timm_images import timm_checkpoint  # timm takes a second to load and is rarely needed

        return network_from_checkpoint(timm_checkpoint(text.removeprefix(TIMM)), device=device, precision=precision)
    if text in cards.CARDS and not Path(text).exists():
        return network_from_checkpoint(cards.card_checkpoint(text), device=device, precision=precision)
    return network_from_checkpoint(checkpoint.read(source), device=device, precision=precision)


def network_from_checkpoint(saved: Checkpoint, *, device: str = "auto", precision: Precision = "fp32") -> Network:
    """Builds the network of a loaded checkpoint; errors as in `open_torch`."""
    saved.check_finite()
    weights = {name: tensor for name, tensor in saved.model.items() if not name.startswith(ARRAYS)}
    arrays = {name: saved.model[name].numpy() for name in saved.model.keys() - weights.keys()}
    task, spec = task_from_checkpoint(dataclasses.replace(saved, model=weights))
    network = torch_network(task, spec, device=device, precision=precision)
    inner = saved.extractor
    opener = None
    if inner is not None:
        opener = functools.partial(network_from_checkpoint, inner, device=device, precision=precision)
    record = {key: value for key, value in saved.record.items() if key in STORED}
    return dataclasses.replace(
        network,
        source=str(saved.path),
        name=str(saved.record.get("name") or saved.section("model")["name"]),
        arrays=arrays,
        write=functools.partial(_write, task, record),
        feature_recipe=saved.record.get("features"),
        open_extractor=opener,
    )


def torch_network(task: Task, spec: InputSpec, *, device: str = "auto", precision: Precision = "fp32") -> Network:
    """Wraps a task in memory as a network."""
    record = {"model": {"name": task.model.name}, "task": {"name": task.recipe_name}, "input": spec.to_dict()}
    return Network(
        source=task.model.name,
        name=task.model.name,
        task=task.recipe_name,
        backend=TorchBackend(task, spec, device=pick_device(device), precision=precision),
        decoder=task.decoder,
        spec=spec,
        num_features=task.model.num_features,
        fingerprint=lambda: checkpoint.fingerprint(task.model.state_dict()),
        write=functools.partial(_write, task, record),
    )


def _write(task: Task, record: Mapping[str, Any], path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    tensors = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
    model = {**task.model.state_dict(), **tensors}
    checkpoint.write_safetensors(path, record=record, class_names=task.class_names, model=model)
