"""Segments of many videos as flat arrays, and which of them lie in the same video: what temporal metrics share."""

from __future__ import annotations

import numpy as np

__all__ = ["group_pairs", "pair_iou"]


def pair_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of row i of a `[n 2]` with row i of b `[n 2]`; 0 where both are points."""
    shared = np.maximum(np.minimum(a[:, 1], b[:, 1]) - np.maximum(a[:, 0], b[:, 0]), 0.0)
    union = (a[:, 1] - a[:, 0]) + (b[:, 1] - b[:, 0]) - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def group_pairs(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices (i, j) of all pairs with `a[i] == b[j]`, by i; a and b hold group numbers and b is sorted."""
    first, last = np.searchsorted(b, a, "left"), np.searchsorted(b, a, "right")
    counts = last - first
    i = np.repeat(np.arange(len(a)), counts)
    offset = np.arange(len(i)) - np.repeat(counts.cumsum() - counts, counts)
    return i, first[i] + offset
