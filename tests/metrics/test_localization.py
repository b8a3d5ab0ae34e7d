"""Temporal metrics on cases that can be worked out by hand; the official numbers are in tests/parity."""

import numpy as np
import pytest

from videozoo.contracts.video import Span
from videozoo.errors import DataError
from videozoo.metrics.detection import THUMOS_TIOUS, DetectionMap, SpottingMap
from videozoo.metrics.proposals import ProposalRecall, average_recall


def batch(**spans):
    return {"id": list(spans), "spans": list(spans.values())}


TRUTH = {"a": [Span(0, 10, "run"), Span(20, 30, "jump")], "b": [Span(5, 15, "run")]}


def test_the_truth_itself_is_perfect():
    for metric in (DetectionMap(["run", "jump"]), SpottingMap(["run", "jump"])):
        metric.update(list(TRUTH.values()), batch(**TRUTH))
        assert set(metric.compute().values()) == {1.0}


def test_recall_grows_with_the_allowance():
    recall = ProposalRecall(max_proposals=2)
    recall.update(list(TRUTH.values()), batch(**TRUTH))
    # of 100 points: nothing below 38, one proposal of the first video below 75, then all three
    area = (37 / 3 + 26 - 0.5) * 0.02 / 2
    assert recall.compute() == pytest.approx({"auc": 100 * area, "ar1": 100 / 3})


def test_a_segment_is_found_once():
    metric = DetectionMap(["run"], tious=(0.5,))
    metric.update([[Span(0, 10, "run", 0.9), Span(0, 10, "run", 0.8)]], batch(a=[Span(0, 10, "run")]))
    assert metric.compute()["map"] == 1.0  # the second is wrong, but behind
    twice = DetectionMap(["run"], tious=(0.5,))
    spans = [Span(0, 10, "run"), Span(50, 60, "run")]
    twice.update([[Span(0, 10, "run", 0.9), Span(0, 10, "run", 0.8), Span(50, 60, "run", 0.7)]], batch(a=spans))
    assert twice.compute()["map"] == pytest.approx((1 + 2 / 3) / 2)


def test_overlap_decides_by_threshold():
    metric = DetectionMap(["run"], tious=THUMOS_TIOUS)
    metric.update([[Span(0, 5.5, "run")]], batch(a=[Span(0, 10, "run")]))
    scores = metric.compute()
    assert [scores[f"map@{t:.2f}"] for t in THUMOS_TIOUS] == [1, 1, 1, 0, 0]


def test_spotting_takes_the_nearest_in_time():
    metric = SpottingMap(["goal"], tolerances_s=(1.0, 3.0))
    metric.update([[Span(11, 13, "goal", 0.9)]], batch(a=[Span(9, 11, "goal"), Span(99, 101, "goal")]))
    assert metric.compute() == {"map": 0.25, "map@1s": 0.0, "map@3s": 0.5}


def test_merging_equals_one_pass():
    found = {"a": [Span(0, 9, "run", 0.5), Span(21, 33, "jump", 0.4)], "b": [Span(1, 15, "run", 0.9)]}
    for make in (lambda: DetectionMap(["run", "jump"]), lambda: ProposalRecall(max_proposals=2)):
        whole, left, right = make(), make(), make()
        whole.update([found["a"], found["b"]], batch(**TRUTH))
        left.update([found["b"]], batch(b=TRUTH["b"]))
        right.update([found["a"]], batch(a=TRUTH["a"]))
        left.merge(right)
        assert left.compute() == whole.compute()


def test_a_video_without_proposals_finds_nothing():
    truth = {"a": np.array([[0.0, 10.0]]), "b": np.array([[0.0, 10.0]])}
    curve = average_recall(truth, {"a": np.array([[0.0, 10.0, 0.9]])})
    assert curve.average[-1] == 0.5


def test_errors():
    metric = DetectionMap(["run"])
    with pytest.raises(DataError, match="a: the annotated class 'swim' is unknown; add it to the class names"):
        metric.update([[]], batch(a=[Span(0, 1, "swim")]))
    metric.update([[]], batch(a=[Span(0, 1, "run")]))
    with pytest.raises(DataError, match="a: was scored twice"):
        metric.update([[]], batch(a=[Span(0, 1, "run")]))
    with pytest.raises(DataError, match="proposals: there are none for the 1 video with annotated segments"):
        average_recall({"a": np.array([[0.0, 1.0]])}, {})
    empty = DetectionMap(["run"])
    empty.update([[]], batch(a=[]))
    with pytest.raises(DataError, match="detection: no annotated segment in 1 video;"):
        empty.compute()


def many(num_videos=30, *, seed=0):
    """Predictions and truths of videos, distinct scores."""
    rng = np.random.default_rng(seed)
    truth, found = {}, {}
    for i in range(num_videos):
        spans = [Span(10.0 * k, 10.0 * k + 6, str(rng.choice(["run", "jump"]))) for k in range(3)]
        near = [Span(max(s.start_s + rng.normal(0, 1.5), 0), s.end_s + 3, s.label, rng.random()) for s in spans * 2]
        truth[f"v{i:02d}"], found[f"v{i:02d}"] = spans, sorted(near, key=lambda s: -s.score)
    return truth, found


@pytest.mark.parametrize("make", [lambda: DetectionMap(["run", "jump"]), ProposalRecall, lambda: SpottingMap(["run"])])
def test_shuffled_videos_change_nothing_and_every_score_has_an_interval(make):
    truth, found = many()
    if "jump" not in getattr(make(), "class_names", ["jump"]):
        truth = {video: [Span(s.start_s, s.end_s, "run") for s in spans] for video, spans in truth.items()}
    metric, shuffled = make(), make()
    order = np.random.default_rng(1).permutation(list(truth)).tolist()
    metric.update([found[v] for v in truth], batch(**truth))
    shuffled.update([found[v] for v in order], batch(**{v: truth[v] for v in order}))
    scores = metric.compute()
    assert scores == shuffled.compute()
    assert metric.intervals() == shuffled.intervals()
    intervals = {i.score: i for i in metric.intervals()}
    assert set(intervals) == set(scores)
    assert all(intervals[name].low <= score <= intervals[name].high for name, score in scores.items())


def test_equal_scores_are_taken_in_listed_order():
    right, wrong = Span(0, 10, "run", 0.5), Span(50, 60, "run", 0.5)
    for found, expected in (([right, wrong], 1.0), ([wrong, right], 0.5)):
        metric = DetectionMap(["run"], tious=(0.5,))
        metric.update([found], batch(a=[Span(0, 10, "run")]))
        assert metric.compute()["map"] == expected
        assert [n.text.split(":")[0] for n in metric.tie_notes()] == ["map", "map@0.50"]
        assert "between 0.5 and 1," in metric.tie_notes()[0].text
    found = {"a": np.array([[50.0, 60.0, 0.5], [0.0, 10.0, 0.5]])}
    assert average_recall({"a": np.array([[0.0, 10.0]])}, found, max_proposals=1).average[-1] == 0.0


def test_perfect_detection_keeps_a_width():
    metric = DetectionMap(["run", "jump"])
    metric.update(list(TRUTH.values()), batch(**TRUTH))
    assert all(i.low < 0.9 and i.high == 1.0 for i in metric.intervals())
