"""Graphs that ONNX Runtime computes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from videozoo.errors import ConfigError, require
from videozoo.runtimes.graph import Compute

__all__ = ["open_onnx"]

QUIET = 4  # what fails is raised; nothing else belongs on stderr


def open_onnx(files: Sequence[bytes], *, device: str) -> Compute:
    """Opens a graph of the ONNX format. Threads may compute it at the same time.

    Args:
        device: "cpu", "cuda", "cuda:1"; "auto" takes CUDA where this onnxruntime has it.

    Raises:
        MissingPackageError: onnxruntime is not installed.
        ConfigError: this onnxruntime does not have the device.
    """
    runtime = require("onnxruntime", extra=None, purpose="exported network")
    options = runtime.SessionOptions()
    options.log_severity_level = QUIET
    threads = os.environ.get("OMP_NUM_THREADS", "")
    if threads.isdecimal():  # as torch does
        options.intra_op_num_threads = int(threads)
    # Threads that spin while they wait take the cores that decoding needs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = runtime.InferenceSession(files[0], options, providers=_providers(runtime, device))

    def compute(inputs: dict[str, np.ndarray], outputs: Sequence[str]) -> list[np.ndarray]:
        found: list[np.ndarray] = session.run(list(outputs), inputs)
        return found

    return compute


def _providers(runtime: Any, device: str) -> list[Any]:
    known = runtime.get_available_providers()
    kind, _, number = device.partition(":")
    cpu = "CPUExecutionProvider"
    if device == "cpu" or (device == "auto" and "CUDAExecutionProvider" not in known):
        return [cpu]
    if kind not in ("auto", "cuda") or (number and not number.isdecimal()):
        raise ConfigError(f"--device {device}: ONNX Runtime has no such device; use cpu, cuda or auto")
    if "CUDAExecutionProvider" not in known:
        raise ConfigError(f"--device {device}: this onnxruntime computes on the CPU only; install onnxruntime-gpu")
    return [("CUDAExecutionProvider", {"device_id": int(number or 0)}), cpu]
