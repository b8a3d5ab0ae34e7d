"""Labels of samples as targets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from videozoo.errors import DataError

__all__ = ["multi_hot"]


def multi_hot(labels: Sequence[int], num_classes: int, *, where: str) -> np.ndarray:
    """Returns float32 `[num_classes]`, 1 at the labels.

    Raises:
        DataError: a label is out of range.
    """
    wrong = [label for label in labels if not 0 <= label < num_classes]
    if wrong:
        raise DataError(f"{where}: label {wrong[0]} is outside 0..{num_classes - 1}; correct the list or num_classes")
    target = np.zeros(num_classes, np.float32)
    target[list(labels)] = 1.0
    return target
