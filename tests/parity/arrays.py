"""The stored arrays of reference folders, which know which of them a case has read."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np

__all__ = ["Arrays", "load", "load_file", "reading", "unread"]

S, T = TypeVar("S"), TypeVar("T")


class Arrays(Mapping[str, T]):
    """The arrays of a file by name; an array counts as read when it is taken out."""

    def __init__(self, stored: Mapping[str, np.ndarray], read: set[str], form: Callable[[np.ndarray], T]):
        self._stored, self._read, self._form = stored, read, form

    def __getitem__(self, name: str) -> T:
        value = self._form(self._stored[name])
        self._read.add(name)
        return value

    def __contains__(self, name: object) -> bool:  # Mapping's own would take the array out
        return name in self._stored

    def __iter__(self) -> Iterator[str]:
        return iter(self._stored)

    def __len__(self) -> int:
        return len(self._stored)

    def map(self, form: Callable[[np.ndarray], S]) -> Arrays[S]:
        """Returns the same arrays, each in the form that `form` gives it."""
        return Arrays(self._stored, self._read, form)


Read = dict[Path, set[str]]
_read: contextvars.ContextVar[Read] = contextvars.ContextVar("read")


@contextlib.contextmanager
def reading() -> Iterator[Read]:
    """Gives the names of the arrays that are read while it is open, by file."""
    token = _read.set({})
    try:
        yield _read.get()
    finally:
        _read.reset(token)


def load_file(path: Path) -> Arrays[np.ndarray]:
    """Returns the arrays of a file."""
    with np.load(path, allow_pickle=False) as file:
        return Arrays(dict(file), _read.get({}).setdefault(path.resolve(), set()), lambda array: array)


def load(folder: Path) -> Arrays[np.ndarray]:
    """Returns the arrays of a folder's `expected.npz`."""
    return load_file(folder / "expected.npz")


def unread(folder: Path, read: Read) -> list[str]:
    """Returns the arrays of the folder's files that are not in `read`, as `file/array`."""
    left = []
    for path in sorted(folder.resolve().rglob("*.npz")):
        with np.load(path, allow_pickle=False) as file:
            names = [name for name in file.files if name not in read.get(path, set())]
        left += [f"{path.relative_to(folder.resolve()).with_suffix('')}/{name}" for name in names]
    return left
