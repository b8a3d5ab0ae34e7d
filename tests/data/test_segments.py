"""ActivityNet's and THUMOS14's annotations with stored features: what is read, and what is said of bad ones."""

import json
import logging
import pickle

import numpy as np
import pytest

from videozoo.contracts.features import Features
from videozoo.contracts.video import Span
from videozoo.data.activitynet import activitynet
from videozoo.data.segments import read_annotations
from videozoo.data.thumos14 import thumos14
from videozoo.errors import DataError
from videozoo.io.features import write_features
from videozoo.transforms.snippets import SnippetsInput


def official(**videos):
    """`{"database": ...}` of (subset, duration, [(start, end, label), ...])."""
    database = {}
    for id_, (subset, duration, segments) in videos.items():
        entry = {"subset": subset, "annotations": [{"segment": [a, b], "label": k} for a, b, k in segments]}
        database[id_] = entry if duration is None else {**entry, "duration": duration}
    return {"database": database}


@pytest.fixture
def write(tmp_path):
    def write(content, *ids, name="anno.json", **features):
        (tmp_path / name).write_text(json.dumps(content))
        for id_ in ids:
            write_features(tmp_path / "features", id_, Features(np.zeros((4, 2), np.float32), **features))
        return {"path": tmp_path / name, "features": tmp_path / "features"}

    return write


def test_official_form(write):
    content = official(a=("training", 10.0, [(1, 2.5, "run"), (4, 6, "jump")]), b=("validation", 5.0, [(0, 1, "dive")]))
    data = activitynet(**write(content, "a", "b"), subset="training")
    assert data.class_names == ("dive", "jump", "run")  # of all subsets
    (video,) = data
    assert (video.id, video.duration_s) == ("a", 10.0)
    assert video.segments == (Span(1, 2.5, "run"), Span(4, 6, "jump"))
    assert video.features().dim == 2
    assert data.notes == () and data.feature_recipe is None and data.extractor is None
    assert pickle.loads(pickle.dumps(data))[0].features().dim == 2  # loader workers get it so


def test_the_form_of_bmn_with_its_csv(write, tmp_path):
    annotation = {"segment": [1.0, 3.0], "label": "run"}
    numbers = {"duration_second": 8.0, "duration_frame": 200, "feature_frame": 192}
    content = {"v_a": {**numbers, "annotations": [annotation]}, "v_b": {**numbers, "annotations": []}}
    (tmp_path / "info.csv").write_text("video,numFrame,seconds,subset\nv_a,200,8.0,training\nv_b,200,8.0,testing\n")
    paths = write(content, "a")  # the features' files go without v_
    (video,) = activitynet(**paths, subset="training", video_info=tmp_path / "info.csv")
    assert video.covered_s == pytest.approx(8 * 192 / 200)
    assert video.features().dim == 2


def test_thumos14_says_no_durations_and_writes_times_as_text(write):
    content = official(video_validation_1=("train", None, [("1.5", "3.0", "Diving")]), x=("test", None, []))
    (video,) = thumos14(**write(content, "video_validation_1"), subset="train", stride_s=0.5)
    assert video.duration_s is None and video.segments == (Span(1.5, 3.0, "Diving"),)
    assert video.features().times_s().tolist() == [0.25, 0.75, 1.25, 1.75]


def test_bad_annotations_are_counted_and_named(write, tmp_path, caplog):
    content = official(
        late=("training", 10.0, [(8, 12, "run"), (-1, 2, "run")]),
        point=("training", 10.0, [(3, 3, "run"), (11, 12, "run"), (1, 2, "run")]),
        strange=("training", 10.0, [(1, 2, "rnu"), (3, 4, "run")]),
        silent=("training", 10.0, []),
        lost=("training", 10.0, [(1, 2, "run")]),
    )
    with caplog.at_level(logging.WARNING):
        data = activitynet(**write(content, "late", "point", "strange", "silent"), class_names=["run"])
    assert data.notes == (
        "2 segments reaching beyond the video, cut: late",
        "2 segments without length inside the video, left out: point",
        "1 segment of unknown classes ('rnu'), left out: strange",
        "1 of 5 videos without a segment: silent",
        "1 of 5 videos without features: lost",
    )
    assert [len(video.segments) for video in data] == [2, 1, 1, 0, 1]
    assert data[0].segments == (Span(8, 10, "run"), Span(0, 2, "run"))
    assert all(note in caplog.text for note in data.notes)
    with pytest.raises(DataError, match=r"features: no features of video 'lost'"):
        data[4].features()
    data = activitynet(tmp_path / "anno.json", features=tmp_path / "features", class_names=["run"], missing="skip")
    assert len(data) == 4 and data.notes[-1] == "1 of 5 videos without features, left out: lost"


@pytest.mark.parametrize(
    ("content", "args", "message"),
    [
        (
            official(a=("training", 5, [])),
            {"subset": "train"},
            r"no video is in subset train; it has 1 video in training",
        ),
        (
            official(b=("training", 5, [])),
            {},
            r"has no features of the 1 video .* it has features of a, the videos",
        ),
        (
            official(a=("training", 5, [(1, 2, "x")])),
            {"class_names": ["y"]},
            r"none of 1 segment can be used: 1 segment",
        ),
        (official(a=("training", -5, [])), {}, r"anno.json: a: its duration is -5; give seconds above 0"),
        (
            official(a=("training", 5, [(1, "x", "y")])),
            {},
            r"a: annotations: 0: segment: 1: .* got 'x'; needs .*'segment': ",
        ),
        (
            official(a=("training", 5, [(0, float("inf"), "y")])),
            {},
            r"a: annotations: 0: segment: 1: input should be a finite number, got inf; needs",
        ),
        ({"database": {}}, {}, r"names no videos"),
    ],
)
def test_what_cannot_be_used(write, content, args, message):
    with pytest.raises(DataError, match=message):
        activitynet(**write(content, "a"), **args)


def test_a_file_without_any_segment(write):
    paths = write(official(a=("training", 5, []), b=("training", 5, []), c=("validation", 5, [(1, 2, "x")])), "a", "b")
    match = r"anno\.json: has no segment in 2 videos of subset training \(a, b\); write them as 'annotations'"
    with pytest.raises(DataError, match=match):
        activitynet(**paths)
    assert activitynet(**paths, class_names=["x"]).notes == ("2 of 2 videos without a segment: a, b",)


def test_videos_without_a_duration_are_named(write):
    content = official(a=("training", None, [(1, 2, "x")]), b=("training", 9.0, [(1, 2, "x")]))
    paths = write(content, "a", "b")
    data = activitynet(**paths)
    assert data.notes == (
        "1 of 2 videos without a duration, which features without times need (write it into anno.json, or set "
        "stride_s): a",
    )
    assert activitynet(**paths, stride_s=0.5).notes == ()
    with pytest.raises(DataError, match=r"^a: the times of the feature rows are unknown; give the video's duration"):
        SnippetsInput(sampling="rescale", num_snippets=4, feature_dim=2).train_pipeline()(
            data[0], np.random.default_rng(0)
        )


def test_not_json(write, tmp_path):
    (tmp_path / "anno.json").write_text('{"a": ')
    with pytest.raises(DataError, match=r"anno.json:1: is not JSON"):
        read_annotations(tmp_path / "anno.json")
