"""Graphs: the parts of a task that exports store, tensors in and tensors out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from videozoo.models.model import VideoModel

__all__ = ["Graph", "graph_of_rows"]


@dataclasses.dataclass(frozen=True)
class Graph:
    """One graph of an export.

    Attributes:
        forward: takes the inputs by name and returns outputs by name, in evaluation mode.
        inputs: an example of each input; free axes are longer than 1, since a length of 1 would be fixed.
        free: the names of the axes that may have any length, by input and axis.
    """

    forward: Callable[..., Mapping[str, Tensor]]
    inputs: Mapping[str, Tensor]
    free: Mapping[str, Mapping[int, str]]


def graph_of_rows(forward: Callable[..., Mapping[str, Tensor]], model: VideoModel) -> Graph:
    """Returns the graph of a network on features `[b t d]` with their mask `[b t]`."""
    inputs = {"features": torch.zeros(2, 3, model.input_shape[-1]), "mask": torch.ones(2, 3, dtype=torch.bool)}
    return Graph(forward, inputs, {name: {0: "batch", 1: "rows"} for name in inputs})
