"""Graphs: the parts of a task that exports store, tensors in and tensors out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

from torch import Tensor

__all__ = ["Graph"]


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
