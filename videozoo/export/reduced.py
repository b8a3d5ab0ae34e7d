"""Writes exported graphs anew in fewer bits: weights in half precision, or weights and maps as 8-bit integers."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import logging
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from videozoo.errors import ConfigError, require
from videozoo.runtimes.folder import ExportPrecision, Runtime

__all__ = ["REDUCERS", "Inputs", "Reducer", "layer_of", "layers_of"]

Inputs = Sequence[Mapping[str, np.ndarray]]  # examples of all inputs of a graph, by name
FP16_MAX = float(np.finfo(np.float16).max)
LARGE_VALUES = 256  # smaller weights keep their precision: nothing is gained
WITH_WEIGHTS = ("Conv", "Gemm", "MatMul")  # in the names of ONNX


@dataclasses.dataclass(frozen=True)
class Reducer:
    """Writes the files of one graph in fewer bits, in place.

    Attributes:
        write: takes the files, examples of the inputs, and the layers to reduce (None: all of them).
        needs_examples: whether the ranges of maps are measured on examples.
    """

    write: Callable[[Sequence[Path], Inputs, Sequence[str] | None], None]
    needs_examples: bool


def layer_of(node: str) -> str:
    """Returns the layer that a node of an exported graph belongs to, by the node's name."""
    return node.partition("/")[0]


def layers_of(path: Path) -> list[str]:
    """Returns the layers of an ONNX or OpenVINO graph that have weights, in order, each once."""
    if path.suffix == ".onnx":
        nodes = [node.name for node in _load_onnx(path).graph.node if node.op_type in WITH_WEIGHTS]
    else:
        kinds = ("Convolution", "GroupConvolution", "MatMul")
        openvino = require("openvino", extra="openvino", purpose="export --precision int8")
        network = openvino.Core().read_model(path)
        nodes = [op.get_friendly_name() for op in network.get_ordered_ops() if op.get_type_name() in kinds]
    return list(dict.fromkeys(map(layer_of, nodes)))


# ---- ONNX Runtime ----------------------------------------------------------------------------------------


def _onnx_int8(files: Sequence[Path], examples: Inputs, layers: Sequence[str] | None) -> None:
    """Quantizes a graph for ONNX Runtime: weights per channel, ranges of maps from the examples.

    Weights have 7 bits, since processors without VNNI instructions overflow at 8. Transformers keep float32 between
    their matrix products: their sums and norms have ranges that 8 bits do not cover.

    Raises:
        ConfigError: the graph has 3-D convolutions, for which ONNX Runtime has no integer form.
    """
    (path,) = files
    require("onnx", extra="export", purpose="export --precision int8")
    from onnxruntime import quantization

    model = _load_onnx(path)
    if _has_3d_convolution(model):
        raise ConfigError(
            f"--precision int8: ONNX Runtime has no 3-D convolution in integers, which {path.stem} needs; use "
            "--format openvino"
        )
    nodes = [node for node in model.graph.node if layers is None or layer_of(node.name) in layers]
    is_transformer = any(node.op_type == "LayerNormalization" for node in model.graph.node)
    only = WITH_WEIGHTS if is_transformer or layers is not None else None
    prepared = path.with_suffix(".prepared.onnx")
    with _quiet():
        quantization.shape_inference.quant_pre_process(str(path), str(prepared), skip_symbolic_shape=True)
        quantization.quantize_static(
            str(prepared),
            str(path),
            _examples_reader(quantization, examples),
            quant_format=quantization.QuantFormat.QDQ,
            activation_type=quantization.QuantType.QUInt8,  # x86 has no product of two signed maps
            weight_type=quantization.QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
            op_types_to_quantize=list(only) if only else None,
            nodes_to_quantize=[node.name for node in nodes] if layers is not None else None,
        )
    prepared.unlink()


def _examples_reader(quantization: Any, examples: Inputs) -> Any:
    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.rest = iter(examples)

        def get_next(self) -> Mapping[str, np.ndarray] | None:
            return next(self.rest, None)

    return Reader()


def _has_3d_convolution(model: Any) -> bool:
    dims = {tensor.name: len(tensor.dims) for tensor in model.graph.initializer}
    return any(node.op_type == "Conv" and dims.get(node.input[1]) == 5 for node in model.graph.node)


def _onnx_fp16(files: Sequence[Path], examples: Inputs, layers: Sequence[str] | None) -> None:
    """Stores the weights in half precision; the runtime computes in float32, for which processors have instructions."""
    (path,) = files
    onnx = require("onnx", extra="export", purpose="export --precision fp16")
    model = _load_onnx(path)
    graph = model.graph
    for weight in list(graph.initializer):
        if weight.data_type != onnx.TensorProto.FLOAT or np.prod(weight.dims) < LARGE_VALUES:
            continue
        values = onnx.numpy_helper.to_array(weight)
        if (largest := float(np.abs(values).max())) > FP16_MAX:
            raise ConfigError(
                f"--precision fp16: weight '{weight.name}' has the value {largest:g}, above {FP16_MAX:g}, the largest "
                "of half precision; export in fp32"
            )
        name = f"{weight.name}_fp16"
        graph.node.insert(0, onnx.helper.make_node("Cast", [name], [weight.name], to=onnx.TensorProto.FLOAT))
        weight.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), name))
    onnx.save(model, path)


def _load_onnx(path: Path) -> Any:
    return require("onnx", extra="export", purpose="export --precision").load(path)


# ---- OpenVINO --------------------------------------------------------------------------------------------


def _openvino_int8(files: Sequence[Path], examples: Inputs, layers: Sequence[str] | None) -> None:
    openvino = require("openvino", extra="openvino", purpose="export --precision int8")
    with _quiet():
        nncf = require("nncf", extra="int8", purpose="export --format openvino --precision int8")
        network = openvino.Core().read_model(*(path.read_bytes() for path in files))
        kept = [] if layers is None else [layer for layer in layers_of(files[0]) if layer not in layers]
        is_transformer = any(op.get_type_name() in ("MVN", "LayerNormalization") for op in network.get_ops())
        quantized = nncf.quantize(
            network,
            nncf.Dataset(examples),
            subset_size=len(examples),
            model_type=nncf.ModelType.TRANSFORMER if is_transformer else None,
            ignored_scope=nncf.IgnoredScope(patterns=[f"{re.escape(layer)}/.*" for layer in kept], validate=False),
        )
    openvino.save_model(quantized, files[0], compress_to_fp16=False)


def _openvino_fp16(files: Sequence[Path], examples: Inputs, layers: Sequence[str] | None) -> None:
    openvino = require("openvino", extra="openvino", purpose="export --format openvino")
    network = openvino.Core().read_model(*(path.read_bytes() for path in files))
    openvino.save_model(network, files[0], compress_to_fp16=True)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the notes, warnings and progress bars of the quantizers away."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


REDUCERS: dict[tuple[Runtime, ExportPrecision], Reducer] = {
    ("onnx", "fp16"): Reducer(_onnx_fp16, needs_examples=False),
    ("onnx", "int8"): Reducer(_onnx_int8, needs_examples=True),
    ("openvino", "fp16"): Reducer(_openvino_fp16, needs_examples=False),
    ("openvino", "int8"): Reducer(_openvino_int8, needs_examples=True),
}
