"""Pairs of segments in the same video, for temporal metrics on flat arrays."""

from __future__ import annotations

import numpy as np

__all__ = ["group_pairs"]


def group_pairs(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the indices (i, j) of all pairs with `a[i] == b[j]`, by i; a and b hold group numbers and b is sorted."""
    first, last = np.searchsorted(b, a, "left"), np.searchsorted(b, a, "right")
    counts = last - first
    i = np.repeat(np.arange(len(a)), counts)
    offset = np.arange(len(i)) - np.repeat(counts.cumsum() - counts, counts)
    return i, first[i] + offset
