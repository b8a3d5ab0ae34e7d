import dataclasses
import json
from typing import ClassVar

import numpy as np
import pytest

from videozoo.contracts.answer import Answer, Caption, Labels, Segments
from videozoo.contracts.video import Span, VideoInfo
from videozoo.errors import DataError
from videozoo.predict.prediction import Prediction, Window

INFO = VideoInfo("a.mp4", 4.5, 25.0, 112, 64, 48, 0, "h264", "yuv420p", 0.0, 1000)


def labels(*scores):
    return Labels(np.array(scores, np.float32), ("a", "b", "c"))


def test_to_dict_is_json_with_the_best_first():
    prediction = Prediction("x", labels(0.2, 0.7, 0.1), INFO, (Window(0.0, 2.0, labels(1.0, 0.0, 0.0)),))
    found = json.loads(json.dumps(prediction.to_dict(top=2)))
    assert found["labels"] == [{"name": "b", "score": 0.7}, {"name": "a", "score": 0.2}]
    assert found["windows"][0] == {
        "start_s": 0.0,
        "end_s": 2.0,
        "labels": [{"name": "a", "score": 1.0}, {"name": "b", "score": 0.0}],
    }
    assert found["info"]["fps"] == 25.0
    assert len(prediction.to_dict()["labels"]) == 3


def test_the_timeline_gives_each_moment_to_the_nearest_window():
    windows = [Window(s, e, labels(1, 0, 0)) for s, e in ((0.0, 2.0), (1.0, 3.0), (2.0, 4.0), (2.5, 4.5))]
    timeline = Prediction("x", labels(1, 0, 0), INFO, tuple(windows)).timeline
    assert [(w.start_s, w.end_s) for w in timeline] == [(0, 1.5), (1.5, 2.5), (2.5, 3.25), (3.25, 4.5)]


def test_the_timeline_keeps_gaps_between_windows():
    windows = (Window(0.0, 1.0, labels(1, 0, 0)), Window(3.0, 4.0, labels(0, 1, 0)))
    timeline = Prediction("x", labels(1, 0, 0), INFO, windows).timeline
    assert [(w.start_s, w.end_s) for w in timeline] == [(0, 1), (3, 4)]


def test_without_windows_the_one_answer_stands_for_all_of_it():
    (only,) = Prediction("x", labels(0, 1, 0), INFO).timeline
    assert (only.start_s, only.end_s, only.labels.best) == (0.0, 4.5, "b")


def test_a_window_has_a_length():
    with pytest.raises(DataError, match=r"window: needs 0 <= start_s < end_s, got .*start_s=2"):
        Window(2.0, 2.0, labels(1, 0, 0))


@dataclasses.dataclass(frozen=True)
class Haiku(Answer):
    text: str

    kind: ClassVar[str] = "haiku"

    def to_dict(self, *, top=None):
        return {"haiku": self.text}


def test_a_new_kind_of_answer_brings_its_own_behavior():
    prediction = Prediction("x", Haiku("a ring grows"), INFO, (Window(0.0, 2.0, Haiku("a ring")),))
    assert prediction.to_dict()["haiku"] == "a ring grows"
    assert prediction.to_dict()["windows"][0]["haiku"] == "a ring"
    assert prediction.spans() == () and prediction.keep() == prediction  # nothing to rank
    with pytest.raises(DataError, match=r"prediction: holds haiku, not labels; read its `answer`"):
        _ = prediction.labels
    with pytest.raises(TypeError, match="abstract"):
        Answer()


def spans(*rows):
    return Segments(tuple(Span(*row) for row in rows))


FOUND = spans((1.0, 3.0, "runs", 0.9), (2.0, 4.0, "jumps", 0.5), (1.5, 2.0, "runs", 0.2))


def times_of(windows):
    return [(w.start_s, w.end_s, [(s.label, s.score) for s in w.answer.spans]) for w in windows]


def test_segments_say_what_happens_when():
    prediction = Prediction("x", FOUND, INFO)
    assert prediction.is_timed
    assert [(s.start_s, s.label) for s in prediction.spans()] == [(1.0, "runs"), (1.5, "runs"), (2.0, "jumps")]
    assert [s.score for s in prediction.spans(min_score=0.5)] == [0.9, 0.5]
    assert [s.score for s in prediction.keep(top=1).spans()] == [0.9]
    assert [s.score for s in prediction.keep(min_score=0.3).spans()] == [0.9, 0.5]
    assert FOUND.ranked() == [("runs", 0.9), ("jumps", 0.5)]
    assert FOUND.ranked(top=1) == [("runs", 0.9)]
    assert json.loads(json.dumps(prediction.to_dict(top=1)))["segments"][1] == {
        "start_s": 2.0,
        "end_s": 4.0,
        "label": "jumps",
        "score": 0.5,
    }


def test_the_timeline_of_segments_has_all_that_hold_at_a_moment():
    assert times_of(Prediction("x", FOUND, INFO).timeline) == [
        (1.0, 1.5, [("runs", 0.9)]),
        (1.5, 2.0, [("runs", 0.9), ("runs", 0.2)]),
        (2.0, 3.0, [("runs", 0.9), ("jumps", 0.5)]),
        (3.0, 4.0, [("jumps", 0.5)]),
    ]
    gap = Prediction("x", spans((0.0, 1.0, "a", 0.9), (2.0, 3.0, "b", 0.5)), INFO)
    assert [(w.start_s, w.end_s) for w in gap.timeline] == [(0, 1), (2, 3)]


def test_nothing_found_is_an_answer():
    nothing = Prediction("x", Segments(()), INFO)
    assert nothing.is_timed
    assert nothing.spans() == nothing.timeline == ()
    assert nothing.to_dict()["segments"] == []


def test_windows_with_the_same_best_label_are_one_span():
    rows = ((1, 0, 0), (0.6, 0.4, 0), (0, 1, 0), (0.8, 0.2, 0))
    windows = tuple(Window(float(i), i + 1.0, labels(*row)) for i, row in enumerate(rows))
    prediction = Prediction("x", labels(1, 0, 0), INFO, windows)
    found = [(s.start_s, s.end_s, s.label, round(s.score, 3)) for s in prediction.spans()]
    assert found == [(0, 2, "a", 0.8), (2, 3, "b", 1.0), (3, 4, "a", 0.8)]
    assert [s.label for s in prediction.spans(min_score=0.9)] == ["b"]


def test_labels_of_a_whole_video_say_no_times():
    prediction = Prediction("x", labels(0.2, 0.7, 0.1), INFO)
    assert not prediction.is_timed
    assert [(s.start_s, s.end_s, s.label) for s in prediction.spans(top=2)] == [(0, 4.5, "b"), (0, 4.5, "a")]


def test_windows_over_the_spans_of_another_run_stay_as_they_are():
    found = (Span(1.0, 4.0, "far", 0.4), Span(2.0, 3.0, "near", 0.8))
    answers = (labels(1, 0, 0), labels(0, 1, 0))
    windows = tuple(Window(s.start_s, s.end_s, answer, s) for s, answer in zip(found, answers, strict=True))
    prediction = Prediction("x", labels(1, 0, 0), INFO, windows, over_spans=True)
    assert [(s.start_s, s.end_s, s.label) for s in prediction.spans()] == [(1, 4, "a"), (2, 3, "b")]
    assert [(w.start_s, w.end_s, w.labels.best) for w in prediction.timeline] == [(1, 2, "a"), (2, 3, "b"), (3, 4, "a")]
    assert prediction.to_dict()["windows"][0]["found"] == {"label": "far", "score": 0.4}
    none = Prediction("x", labels(1, 0, 0), INFO, (), over_spans=True)
    assert none.is_timed
    assert none.spans() == none.timeline == ()


def test_a_sentence_holds_for_its_whole_stretch():
    prediction = Prediction("x", Caption("a ring grows", 0.7), INFO)
    assert prediction.spans() == (Span(0.0, 4.5, "a ring grows", 0.7),)
    assert prediction.to_dict()["caption"] == {"text": "a ring grows", "score": 0.7}
    assert prediction.answer.ranked() == [("a ring grows", 0.7)]
    assert len(prediction.timeline) == 1


def test_what_overlaps_a_better_one_may_be_left_out():
    rows = ((1.0, 3.0, "runs", 0.9), (1.0, 3.0, "jumps", 0.8), (2.0, 4.0, "runs", 0.7), (3.5, 4.5, "falls", 0.2))
    prediction = Prediction("x", spans(*rows), INFO)
    kept = prediction.keep(max_overlap=0.5).answer.spans
    assert [(s.label, s.score) for s in kept] == [("runs", 0.9), ("runs", 0.7), ("falls", 0.2)]
    assert [s.score for s in prediction.keep(max_overlap=0.1).answer.spans] == [0.9, 0.2]
    assert [s.score for s in prediction.keep(max_overlap=0.5, min_score=None).answer.spans] == [0.9, 0.7]
    assert prediction.keep() == prediction
    assert Prediction("x", Segments(()), INFO).keep(min_score=None).answer.spans == ()


def test_answers_about_a_stretch_are_told_in_the_time_of_the_video():
    found = Segments((Span(1.0, 2.0, "a", 0.5),), (Span(0.5, 2.0),)).shifted(10.0)
    assert found == Segments((Span(11.0, 12.0, "a", 0.5),), (Span(10.5, 12.0),))
    caption = Caption("a ring", words=("a", "ring"), attention=np.eye(2), times_s=(0.25, 0.75)).shifted(2.0)
    assert caption.times_s == (2.25, 2.75)
    assert labels(1, 0, 0).shifted(2.0).best == "a"


def test_what_two_windows_found_counts_in_the_nearer_one():
    first, second = Span(0.5, 1.0, "a", 0.9), Span(2.0, 2.8, "b", 0.8)
    windows = (Window(0.0, 3.0, Segments((first, second))), Window(1.0, 4.0, Segments((second,))))
    assert Prediction("x", labels(1, 0, 0), INFO, windows).spans() == (first, second)
