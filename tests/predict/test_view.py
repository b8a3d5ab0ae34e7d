import dataclasses
import json
from typing import ClassVar

import numpy as np

from videozoo.contracts.answer import Answer, BoxMark, Caption, Labels, Segments
from videozoo.contracts.video import Span, VideoInfo
from videozoo.predict.answers import Answers
from videozoo.predict.prediction import Prediction, Window
from videozoo.predict.view import to_view

INFO = VideoInfo("a.mp4", 2.0, 4.0, 8, 64, 48, 0, "h264", "yuv420p", 0.0, 1000)


def labels(*scores):
    return Labels(np.array(scores, np.float32), ("a", "b", "c"))


def view(answer, *windows, top=2, **options):
    prediction = Prediction("x", answer, INFO, windows, **options)
    return json.loads(json.dumps(to_view(Answers("run", top=top), prediction)))


def test_labels_of_the_whole_video_are_one_stretch_without_spans():
    found = view(labels(0.2, 0.7, 0.1))
    best = [{"text": "b", "score": 0.7}, {"text": "a", "score": 0.2}]
    assert (found["kind"], found["is_timed"], found["whole"]) == ("labels", False, best)
    assert found["stretches"] == [{"start_s": 0.0, "end_s": 2.0, "ranked": best}]
    assert found["curves"] == found["spans"] == found["lanes"] == found["marks"] == []


def test_windows_are_stretches_and_joined_spans():
    found = view(labels(1, 0, 0), Window(0, 1, labels(0.9, 0.1, 0)), Window(1, 2, labels(0.2, 0.8, 0)), top=1)
    assert [(each["end_s"], each["ranked"][0]["text"]) for each in found["stretches"]] == [(1.0, "a"), (2.0, "b")]
    assert found["spans"] == [
        {"start_s": 0.0, "end_s": 1.0, "label": "a", "score": 0.9},
        {"start_s": 1.0, "end_s": 2.0, "label": "b", "score": 0.8},
    ]
    assert found["names"][:2] == ["a", "b"]
    assert found["curves"] == [{"name": "a", "values": [0.9, 0.2]}]  # also where it is not the best


def test_segments_keep_the_session_s_lowest_score():
    answer = Segments((Span(0, 1, "a", 0.9), Span(0.5, 2, "b", 0.2)))
    prediction = Prediction("x", answer, INFO)
    assert [each["label"] for each in to_view(Answers("run"), prediction)["spans"]] == ["a", "b"]
    assert [each["label"] for each in to_view(Answers("run", min_score=0.5), prediction)["spans"]] == ["a"]


def test_the_attention_of_a_sentence_is_a_lane_for_each_word():
    caption = Caption("a ring", 0.5, ("a", "ring"), np.array([[0.25, 0.75], [1.0, 0.0]]), (0.5, 1.5))
    found = view(caption)
    assert found["lanes"][1] == {"name": "ring", "times_s": [0.5, 1.5], "values": [1.0, 0.0]}
    assert [each["label"] for each in found["spans"]] == ["a ring"]
    moving = view(caption, Window(0, 2, caption))
    assert moving["lanes"] == []  # those of the windows differ
    assert moving["curves"] == []  # each sentence has its own times


@dataclasses.dataclass(frozen=True)
class Spot(Answer):
    """A box that appears at `since_s`."""

    since_s: float

    kind: ClassVar[str] = "spot"

    def to_dict(self, *, top=None):
        return {"spot": self.since_s}

    def marks_at(self, time_s):
        return (BoxMark(1, 2, 3, 4, "dot"),) if time_s >= self.since_s else ()


BOX = {"left_px": 1, "top_px": 2, "right_px": 3, "bottom_px": 4, "text": "dot", "color_key": ""}


def test_boxes_last_as_long_as_they_stay_the_same():
    assert view(Spot(1.0))["marks"] == [{"start_s": 1.0, "end_s": 2.0, "boxes": [BOX]}]


def test_boxes_of_windows_are_those_of_the_nearest():
    found = view(Spot(0.0), Window(0, 1, Spot(9.0)), Window(1, 2, Spot(1.5)))
    assert found["marks"] == [{"start_s": 1.5, "end_s": 2.0, "boxes": [BOX]}]
