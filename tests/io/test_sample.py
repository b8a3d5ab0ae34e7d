"""The published samplers' own figures are compared in tests/parity (kept/paddlevideo2_sampling)."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from videozoo.errors import DataError
from videozoo.io.sample import segments, spaced, windows

LENGTHS = (1, 2, 3, 7, 8, 9, 30, 63, 64, 65, 300)


def test_segments_take_the_middle_of_each_part():
    np.testing.assert_array_equal(segments(16, 8)[0], [1, 3, 5, 7, 9, 11, 13, 15])
    np.testing.assert_array_equal(segments(10, 3)[0], [1, 5, 8])


def test_short_videos_are_spread_evenly():
    np.testing.assert_array_equal(segments(3, 8)[0], [0, 0, 0, 1, 1, 2, 2, 2])
    np.testing.assert_array_equal(windows(3, 8, stride=4)[0], [0, 0, 0, 1, 1, 2, 2, 2])


@pytest.mark.parametrize(
    ("short", "expected"),
    [
        ("spread", [0, 0, 1, 1, 2, 2]),
        ("wrap", [0, 2, 1, 0, 2, 1]),
        ("hold", [0, 2, 2, 2, 2, 2]),
        ("first", [0] * 6),
    ],
)
def test_every_treatment_of_short_videos(short, expected):
    np.testing.assert_array_equal(windows(3, 6, stride=2, short=short)[0], expected)


@pytest.mark.parametrize("num_frames", LENGTHS)
def test_indices_are_always_inside_and_of_the_asked_shape(num_frames):
    choices = itertools.product(("even", "floor"), ("spread", "wrap", "hold", "first"), (None, 0), (1, 5))
    for split, short, seed, segment_frames in choices:
        rng = None if seed is None else np.random.default_rng(seed)
        found = segments(num_frames, 4, segment_frames=segment_frames, num_clips=2, split=split, short=short, rng=rng)
        assert found.shape == (2, 4 * segment_frames) and found.dtype == np.int64
        assert found.min() >= 0 and found.max() < num_frames, (split, short, seed, segment_frames)
    places = itertools.product(("ends", "centers", "starts"), ("stride", "ends"), ("spread", "wrap"), (None, 0))
    for place, spacing, short, seed in places:
        rng = None if seed is None else np.random.default_rng(seed)
        found = windows(num_frames, 8, stride=8, num_clips=3, place=place, spacing=spacing, short=short, rng=rng)
        assert found.shape == (3, 8)
        assert found.min() >= 0 and found.max() < num_frames, (place, spacing, short, seed)


def test_random_segments_stay_in_their_part_and_reach_all_of_it():
    rng = np.random.default_rng(0)
    drawn = np.concatenate([segments(20, 4, rng=rng) for _ in range(300)])
    np.testing.assert_array_equal(drawn.min(0), [0, 5, 10, 15])
    np.testing.assert_array_equal(drawn.max(0), [4, 9, 14, 19])


def test_snippets_are_consecutive_and_centred():
    np.testing.assert_array_equal(segments(20, 2, segment_frames=4)[0], [4, 5, 6, 7, 14, 15, 16, 17])
    drawn = segments(20, 2, segment_frames=4, rng=np.random.default_rng(1))[0].reshape(2, 4)
    assert (np.diff(drawn, axis=1) == 1).all()


def test_clips_share_each_segment_out():
    np.testing.assert_array_equal(segments(40, 4, num_clips=2), [[2, 12, 22, 32], [7, 17, 27, 37]])


def test_random_windows_reach_the_first_and_the_last_start():
    rng = np.random.default_rng(0)
    starts = {int(windows(20, 4, stride=4, rng=rng)[0, 0]) for _ in range(200)}
    assert starts == {0, 1, 2, 3, 4}


def test_window_places():
    assert windows(100, 4, stride=5, num_clips=3)[:, 0].tolist() == [0, 40, 80]
    assert windows(100, 4, stride=5, num_clips=3, place="centers")[:, 0].tolist() == [13, 40, 67]
    assert windows(100, 4, stride=5, num_clips=4, place="starts")[:, 0].tolist() == [0, 20, 40, 60]
    assert windows(100, 4, stride=5)[0].tolist() == [40, 45, 50, 55]


def test_spacing_to_the_ends_includes_the_last_frame_of_the_window():
    assert windows(64, 8, stride=8, spacing="ends")[0, [0, -1]].tolist() == [0, 63]


def test_spaced_stays_on_the_last_frame():
    assert spaced(0, 59, 4, num_frames=30)[0].tolist() == [0, 19, 29, 29]


def test_the_same_generator_state_gives_the_same_clip():
    one, two = (windows(300, 8, stride=4, rng=np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(one, two)


def test_empty_videos_are_refused():
    with pytest.raises(DataError, match="num_frames is 0; must be at least 1"):
        segments(0, 8)
    with pytest.raises(DataError, match="stride is 0"):
        windows(10, 8, stride=0)
