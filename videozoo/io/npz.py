"""Opens untrusted archives of arrays (npz) after checking their unpacked size."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["load_arrays"]

ZIP = b"PK"
MAX_UNPACKED = 100  # times the size of the file; features of real videos rarely compress to a tenth
SPARE_BYTES = 64 << 20


def load_arrays(path: str | os.PathLike[str]) -> Any:
    """Opens an npz file, whose arrays are read on access, or reads an npy file; refuses pickles.

    Raises:
        ValueError: the archive unpacks to far more than its size; the caller adds the path.
        Exception: any exception of numpy or zipfile for a damaged file.
    """
    with Path(path).open("rb") as file:
        if file.read(2) == ZIP:
            size_bytes = os.fstat(file.fileno()).st_size
            with zipfile.ZipFile(file) as archive:
                unpacked_bytes = sum(entry.file_size for entry in archive.infolist())
            if unpacked_bytes > MAX_UNPACKED * size_bytes + SPARE_BYTES:
                raise ValueError(f"it unpacks to {unpacked_bytes:,} bytes, but the file has only {size_bytes:,}")
    return np.load(path, allow_pickle=False)
