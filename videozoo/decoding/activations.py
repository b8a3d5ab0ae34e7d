"""Activations in numpy, on the last axis, stable for large scores."""

from __future__ import annotations

import numpy as np

__all__ = ["log_softmax", "sigmoid", "softmax"]


def softmax(scores: np.ndarray) -> np.ndarray:
    """Returns the soft-max over the last axis, float32."""
    exponents = np.exp(scores - scores.max(axis=-1, keepdims=True))
    probs: np.ndarray = exponents / exponents.sum(axis=-1, keepdims=True)
    return probs.astype(np.float32)


def log_softmax(scores: np.ndarray) -> np.ndarray:
    """Returns the logarithm of the soft-max over the last axis, float32; -inf stays -inf."""
    shifted = scores - scores.max(axis=-1, keepdims=True)
    logs: np.ndarray = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return logs.astype(np.float32)


def sigmoid(scores: np.ndarray) -> np.ndarray:
    """Returns the logistic function of each score, float32."""
    exponents = np.exp(-np.abs(scores))
    probs: np.ndarray = np.where(scores >= 0, 1, exponents) / (1 + exponents)
    return probs.astype(np.float32)
