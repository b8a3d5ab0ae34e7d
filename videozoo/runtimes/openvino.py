"""Graphs that OpenVINO computes."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from videozoo.errors import ConfigError, require
from videozoo.runtimes.graph import Compute

__all__ = ["open_openvino"]


def open_openvino(files: Sequence[bytes], *, device: str) -> Compute:
    """Opens a graph of OpenVINO, its network and its weights. Threads may compute it at the same time.

    Raises:
        MissingPackageError: openvino is not installed.
        ConfigError: another device than the CPU.
    """
    if device not in ("auto", "cpu"):
        raise ConfigError(f"--device {device}: OpenVINO computes on the CPU here; use cpu or auto")
    openvino = require("openvino", extra="openvino", purpose="exported network")
    core = openvino.Core()
    # By itself the CPU computes in bfloat16 where it can: answers would differ by 1e-2.
    options = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    threads = os.environ.get("OMP_NUM_THREADS", "")
    if threads.isdecimal():
        options["INFERENCE_NUM_THREADS"] = threads
    network, weights = files
    compiled = core.compile_model(core.read_model(network, weights), "CPU", options)

    def compute(inputs: dict[str, np.ndarray], outputs: Sequence[str]) -> list[np.ndarray]:
        request = compiled.create_infer_request()  # one a call: requests are not for several threads
        found = request.infer(inputs)
        return [np.array(found[name]) for name in outputs]

    return compute
