from __future__ import annotations

import pytest

from videozoo.errors import ConfigError
from videozoo.stream.events import Hysteresis, Tracker


def events(scores, **when):
    """The (label, start_s, end_s, best) of the events in scores of one label, an answer a second."""
    tracker, ended = Tracker(Hysteresis(**when)), []
    for second, score in enumerate(scores):
        ended += tracker.add({"a": score}, second, second + 1)[1]
    return [(event.start_s, event.end_s, event.best) for event in ended + tracker.finish()]


def test_an_event_begins_at_on_and_ends_below_off():
    assert events([0.5, 0.6, 0.9, 0.4, 0.39, 0.5, 0.1]) == [(1, 4, 0.9)]
    assert events([0.59] * 5) == []


def test_the_end_of_the_stream_ends_events():
    assert events([0.1, 0.7, 0.7]) == [(1, 3, 0.7)]


def test_short_gaps_belong_to_the_event():
    scores = [0.7, 0.1, 0.7, 0.1, 0.1, 0.7]
    assert events(scores) == [(0, 1, 0.7), (2, 3, 0.7), (5, 6, 0.7)]
    assert events(scores, hold_s=2.0) == [(0, 3, 0.7), (5, 6, 0.7)]
    assert events(scores, hold_s=2.5) == [(0, 6, 0.7)]


def test_labels_have_events_of_their_own():
    tracker = Tracker(Hysteresis())
    begun, _ = tracker.add({"a": 0.8, "b": 0.7, "c": 0.2}, 0, 1)
    assert [event.label for event in begun] == ["a", "b"]
    begun, ended = tracker.add({"b": 0.5, "c": 0.9}, 1, 2)  # a is not listed any more
    assert [event.label for event in begun] == ["c"]
    assert [event.span() for event in ended] == [ended[0].span()]
    assert (ended[0].label, ended[0].start_s, ended[0].end_s) == ("a", 0, 1)
    assert set(tracker.active) == {"b", "c"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"on": 0.3, "off": 0.5}, r"--on, --off: got 0.3 and 0.5; needs 0 <= off <= on <= 1"),
        ({"on": 1.5}, r"--on, --off: got 1.5 and 0.4"),
        ({"off": float("nan")}, r"--on, --off: got 0.6 and nan"),
        ({"hold_s": -1.0}, r"--hold-s: got -1; needs seconds, 0 or more"),
    ],
)
def test_values_that_do_not_fit(values, message):
    with pytest.raises(ConfigError, match=message):
        Hysteresis(**values)
