"""The contracts of inference: a backend computes the outputs of a network, a decoder turns them into answers."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import numpy as np

from videozoo.contracts.answer import Answer, Labels
from videozoo.contracts.input import Batch, Form
from videozoo.errors import ConfigError

__all__ = ["NEXT", "STATE", "STREAM", "Backend", "Decoder", "Outputs", "Precision", "Run", "State", "StreamBackend"]

Precision = Literal["fp32", "bf16", "fp16"]  # of the forward pass

Outputs = Mapping[str, np.ndarray]
Run = Callable[[str, Mapping[str, Any]], Outputs]  # computes a stored graph, by its name, for inputs by name
State = Mapping[str, Any]  # of streams: arrays or tensors [streams ...] by name, zeros before the first frame

# A stored graph of this name answers for one more frame of each stream. Its inputs and outputs with these prefixes are
# the state before and after the frame.
STREAM, STATE, NEXT = "stream", "state.", "next."


class Backend(Protocol):
    """Runs a network: torch, ONNX Runtime, OpenVINO.

    Attributes:
        form: the form of the samples that it accepts.
    """

    @property
    def form(self) -> Form: ...

    def collate(self, samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Returns one batch of samples in the backend's form."""
        ...

    def outputs(self, batch: Batch, *, graph: str = "main") -> Outputs:
        """Returns the outputs of one of the task's graphs for a batch of the input's pipeline, by name."""
        ...


@runtime_checkable
class StreamBackend(Backend, Protocol):
    """A backend that also runs networks frame by frame, if they read no later frames."""

    def start(self, num_streams: int = 1) -> State | None:
        """Returns the state of streams before their first frame; None if the network reads later frames."""
        ...

    def step(self, batch: Batch, state: State) -> tuple[Outputs, State]:
        """Returns the main graph's outputs after one more frame of each stream, and the state after it.

        Args:
            batch: clips of one frame.
        """
        ...


class Decoder(abc.ABC):
    """Turns a network's outputs into answers. Subclasses are dataclasses of plain values, stored in exports.

    Attributes:
        recipe_name: the name in exports, set by the registry; the same as the task's.
        answers: the kind of its answers; labels, unless a subclass names another.
    """

    recipe_name: ClassVar[str]
    answers: ClassVar[type[Answer]] = Labels
    class_names: tuple[str, ...]

    @abc.abstractmethod
    def __call__(self, outputs: Outputs, batch: Batch) -> list[Answer]:
        """Returns one answer for each sample of the batch."""

    def outputs(self, run: Run, batch: Batch, *, graph: str = "main") -> Outputs:
        """Returns the outputs of one of the task's graphs, computed by the graphs that an export holds.

        Args:
            run: computes a stored graph; by default the export has a graph of the same name.
            batch: the network's inputs, as `InputSpec.to_arrays` makes them.
        """
        return run(graph, batch)

    def for_labels(self, labels: Sequence[str], run: Run) -> Decoder:
        """Returns a decoder that chooses among labels in words.

        Args:
            run: computes one of the task's graphs, by its name.

        Raises:
            ConfigError: the network does not compare videos with sentences, or the labels are too few or equal.
        """
        raise ConfigError(
            f"labels: '{self.recipe_name}' has its own classes; leave them out, or take a network that compares videos "
            "with sentences, e.g. pe_core.b"
        )

    def to_dict(self) -> dict[str, Any]:
        """Returns the decoder as plain values without the class names; `build_decoder` takes it back."""
        fields: dict[str, Any] = dataclasses.asdict(self)  # type: ignore[call-overload]
        return {"name": self.recipe_name, **{key: value for key, value in fields.items() if key != "class_names"}}
