import numpy as np
import pytest
from numpy.testing import assert_allclose

from videozoo.decoding.proposals import (
    action_target,
    boundary_targets,
    is_boundary,
    map_segments,
    overlap_target,
    pair_boundaries,
    proposal_features,
    soft_nms,
)


def test_a_segment_on_the_grid_has_overlap_one_in_its_cell():
    target = overlap_target(np.array([[0.2, 0.5]]), num_snippets=10, max_duration=6)
    assert target.shape == (6, 10)
    assert np.unravel_index(target.argmax(), target.shape) == (2, 2)
    assert target.max() == pytest.approx(1.0)
    assert_allclose(map_segments(10, 6)[2, 2], [0.2, 0.5])


def test_targets_without_segments_are_zero():
    nothing = np.zeros((0, 2))
    assert not overlap_target(nothing, num_snippets=8, max_duration=8).any()
    assert not np.any(boundary_targets(nothing, num_snippets=8))
    assert not action_target(nothing, num_snippets=8).any()


def test_boundary_windows():
    start, end = boundary_targets(np.array([[0.25, 0.75]]), num_snippets=4, width=0.25)
    assert_allclose(start, [0.5, 0.5, 0, 0])
    assert_allclose(end, [0, 0, 0.5, 0.5])
    assert_allclose(action_target(np.array([[0.25, 0.75]]), num_snippets=4), [0, 1, 1, 0])


def test_peaks_and_high_values_are_boundaries():
    assert is_boundary(np.array([0.1, 0.05, 0.2, 0.1, 0.9, 0.6])).tolist() == [True, False, True, False, True, True]


def test_pairs_end_behind_their_start():
    found = pair_boundaries(np.array([0.9, 0.1, 0.8, 0.1]), np.array([0.1, 0.7, 0.1, 0.6]))
    assert_allclose(found.segments, [[0, 0.5], [0.5, 1], [0, 1]])
    assert_allclose(found.scores, [0.63, 0.48, 0.54])
    assert len(pair_boundaries(np.array([0.9, 0.1]), np.array([0.1, 0.9]), max_duration=1)) == 0
    assert_allclose(found.best(1).segments, [[0, 0.5]])


def test_features_of_a_constant_action_are_constant_inside():
    features = proposal_features(np.full(40, 0.5), np.array([[0.4, 0.6]]))
    assert features.shape == (1, 32)
    assert_allclose(features, 0.5)


def naive_soft_nms(segments, scores, alpha, low, high):
    rows, kept = [[*s, p] for s, p in zip(segments, scores, strict=True)], []
    while rows:
        best = rows.pop(max(range(len(rows)), key=lambda i: rows[i][2]))
        kept.append(best)
        for row in rows:
            shared = max(0.0, min(row[1], best[1]) - max(row[0], best[0]))
            iou = shared / (row[1] - row[0] + best[1] - best[0] - shared)
            if iou > low + (high - low) * (best[1] - best[0]):
                row[2] *= np.exp(-(iou**2) / alpha)
    return np.array(kept)


def test_soft_nms_equals_the_loop():
    rng = np.random.default_rng(0)
    segments, scores = np.sort(rng.random((40, 2)), 1), rng.random(40)
    picks, decayed = soft_nms(segments, scores, alpha=0.4, low=0.3, high=0.6)
    want = naive_soft_nms(segments, scores, 0.4, 0.3, 0.6)
    assert_allclose(np.column_stack([segments[picks], decayed]), want)
    assert (decayed != scores[picks]).any()


def test_soft_nms_of_few():
    assert [len(part) for part in soft_nms(np.zeros((0, 2)), np.zeros(0))] == [0, 0]
    two = np.array([[0.0, 0.5], [0.5, 1.0]])
    assert len(soft_nms(two, np.array([0.9, 0.8]))[0]) == 2
    assert len(soft_nms(two, np.array([0.9, 0.8]), drop_last=True)[0]) == 1
    assert len(soft_nms(two[:1], np.array([0.9]), drop_last=True)[0]) == 1
