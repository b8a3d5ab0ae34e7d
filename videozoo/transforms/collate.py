"""Samples of a pipeline put together to a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import default_collate

from videozoo.errors import DataError

__all__ = ["collate"]


def collate(samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One batch of samples: tensors, arrays and numbers stacked, everything else in lists.

    Raises:
        DataError: tensors of one key have different shapes.
    """
    batch: dict[str, Any] = {}
    for key in samples[0]:
        values = [sample[key] for sample in samples]
        if isinstance(values[0], np.ndarray | np.generic | bool | int | float):
            values = [torch.as_tensor(value) for value in values]
        if isinstance(values[0], Tensor):
            shapes = {tuple(value.shape) for value in values}
            if len(shapes) > 1:
                names = ", ".join(str(sample.get("id")) for sample in samples)
                raise DataError(
                    f"batch of {names}: '{key}' has the shapes {sorted(shapes)}; "
                    "the pipeline must give all samples of a batch the same one"
                )
            batch[key] = default_collate(values)  # straight into shared memory when in a worker
        else:
            batch[key] = values
    return batch
