"""Graphs of a task as programs of `torch.export`, with their inputs and outputs described."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import warnings
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from videozoo.errors import ConfigError
from videozoo.export.fold import fold_batch_norms
from videozoo.runtimes.folder import Port
from videozoo.structured import reason
from videozoo.tasks.graph import Graph

__all__ = ["Traced", "quiet", "trace"]

TYPES = {torch.float32: "float32", torch.float64: "float64", torch.int64: "int64", torch.bool: "bool"}


@dataclasses.dataclass(frozen=True)
class Traced:
    """A graph as a program, with batch norms folded into the convolutions before them.

    Attributes:
        axes: the names of free axes, by the symbols that the program has for them.
    """

    program: ExportedProgram
    inputs: list[Port]
    outputs: list[Port]
    axes: dict[str, str]


def trace(owner: nn.Module, graph: Graph, *, where: str) -> Traced:
    """Traces a graph on the CPU.

    Args:
        owner: holds the parameters that the graph reads, in evaluation mode: a task.

    Raises:
        ConfigError: torch cannot export it, or fixes an axis that must be free.
    """
    example = tuple(graph.inputs.values())
    free = [dict.fromkeys(graph.free.get(name, {}), Dim.DYNAMIC) for name in graph.inputs]
    module = _Positional(owner, graph)
    try:
        with quiet(), torch.no_grad():
            found = graph.forward(**graph.inputs)
            program = torch.export.export(module, example, dynamic_shapes={"inputs": tuple(free)}, strict=False)
            if fold_batch_norms(folded := program.module()):
                program = torch.export.export(folded, example, dynamic_shapes=tuple(free), strict=False)
    except Exception as error:  # torch raises what the model's code and its own layers raise
        raise ConfigError(
            f"{where}: torch cannot export it ({reason(error)}); this network runs in torch alone"
        ) from error
    placeholders = [
        node.meta["val"] for node in program.graph.nodes if node.name in program.graph_signature.user_inputs
    ]
    axes = {
        str(value.shape[axis]): label
        for (name, names), value in zip(((n, graph.free.get(n, {})) for n in graph.inputs), placeholders, strict=True)
        for axis, label in names.items()
    }
    by_name = {node.name: node.meta["val"] for node in program.graph.nodes if "val" in node.meta}
    outputs = [by_name[str(name)] for name in program.graph_signature.user_outputs]
    return Traced(
        program,
        [_port(name, value, axes) for name, value in zip(graph.inputs, placeholders, strict=True)],
        [_port(name, value, axes) for name, value in zip(found, outputs, strict=True)],
        axes,
    )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps the exporter's own warnings and notes away; torch's fused attention, which it cannot trace, is off."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    is_fast = torch.backends.mha.get_fastpath_enabled()
    try:
        torch.backends.mha.set_fastpath_enabled(False)
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(is_fast)
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


class _Positional(nn.Module):
    """A graph with inputs and outputs in order, in place of names."""

    def __init__(self, owner: nn.Module, graph: Graph):
        super().__init__()
        self.owner, self.graph = owner, graph

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.graph.forward(**dict(zip(self.graph.inputs, inputs, strict=True))).values())


def _port(name: str, value: Tensor, axes: dict[str, str]) -> Port:
    shape = [size if isinstance(size, int) else axes.get(str(size), str(size)) for size in value.shape]
    return {"name": name, "type": TYPES[value.dtype], "shape": shape}  # type: ignore[typeddict-item]
