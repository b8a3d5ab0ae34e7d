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


class _Dtype:
    """Stands for a dtype, of which a pickle may choose the kind and the byte order.

    `np.dtype` itself takes a pickle's word for fields, sizes and flags too, and reads beyond an array's end by them.
    """

    def __init__(self, code: str, *_: Any):
        self.plain = np.dtype(code)
        if self.plain.kind not in "biufcSU":
            raise WeightsError(
                f"it asks for an array of '{self.plain}', not of numbers or text; do not trust this file"
            )

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.plain = self.plain.newbyteorder(state[1])


class _Array(np.ndarray):
    """An array that is empty until the pickle gives it its shape and contents, which must agree."""

    def __setstate__(self, state: Any) -> None:
        version, shape, dtype, is_fortran, data = state
        super().__setstate__((version, shape, dtype.plain, is_fortran, data))

    def __reduce_ex__(self, protocol: Any) -> Any:
        return np.asarray(self).__reduce_ex__(protocol)  # to another process it goes as a plain array


def _ndarray(shape: tuple[int, ...], dtype: str | _Dtype, data: bytes | None = None) -> np.ndarray:
    """Without `data`, which then follow; of `shape` the memory would hold what happened to be there."""
    if data is None:
        return _Array(0)
    return _frombuffer(data, _Dtype(dtype) if isinstance(dtype, str) else dtype, shape)


def _reconstruct(kind: Any, shape: tuple[int, ...], typecode: Any) -> np.ndarray:
    if kind is not _ndarray:
        raise WeightsError(f"it asks for an array of type {kind!r}; do not trust this file")
    return _ndarray(shape, typecode)


def _frombuffer(data: bytes, dtype: _Dtype, shape: tuple[int, ...], order: Literal["C", "F"] = "C") -> np.ndarray:
    if not isinstance(data, bytes | bytearray):
        raise WeightsError(f"it asks for an array in the memory of a {type(data).__name__}; do not trust this file")
    return np.ndarray(shape, dtype.plain, data, order=order)


def _scalar(dtype: _Dtype, data: bytes) -> np.generic:
    return np.frombuffer(data, dtype.plain)[0]


def _latin1_bytes(text: str, encoding: str = "latin1") -> bytes:
    """What Python 3 writes for bytes in protocol 2; `codecs.encode` itself would accept any codec."""
    if encoding != "latin1":
        raise WeightsError(f"it asks to encode with '{encoding}', which no array needs; do not trust this file")
    return codecs.encode(text, "latin1")


def _made_of(kind: Callable[..., Any], *admitted: type) -> Callable[..., Any]:
    """`kind` of nothing or of these; bytes of a number would be that many bytes."""

    def make(*args: Any) -> Any:
        if args and not isinstance(args[0], admitted):
            what = f"{kind.__name__} of a value of type {type(args[0]).__name__}"
            raise WeightsError(f"it asks for {what}, which no array needs; do not trust this file")
        return kind(*args)

    return make


_ADMITTED: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("_codecs", "encode"): _latin1_bytes,
    ("numpy", "ndarray"): _ndarray,
    ("numpy", "dtype"): _Dtype,
}
for _core in ("numpy.core", "numpy._core"):  # before and since numpy 2
    _ADMITTED[f"{_core}.multiarray", "_reconstruct"] = _reconstruct
    _ADMITTED[f"{_core}.multiarray", "scalar"] = _scalar
    _ADMITTED[f"{_core}.numeric", "_frombuffer"] = _frombuffer
for _builtins in ("builtins", "__builtin__"):  # the other builtin types have opcodes of their own
    _ADMITTED[_builtins, "set"] = _made_of(set, list)
    _ADMITTED[_builtins, "complex"] = _made_of(complex, int, float)
    _ADMITTED[_builtins, "bytes"] = _made_of(bytes, bytes, str)
    _ADMITTED[_builtins, "bytearray"] = _made_of(bytearray, bytes, str)


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ADMITTED[module, name]
        except KeyError:
            raise WeightsError(
                f"it asks for '{module}.{name}', which is not part of an array, so nothing was loaded; "
                "do not trust this file"
            ) from None
