"""Overlap of intervals against the definition, worked out with plain numbers."""

import itertools

import numpy as np
from numpy.testing import assert_allclose

from videozoo.contracts.intervals import interval_iou, interval_overlap
from videozoo.contracts.video import Span


def test_by_hand():
    a = np.array([[0.0, 2.0], [1.0, 1.0]])
    b = np.array([[1.0, 3.0], [4.0, 5.0], [1.0, 1.0]])
    assert_allclose(interval_iou(a[:, None], b), [[1 / 3, 0, 0], [0, 0, 0]])
    assert_allclose(interval_overlap(a[:, None], b), [[1, 0, 0], [0, 0, 0]])


def test_rows_one_interval_and_all_pairs_agree_with_spans():
    rng = np.random.default_rng(0)
    a, b = (np.sort(rng.random((12, 2)), axis=1) for _ in range(2))
    table = interval_iou(a[:, None], b)
    for i, j in itertools.product(range(12), repeat=2):
        assert_allclose(table[i, j], Span(*a[i]).iou(Span(*b[j])), atol=1e-12)
    assert_allclose(interval_iou(a, b), np.diagonal(table))
    assert_allclose(interval_iou(a, b[3]), table[:, 3])


def test_without_intervals():
    assert interval_iou(np.zeros((0, 1, 2)), np.zeros((3, 2))).shape == (0, 3)
