"""Weights under another project's names, for use in that project."""

from __future__ import annotations

import os
import pickle
from typing import IO, Any

import numpy as np
import torch

from videozoo.errors import WeightsError
from videozoo.models.model import VideoModel
from videozoo.weights.checkpoint import replace_file
from videozoo.weights.conventions import needed_args
from videozoo.weights.importer import key_map

__all__ = ["foreign_state", "write_pdparams"]


def foreign_state(model: VideoModel, *, source: str = "paddlevideo") -> dict[str, np.ndarray]:
    """Returns the model's tensors by `source`'s names and in its layout; `weights.convert` reads them back.

    Raises:
        WeightsError: the project has no such model, computes it differently, or the key map is for imports only.
    """
    if args := needed_args(model, source=source):
        given = ", ".join(f"model.{key}={value}" for key, value in args.items())
        raise WeightsError(
            f"source '{source}': its {model.name} would give other scores with these weights; to export them, train "
            f"with {given}"
        )
    names = key_map(model, source=source)
    state: dict[str, np.ndarray] = {}
    kept = dict(model.state_dict())
    own = {n: b for n, b in model.named_buffers() if n not in kept and names.is_ignored(names.theirs(n))}
    for name, tensor in (kept | own).items():
        if name.endswith("num_batches_tracked"):
            continue
        value = tensor.detach().cpu().to(torch.float32 if tensor.is_floating_point() else tensor.dtype).numpy()
        try:
            state[names.theirs(name)] = np.ascontiguousarray(names.write(name, model, value))
        except KeyError as error:
            raise WeightsError(
                f"source '{source}': {model.name} can be imported from it, but not exported to it"
            ) from error
    return state


def write_pdparams(path: str | os.PathLike[str], model: VideoModel, *, source: str = "paddlevideo") -> int:
    """Writes a `.pdparams` file, a pickle of arrays by name, that PaddlePaddle loads; returns the number of arrays.

    Raises:
        WeightsError: the project has no such model, or the file cannot be written.
    """
    state = foreign_state(model, source=source)

    def write(temporary: str) -> None:
        with open(temporary, "wb") as file:  # noqa: PTH123
            _ArrayPickler(file).dump(state)

    replace_file(path, write)
    return len(state)


class _ArrayPickler(pickle.Pickler):
    """Writes arrays without naming numpy's private modules, which differ between numpy 1 and 2."""

    def __init__(self, file: IO[bytes]):
        super().__init__(file, protocol=2)

    def reducer_override(self, value: Any) -> Any:
        if type(value) is not np.ndarray:
            return NotImplemented
        return np.ndarray, (value.shape, value.dtype), (1, value.shape, value.dtype, False, value.tobytes())
