"""Archives of arrays (npz) from anywhere, opened once it is known what they unpack to."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["load_arrays"]

ZIP = b"PK"
MAX_UNPACKED = 100  # times the size of the file; features of real videos hardly pack to a tenth of theirs
SPARE_BYTES = 64 << 20


def load_arrays(path: str | os.PathLike[str]) -> Any:
    """Opens a npz file (its arrays are read when they are asked for) or reads an npy file; pickles are refused.

    Raises:
        ValueError: an archive of zeros without end packed into little; the caller knows the place.
        whatever else numpy and zipfile raise for damage.
    """
    with Path(path).open("rb") as file:
        if file.read(2) == ZIP:
            size_bytes = os.fstat(file.fileno()).st_size
            with zipfile.ZipFile(file) as archive:
                unpacked_bytes = sum(entry.file_size for entry in archive.infolist())
            if unpacked_bytes > MAX_UNPACKED * size_bytes + SPARE_BYTES:
                raise ValueError(f"it unpacks to {unpacked_bytes:,} bytes, and is a file of {size_bytes:,}")
    return np.load(path, allow_pickle=False)
