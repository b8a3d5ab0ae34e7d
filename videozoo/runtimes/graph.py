"""The stored graphs of a network, and the backend that runs a task by them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from videozoo.contracts.backend import NEXT, STATE, STREAM, Decoder, Outputs, Run, State
from videozoo.contracts.input import Batch, Form, InputSpec
from videozoo.errors import DataError, WeightsError
from videozoo.runtimes.folder import StoredGraph
from videozoo.structured import reason
from videozoo.transforms.collate import collate

__all__ = ["Compute", "Graphs", "StoredBackend"]

# From inputs by name, in their order, and the names of outputs to these outputs.
Compute = Callable[[dict[str, np.ndarray], Sequence[str]], Sequence[np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Graphs:
    """Computes stored graphs, by name; see `contracts.backend.Run`.

    Attributes:
        source: the folder, for messages.
        graphs: each with its inputs and outputs, and what computes it.
    """

    source: str
    graphs: Mapping[str, tuple[StoredGraph, Compute]]

    def __call__(self, name: str, inputs: Mapping[str, Any]) -> Outputs:
        if name not in self.graphs:
            raise WeightsError(
                f"{self.source}: has no graph '{name}', but {', '.join(self.graphs)}; repeat `videozoo export`"
            )
        graph, compute = self.graphs[name]
        given = {port["name"]: np.ascontiguousarray(inputs[port["name"]], port["type"]) for port in graph["inputs"]}
        outputs = [port["name"] for port in graph["outputs"]]
        try:
            return dict(zip(outputs, compute(given, outputs), strict=True))
        except Exception as error:  # runtimes raise classes of their own, and what C++ threw
            shapes = ", ".join(f"{key} {value.shape}" for key, value in given.items())
            raise DataError(
                f"{self.source}: graph '{name}' cannot be computed for {shapes} ({reason(error)}); check that the "
                "input is as in training"
            ) from error


@dataclasses.dataclass(frozen=True)
class StoredBackend:
    """Runs a task by stored graphs; see `contracts.backend.StreamBackend`.

    Attributes:
        stepper: the stored graph that answers for frames of streams; None if there is none.
    """

    run: Run
    decoder: Decoder
    spec: InputSpec
    stepper: StoredGraph | None = None
    form: Form = "arrays"

    def collate(self, samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        return collate(samples)

    def outputs(self, batch: Batch, *, graph: str = "main") -> Outputs:
        return self.decoder.outputs(self.run, self.spec.to_arrays(batch), graph=graph)

    def start(self, num_streams: int = 1) -> State | None:
        if self.stepper is None:
            return None
        ports = [port for port in self.stepper["inputs"] if port["name"].startswith(STATE)]
        return {
            port["name"].removeprefix(STATE): np.zeros([num_streams, *map(int, port["shape"][1:])], port["type"])
            for port in ports
        }

    def step(self, batch: Batch, state: State) -> tuple[Outputs, State]:
        inputs = {**self.spec.to_arrays(batch), **{STATE + name: value for name, value in state.items()}}
        found = self.decoder.outputs(self.run, inputs, graph=STREAM)
        after = {name.removeprefix(NEXT): value for name, value in found.items() if name.startswith(NEXT)}
        return {name: value for name, value in found.items() if not name.startswith(NEXT)}, after
