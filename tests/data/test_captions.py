"""ActivityNet Captions and MSR-VTT, as data sets of described stretches."""

import json
from pathlib import Path

import numpy as np
import pytest

from videozoo.data.activitynet_captions import activitynet_captions
from videozoo.data.msrvtt import msrvtt
from videozoo.errors import DataError

REAL = Path(__file__).resolve().parents[3] / "shared/data/annotations/anet_captions_val_1.json"

ANET = {
    "v_one": {
        "duration": 10.0,
        "timestamps": [[0, 4.0], [3.5, 12.0]],
        "sentences": ["A man runs.", " He doesn't stop."],
    },
    "v_two": {"duration": 5.0, "timestamps": [[1, 2]], "sentences": ["A dog runs."]},
}
MSRVTT = {
    "videos": [
        {"video_id": "video0", "split": "train", "start time": 3.0, "end time": 9.0},
        {"video_id": "video1", "split": "test"},
    ],
    "sentences": [
        {"video_id": "video0", "caption": "a man sings", "sen_id": 0},
        {"video_id": "video1", "caption": "a dog", "sen_id": 1},
        {"video_id": "video0", "caption": "someone sings a song", "sen_id": 2},
    ],
}


@pytest.fixture
def features(tmp_path):
    folder = tmp_path / "features"
    folder.mkdir()
    for name in ("one", "v_two", "video0", "video1"):
        np.save(folder / f"{name}.npy", np.ones((4, 3), np.float32))
    return folder


def written(tmp_path, content):
    path = tmp_path / "captions.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def changed(**of_one):
    return {**ANET, "v_one": {**ANET["v_one"], **of_one}}


def test_one_sample_a_segment(tmp_path, features):
    data = activitynet_captions(written(tmp_path, ANET), features=features)
    assert [record.id for record in data] == ["v_one#1", "v_one#2", "v_two#1"]
    first, second, _ = data
    assert data.class_names == ("<s>", "<e>", "<unk>", "a", "runs", "does", "dog", "he", "man", "n't", "stop")
    assert [data.class_names[i] for i in second.words[0]] == ["he", "does", "n't", "stop"]
    assert (first.start_s, first.end_s, first.duration_s) == (0.0, 4.0, 10.0)
    assert second.end_s == 10.0 and second.segments[0].label == "He doesn't stop."
    assert first.features().values.shape == (4, 3)  # the file is called `one`
    assert data.feature_recipe is None and data.extractor is None
    assert [note.split(":")[0] for note in data.notes] == [
        "1 segment ending after the video's end, cut",
        "2 of 4 videos with features are not in it",
    ]


def test_rare_and_unknown_words_are_counted(tmp_path, features):
    path = written(tmp_path, ANET)
    train = activitynet_captions(path, features=features, min_count=2)
    assert train.class_names == ("<s>", "<e>", "<unk>", "a", "runs")
    assert train[0].words == ((3, 2, 4),)
    val = activitynet_captions(path, features=features, class_names=train.class_names)
    assert val.class_names == train.class_names
    note = next(note for note in val.notes if "vocabulary" in note)
    assert note.startswith("6 of 10 words are not in the vocabulary of 5 and become <unk>: 6 different ones, such as ")


@pytest.mark.parametrize(
    ("content", "note"),
    [
        (changed(sentences=["A man runs.", " ... "]), "1 place with a sentence without words, left out: v_one#2"),
        (changed(timestamps=[[0, 4], [10, 12]]), "1 segment beginning after the video's end, left out: v_one#2"),
        (changed(timestamps=[[0, 4], [5, 5]]), "1 segment with an end that is not after its start, left out: v_one#2"),
        ({**ANET, "v_three": ANET["v_two"]}, "1 of 3 videos without features, with 1 of 4 samples: v_three"),
    ],
)
def test_what_cannot_be_used_is_counted_and_named(tmp_path, features, content, note):
    data = activitynet_captions(written(tmp_path, content), features=features)
    assert note in data.notes


def test_a_video_without_features_is_named_when_it_is_read(tmp_path, features):
    data = activitynet_captions(written(tmp_path, {**ANET, "v_three": ANET["v_two"]}), features=features)
    with pytest.raises(DataError, match=r"no features of video 'v_three'.*\(data\.train\.missing=skip\)"):
        data[3].features()
    skipped = activitynet_captions(tmp_path / "captions.json", features=features, missing="skip")
    assert [len(data), len(skipped)] == [4, 3]
    assert "1 of 3 videos without features, with 1 of 4 samples, left out: v_three" in skipped.notes


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ([1], r"input should be a valid dictionary, got \[1\]; needs {video: {duration, timestamps, sentences}}"),
        (
            changed(duration=None),
            "v_one: duration: input should be a valid number, got None; needs",
        ),
        (changed(timestamps=[[0, 1]]), "v_one: 1 timestamps for 2 sentences; give one for each"),
        (changed(timestamps=[[0], [1]]), "v_one: timestamps: 0: 1: field required; needs"),
        ({"v_two": {**ANET["v_two"], "sentences": ["?"]}}, "holds no usable sentence; 1 place with"),
        ({"v_x": ANET["v_two"]}, "has no features of the 1 video in"),
    ],
)
def test_a_file_that_cannot_be_used(tmp_path, features, content, message):
    with pytest.raises(DataError, match=message):
        activitynet_captions(written(tmp_path, content), features=features)


def test_a_vocabulary_without_marks(tmp_path, features):
    with pytest.raises(DataError, match="the vocabulary begins with a, b; it needs <s>, <e>, <unk> first"):
        activitynet_captions(written(tmp_path, ANET), features=features, class_names=["a", "b"])


def test_msrvtt_has_all_sentences_of_a_video_in_one_sample(tmp_path, features):
    path = written(tmp_path, MSRVTT)
    both = msrvtt(path, features=features)
    assert [record.id for record in both] == ["video0#1", "video1#1"]
    (only,) = msrvtt(path, features=features, split="train")
    assert only.captions == ("a man sings", "someone sings a song") and len(only.words) == 2
    assert only.start_s is None and only.segments == ()


@pytest.mark.parametrize(
    ("content", "split", "message"),
    [
        (MSRVTT, "val", "has no split 'val'; it has test, train"),
        ({"videos": []}, None, "sentences: field required; needs videos and sentences"),
        (
            {**MSRVTT, "videos": MSRVTT["videos"][:1]},
            None,
            "a sentence is about 'video1', which is not among its videos",
        ),
    ],
)
def test_msrvtt_that_cannot_be_used(tmp_path, features, content, split, message):
    with pytest.raises(DataError, match=message):
        msrvtt(written(tmp_path, content), features=features, split=split)


@pytest.mark.skipif(not REAL.is_file(), reason="the real annotations are not beside the project")
def test_the_real_file(tmp_path):
    folder = tmp_path / "features"
    folder.mkdir()
    np.save(folder / "v_uqiMw7tQ1Cc.npy", np.ones((4, 3), np.float32))
    data = activitynet_captions(REAL, features=folder, min_count=3)
    assert len(data) > 17_000 and len(data.class_names) > 3_000
    assert data[0].captions == ("A weight lifting tutorial is given.",)
