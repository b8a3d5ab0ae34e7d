"""The order of scores: one rule for every ranking in the package."""

from __future__ import annotations

import numpy as np

__all__ = ["best_first"]


def best_first(scores: np.ndarray) -> np.ndarray:
    """Returns the indices that sort `scores` along its last axis, highest first; equal scores keep their listed order.

    The rule does not depend on the processor, unlike numpy's default sort, which many official scripts use.
    """
    return np.argsort(-np.asarray(scores), axis=-1, kind="stable")
