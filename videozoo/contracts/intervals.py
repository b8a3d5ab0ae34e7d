"""Overlap of intervals of time, as arrays."""

from __future__ import annotations

import numpy as np

__all__ = ["interval_iou", "interval_overlap"]


def interval_overlap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Returns the length that intervals `[... 2]` share; the leading axes broadcast."""
    shared: np.ndarray = np.minimum(a[..., 1], b[..., 1]) - np.maximum(a[..., 0], b[..., 0])
    overlap: np.ndarray = np.maximum(shared, 0.0)
    return overlap


def interval_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Returns the intersection over union of intervals `[... 2]`, 0 where both are points.

    The leading axes broadcast: `a` with `b` row by row, or `a[:, None]` with `b` for all pairs `[n m]`.
    """
    shared = interval_overlap(a, b)
    union = (a[..., 1] - a[..., 0]) + (b[..., 1] - b[..., 0]) - shared
    iou: np.ndarray = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return iou
