"""Pickles of arrays, read without running anything that they ask for.

A `.pdparams` file is a pickle, and a pickle may name any function for the reader to call. This reader knows
the few names that arrays and containers of arrays need, and refuses every other.
"""

from __future__ import annotations

import codecs
import collections
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np

from videozoo.errors import WeightsError

__all__ = ["unpickle_arrays"]


def unpickle_arrays(path: str | os.PathLike[str]) -> Any:
    """The containers, numbers, texts and numpy arrays in a pickle.

    Raises:
        WeightsError: the file asks for anything else, and which, or is not a whole pickle.
    """
    try:
        with Path(path).open("rb") as file:
            return _ArrayUnpickler(file, encoding="latin1").load()
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error
    except OSError as error:
        raise WeightsError(f"{path}: cannot be opened ({error.strerror}); check the path") from error
    except Exception as error:  # a damaged pickle fails in as many ways as there are opcodes
        reason = f"{type(error).__name__}: {error}"
        raise WeightsError(f"{path}: not a whole pickle ({reason}); fetch the file again") from error


def _latin1_bytes(text: str, encoding: str = "latin1") -> bytes:
    """What Python 3 writes for bytes in protocol 2; `codecs.encode` itself would accept any codec."""
    if encoding != "latin1":
        raise WeightsError(f"it asks to encode with '{encoding}', which no array needs; do not trust this file")
    return codecs.encode(text, "latin1")


def _reconstruct(kind: type, shape: tuple[int, ...], typecode: Any) -> np.ndarray:
    if kind is not np.ndarray:
        raise WeightsError(f"it asks for an array of type {kind!r}; do not trust this file")
    return np.ndarray(shape, np.dtype(typecode))


def _scalar(dtype: np.dtype, data: bytes) -> np.generic:
    return np.frombuffer(data, dtype)[0]


def _frombuffer(data: bytes, dtype: np.dtype, shape: tuple[int, ...], order: Literal["C", "F"]) -> np.ndarray:
    return np.frombuffer(data, dtype).reshape(shape, order=order)


_ADMITTED: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("_codecs", "encode"): _latin1_bytes,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}
for _core in ("numpy.core", "numpy._core"):  # before and since numpy 2
    _ADMITTED[f"{_core}.multiarray", "_reconstruct"] = _reconstruct
    _ADMITTED[f"{_core}.multiarray", "scalar"] = _scalar
    _ADMITTED[f"{_core}.numeric", "_frombuffer"] = _frombuffer
for _builtins in ("builtins", "__builtin__"):
    for _kind in (dict, list, tuple, set, str, int, float, bool, complex, bytes, bytearray):
        _ADMITTED[_builtins, _kind.__name__] = _kind


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ADMITTED[module, name]
        except KeyError:
            raise WeightsError(
                f"it asks for '{module}.{name}', which is not part of an array, so nothing was loaded; "
                "do not trust this file"
            ) from None
