"""Packs a folder of files, with arrays, into one safetensors file: an exported network that is stored with features."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy

from videozoo.errors import WeightsError
from videozoo.io.whole_file import whole_file
from videozoo.structured import reading, regular_file

__all__ = ["is_packed", "read_packed", "write_packed"]

MARK = {"packed": "videozoo export"}
FILE = "file/"  # prefix of the files' names
ADVICE = "extract the features again"


def write_packed(path: Path, files: Mapping[str, bytes], arrays: Mapping[str, np.ndarray]) -> None:
    """Writes files and arrays, by name, into one file.

    Raises:
        WeightsError: it cannot be written.
    """
    held = {f"{FILE}{name}": np.frombuffer(data, np.uint8) for name, data in files.items()}
    tensors = {**held, **{name: np.ascontiguousarray(array) for name, array in arrays.items()}}
    with whole_file(path, error=WeightsError, writer_errors=(safetensors.SafetensorError,)) as part:
        safetensors.numpy.save_file(tensors, part, metadata=MARK)


def is_packed(path: str | os.PathLike[str]) -> bool:
    """Whether a file was written by `write_packed`."""
    if Path(path).suffix != ".safetensors" or not os.path.isfile(path):  # noqa: PTH113 (False for any text)
        return False
    try:
        with safetensors.safe_open(path, framework="np") as file:
            return (file.metadata() or {}).items() >= MARK.items()
    except (OSError, safetensors.SafetensorError):  # its reader says what is wrong
        return False


def read_packed(path: Path) -> tuple[dict[str, bytes], dict[str, np.ndarray]]:
    """Reads (files, arrays), by name.

    Raises:
        WeightsError: the file is damaged, or a name in it leads out of its folder.
    """
    path = regular_file(path, kind="packed export", error=WeightsError)
    files: dict[str, bytes] = {}
    arrays: dict[str, np.ndarray] = {}
    with reading(path, advice=ADVICE, error=WeightsError), safetensors.safe_open(path, framework="np") as file:
        for key in file.keys():  # noqa: SIM118 (no mapping)
            if not key.startswith(FILE):
                arrays[key] = file.get_tensor(key)
                continue
            name = key.removeprefix(FILE)
            if name != os.path.basename(name) or name in ("", ".", ".."):  # noqa: PTH119
                raise WeightsError(f"{path}: names a file outside of its folder; {ADVICE}")
            files[name] = file.get_tensor(key).tobytes()
    return files, arrays
