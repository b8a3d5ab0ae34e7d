"""Graphs that torch computes, from programs of `torch.export`."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from videozoo.errors import ConfigError, require
from videozoo.runtimes.graph import Compute

__all__ = ["open_torch_program"]


def open_torch_program(files: Sequence[bytes], *, device: str) -> Compute:
    """Opens a `.pt2` file. Opening one can run code of its author: only trusted files come here.

    Raises:
        MissingPackageError: torch is not installed.
        ConfigError: another device than the CPU.
    """
    torch: Any = require("torch", extra="torch", purpose="exported network")
    if device not in ("auto", "cpu"):
        raise ConfigError(f"--device {device}: an exported program of torch stays on the CPU; use cpu or auto")
    program = torch.export.load(io.BytesIO(files[0])).module()

    def compute(inputs: dict[str, np.ndarray], outputs: Sequence[str]) -> list[np.ndarray]:
        with torch.inference_mode():
            found = program(*(torch.from_numpy(array) for array in inputs.values()))
        return [tensor.numpy() for tensor in found]

    return compute
