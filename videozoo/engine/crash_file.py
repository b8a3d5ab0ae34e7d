"""A file with the index of the sample being decoded; it survives a crash of the training process."""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from videozoo.errors import TrainingError

__all__ = ["CrashFile"]

NONE = -1


class CrashFile:
    """Indices as int64 in a file: the sample being decoded (-1 for none), then those known to crash the decoder.

    The file is written before each sample, so it survives the process. It is not flushed to the disk.

    Raises:
        TrainingError: the file cannot be written.
    """

    def __init__(self, path: Path, crashed: Iterable[int] = ()):
        self.path = path
        self._crashed = sorted(crashed)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
            os.pwrite(self._file, _packed([NONE, *self._crashed]), 0)
        except OSError as error:
            raise TrainingError(f"{path}: cannot be written ({error}); free some space") from error

    @contextlib.contextmanager
    def noting(self, index: int) -> Iterator[None]:
        """Keeps `index` in the file until the block ends."""
        os.pwrite(self._file, _packed([index]), 0)
        try:
            yield
        finally:
            os.pwrite(self._file, _packed([NONE]), 0)

    def close(self) -> None:
        """Closes the file, and removes it if it lists no crashes."""
        os.close(self._file)
        if not self._crashed:
            self.path.unlink(missing_ok=True)

    @staticmethod
    def read(paths: Iterable[Path]) -> tuple[set[int], set[int]]:
        """Returns (samples being decoded when their process ended, samples known to crash the decoder)."""
        suspects: set[int] = set()
        crashed: set[int] = set()
        for path in paths:
            content = path.read_bytes()
            current, *known = struct.unpack(f"<{len(content) // 8}q", content[: len(content) // 8 * 8]) or (NONE,)
            suspects |= {current} - {NONE}
            crashed |= set(known)
        return suspects - crashed, crashed


def _packed(indices: Sequence[int]) -> bytes:
    return struct.pack(f"<{len(indices)}q", *indices)
