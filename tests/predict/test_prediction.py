import dataclasses
import json

import numpy as np
import pytest

from videozoo.errors import DataError
from videozoo.predict.prediction import Prediction, Window, as_json, ranked
from videozoo.types import Labels, VideoInfo

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
class Caption:
    text: str


def test_a_new_kind_of_answer_says_how_it_is_shown():
    prediction = Prediction("x", Caption("a ring grows"), INFO)
    with pytest.raises(DataError, match=r"prediction: Caption cannot be written as JSON"):
        prediction.to_dict()
    with pytest.raises(DataError, match=r"prediction: Caption cannot be shown as names with scores"):
        ranked(prediction.answer)
    with pytest.raises(DataError, match=r"prediction: holds Caption, not labels; read its `answer`"):
        _ = prediction.labels
    as_json.register(Caption, lambda answer, *, top=None: {"caption": answer.text})
    assert prediction.to_dict()["caption"] == "a ring grows"
