"""Writes traced graphs in the format of each runtime."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from videozoo.errors import require
from videozoo.export.trace import Traced, quiet
from videozoo.runtimes.folder import Runtime

__all__ = ["WRITERS", "Writer"]

OPSET = 20  # the first with a gelu; onnxruntime 1.20 reads it
Writer = Callable[[Traced, Path], list[Path]]


def write_onnx(traced: Traced, stem: Path) -> list[Path]:
    """Writes `STEM.onnx`, weights included."""
    path = stem.with_name(f"{stem.name}.onnx")
    _onnx_program(traced).save(path, external_data=False)
    return [path]


def write_openvino(traced: Traced, stem: Path) -> list[Path]:
    """Writes `STEM.xml`, the network, and `STEM.bin`, its weights in float32."""
    openvino = require("openvino", extra="openvino", purpose="export --format openvino")
    network, weights = (stem.with_name(f"{stem.name}.{ending}") for ending in ("xml", "bin"))
    between = stem.with_name(f"{stem.name}.onnx")
    _onnx_program(traced).save(between, external_data=False)
    openvino.save_model(openvino.convert_model(between), network, compress_to_fp16=False)
    between.unlink()
    return [network, weights]


def write_torch(traced: Traced, stem: Path) -> list[Path]:
    """Writes `STEM.pt2`, for `torch.export.load` and AOTInductor."""
    path = stem.with_name(f"{stem.name}.pt2")
    with quiet():
        torch.export.save(traced.program, path)
    return [path]


WRITERS: dict[Runtime, Writer] = {"onnx": write_onnx, "openvino": write_openvino, "torch": write_torch}


def _onnx_program(traced: Traced) -> Any:
    for package in ("onnx", "onnxscript"):
        require(package, extra="export", purpose="export --format onnx")
    with quiet():
        program = torch.onnx.export(
            traced.program,
            dynamo=True,
            input_names=[port["name"] for port in traced.inputs],
            output_names=[port["name"] for port in traced.outputs],
            opset_version=OPSET,
            external_data=False,
            verbose=False,
        )
    assert program is not None
    graph = program.model.graph
    for node in graph:
        node.name = f"{_layer(node.metadata_props)}/{node.name}"
        node.metadata_props.clear()  # they name source files of this machine
    for value in (*graph.inputs, *graph.outputs):
        shape: Any = value.shape
        for axis, size in enumerate(shape):
            shape[axis] = traced.axes.get(str(size), size)  # names in place of the tracer's symbols
    return program


def _layer(properties: Mapping[str, str]) -> str:
    """Returns the name of the innermost module that a node of the exporter belongs to."""
    scopes = properties.get("pkg.torch.onnx.name_scopes", "[]")
    named: list[str] = [name for name in ast.literal_eval(scopes)[:-1] if name]
    return named[-1].removeprefix("owner.").removeprefix("model.") if named else "network"
