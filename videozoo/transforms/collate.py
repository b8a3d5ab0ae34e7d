"""Puts the samples of a pipeline together to a batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from videozoo.errors import DataError

__all__ = ["collate"]

Stack = Callable[[Sequence[Any]], Any]


def collate(samples: Sequence[Mapping[str, Any]], *, stack: Stack = np.stack) -> dict[str, Any]:
    """Makes one batch: arrays and numbers are stacked, everything else is listed.

    Args:
        stack: makes one array of arrays of the same shape; `transforms.tensors.collate` makes tensors.

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
                "the pipeline must give all samples of a batch the same one"
            )
        batch[key] = stack(values)
    return batch


def _is_array(value: Any) -> bool:
    """Whether it is an array, or a tensor of the torch form of a pipeline, which this room does not import."""
    return isinstance(value, np.ndarray) or type(value).__module__ == "torch"
