"""An exported network made by hand: it names the gray of clips."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.slim.conftest import LEVELS, NAMES, SPEC, gray_video
from videozoo.decoding.classify import ClassifyDecoder
from videozoo.runtimes.folder import Description, stored_file, write_description

onnx = pytest.importorskip("onnx")
__all__ = ["gray_video"]


def graph(**changes: Any) -> Any:
    """Clips `[n 4 3 16 16]` in 0..1 to `features`, their distances from four grays, and `scores`."""
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    constants = {
        "axes": np.array([1, 2, 3, 4]),
        "last": np.array([1]),
        "levels": (LEVELS / 255).astype(np.float32),
        "sharpness": np.array(-30, np.float32),
    }
    nodes = [
        helper.make_node("ReduceMean", ["video", "axes"], ["mean"], keepdims=0),
        helper.make_node("Unsqueeze", ["mean", "last"], ["column"]),
        helper.make_node("Sub", ["column", "levels"], ["apart"]),
        helper.make_node("Abs", ["apart"], ["features"]),
        helper.make_node("Mul", ["features", "sharpness"], ["scores"]),
    ]
    kind = onnx.TensorProto.FLOAT
    made = helper.make_graph(
        nodes,
        "gray",
        [helper.make_tensor_value_info("video", kind, ["clips", 4, 3, 16, 16])],
        [helper.make_tensor_value_info(name, kind, ["clips", 4]) for name in ("features", "scores")],
        [numpy_helper.from_array(value, name) for name, value in (constants | changes).items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def write_folder(folder: Path, model: Any) -> Path:
    folder.mkdir()
    (folder / "main.onnx").write_bytes(model.SerializeToString())
    description: Description = {
        "runtime": "onnx",
        "precision": "fp32",
        "name": "gray",
        "task": "classify",
        "fingerprint": "0" * 64,
        "num_features": 4,
        "class_names": list(NAMES),
        "input": json.loads(json.dumps(SPEC.to_dict())),
        "decoder": ClassifyDecoder(NAMES).to_dict(),
        "graphs": {
            "main": {
                "files": [stored_file(folder / "main.onnx")],
                "inputs": [{"name": "video", "type": "float32", "shape": ["clips", 4, 3, 16, 16]}],
                "outputs": [{"name": n, "type": "float32", "shape": ["clips", 4]} for n in ("features", "scores")],
            }
        },
    }
    write_description(folder, description)
    return folder


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    """The folder of the network."""
    return write_folder(tmp_path / "exported", graph())
