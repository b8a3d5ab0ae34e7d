"""Combines the samples of a pipeline into a batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from videozoo.errors import DataError

__all__ = ["collate"]

Stack = Callable[[Sequence[Any]], Any]


def collate(samples: Sequence[Mapping[str, Any]], *, stack: Stack = np.stack) -> dict[str, Any]:
    """Makes one batch: arrays and numbers are stacked, all other values become lists.

    Args:
        stack: combines arrays of the same shape into one; `transforms.tensors.collate` makes tensors.

    Raises:
        DataError: arrays of one key have different shapes.
    """
    batch: dict[str, Any] = {}
    for key, first in samples[0].items():
        values = [sample[key] for sample in samples]
        if not (isinstance(first, np.generic | bool | int | float) or _is_array(first)):
            batch[key] = values
            continue
        shapes = {tuple(np.shape(value)) for value in values}
        if len(shapes) > 1:
            names = ", ".join(str(sample.get("id")) for sample in samples)
            raise DataError(
                f"batch of {names}: '{key}' has the shapes {sorted(shapes)}; "
                "the pipeline must give all samples of a batch the same shape"
            )
        batch[key] = stack(values)
    return batch


def _is_array(value: Any) -> bool:
    """Returns whether the value is an array or a tensor; this package does not import torch."""
    return isinstance(value, np.ndarray) or type(value).__module__ == "torch"
