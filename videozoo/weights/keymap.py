"""Maps between our tensors and another project's: names and memory layout."""

from __future__ import annotations

import dataclasses
import importlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from torch import nn

__all__ = ["SOURCES", "Convention", "KeyMap", "Port", "Rename", "Tensors", "find_layout", "ports"]

SOURCES = (
    "hiera",
    "mit_tsm",
    "mmaction2",
    "open_clip",
    "paddlevideo",
    "paddlevideo1",
    "pyslowfast",
    "timesformer",
    "torchvision",
    "transformers",
    "transnetv2",
    "unmasked_teacher",
    "videomae",
    "vjepa2",
)

Convention = Callable[[Any], Mapping[str, Any]]
"""From a model to the arguments that it lacks to compute as the project's network does; mostly none."""

Tensors = Mapping[str, np.ndarray]
Rename = tuple[str, str | Callable[["re.Match[str]"], str]]


@dataclasses.dataclass(frozen=True)
class KeyMap:
    """The map from our names to theirs, from which both missing and unmatched tensors are known exactly.

    renames: (pattern, replacement) pairs for `re.sub`, applied one after the other to each of our names.
    builders: for tensors that are not a renamed tensor of theirs (merged, split, reordered): a pattern for our name,
        and a function of their name and all their tensors that returns our array. The tensors it reads count as used.
    ignored: patterns of their names without a counterpart here: buffers, second names of the same tensor.
    linear_in_out: their linear layers are stored [in, out], ours [out, in].
    cleaning: renames of their names, applied first: wrappers, older names of the same tensor.
    writers: for exports, functions from our array to theirs: the inverse of a builder, by the same pattern.
    """

    renames: Sequence[Rename]
    builders: Mapping[str, Callable[[str, Tensors], np.ndarray]] = dataclasses.field(default_factory=dict)
    ignored: Sequence[str] = ()
    linear_in_out: bool = False
    cleaning: Sequence[Rename] = ()
    writers: Mapping[str, Callable[[np.ndarray], np.ndarray]] = dataclasses.field(default_factory=dict)

    def theirs(self, name: str) -> str:
        """Returns their name for our parameter, buffer or module `name`."""
        return _renamed(name, self.renames)

    def cleaned(self, name: str) -> str:
        """Returns a name of theirs without wrappers."""
        return _renamed(name, self.cleaning)

    def is_ignored(self, name: str) -> bool:
        return any(re.search(pattern, name) for pattern in self.ignored)

    def read(self, name: str, model: nn.Module, state: Tensors) -> np.ndarray:
        """Returns our tensor `name`, in our layout, from their `state`.

        Raises:
            KeyError: a tensor is missing; the error has its name.
        """
        for pattern, builder in self.builders.items():
            if re.search(pattern, name):
                return builder(self.theirs(name), state)
        value = state[self.theirs(name)]
        return value.T if self.linear_in_out and is_linear_weight(name, model) else value

    def write(self, name: str, model: nn.Module, value: np.ndarray) -> np.ndarray:
        """Returns our tensor `name` in their layout.

        Raises:
            KeyError: the tensor can be imported, but not exported.
        """
        for pattern in self.builders:
            if re.search(pattern, name):
                return self.writers[pattern](value)
        return value.T if self.linear_in_out and is_linear_weight(name, model) else value


@dataclasses.dataclass(frozen=True)
class Port:
    """The correspondence of a project's network to a model of ours; `PORTS` in each project's file has one a model.

    key_map: from a built model to the map of its tensors' names.
    conventions: differences in computation that do not show in the tensors.
    read_state: from its tensors to model arguments that follow from their names and shapes.
    recognizes: whether tensors have this layout; None if the layouts of other models have the same names.
    input: fields of its input that differ from the model's usual recipe.
    """

    key_map: Callable[[Any], KeyMap]
    conventions: Sequence[Convention] = ()
    read_state: Callable[[Tensors], Mapping[str, Any]] | None = None
    recognizes: Callable[[Tensors], bool] | None = None
    input: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def ports(source: str) -> Mapping[str, Port]:
    """Returns the project's ports by our models' names; none for a project that is not in `SOURCES`."""
    if source not in SOURCES:
        return {}
    found: Mapping[str, Port] = importlib.import_module(f"videozoo.weights.{source}").PORTS
    return found


def find_layout(state: Tensors, *, source: str | None = None, model: str | None = None) -> list[tuple[str, str]]:
    """Returns the (source, model) pairs whose layout `state` has, among those of `source` and `model` if given."""
    return [
        (project, name)
        for project in ([source] if source is not None else SOURCES)
        for name, port in ports(project).items()
        if model in (None, name) and port.recognizes is not None and port.recognizes(state)
    ]


def _renamed(name: str, renames: Sequence[Rename]) -> str:
    for pattern, replacement in renames:
        name = re.sub(pattern, replacement, name)
    return name


def is_linear_weight(name: str, model: nn.Module) -> bool:
    module, _, leaf = name.rpartition(".")
    return leaf == "weight" and isinstance(model.get_submodule(module), nn.Linear)
