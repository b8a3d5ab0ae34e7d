import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from videozoo.contracts.features import Features
from videozoo.data.charades_sta import charades_sta
from videozoo.data.registry import datasets
from videozoo.data.tacos import tacos
from videozoo.data.tall_tacos import tall_tacos
from videozoo.errors import DataError
from videozoo.io.features import write_features
from videozoo.transforms.moments import MomentsInput

ANNOTATIONS = Path(__file__).resolve().parents[3] / "shared" / "data" / "annotations"


@pytest.fixture
def store(tmp_path):
    folder = tmp_path / "features"
    for name in ("AO8RW", "Y6R7T", "s30-d52"):
        write_features(folder, name, Features(np.ones((8, 2), np.float32), 1.0, 0.5, 8.0))
    return folder


def written(tmp_path, text, name="list.txt"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


LINES = "AO8RW 0.0 6.9##a person is putting a book on a shelf.\nY6R7T 2.8 30.0##person start playing.\n"


def test_charades_sta(tmp_path, store):
    found = charades_sta(written(tmp_path, LINES), features=store)
    first, second = found
    assert (first.id, first.video, first.moments) == ("AO8RW#1", "AO8RW", ((0.0, 6.9),))
    assert second.sentence == "person start playing." and second.segments[0].end_s == 30.0
    assert second.features().duration_s == 8.0
    assert found.class_names == ("a", "book", "is", "on", "person", "playing", "putting", "shelf", "start")
    assert found.feature_recipe is None and found.extractor is None and not found.notes
    assert charades_sta(written(tmp_path, LINES), features=store, class_names=["x"]).class_names == ("x",)


@pytest.mark.parametrize(
    "line, message",
    [
        ("AO8RW 0.0##a person", r"list\.txt:1: is 'AO8RW 0\.0##a person'; needs `video start end##sentence`"),
        ("AO8RW 0.0 6.9 a person", r"list\.txt:1: is 'AO8RW 0\.0 6\.9 a person'; needs `video"),
        ("AO8RW 0.0 6.9", r"list\.txt:1: has no ## before its sentence"),
        ("AO8RW 9.0 6.9##a person", "holds no usable sentence; 1 sentence whose moment ends before"),
        ("AO8RW 0.0 6.9##...", "holds no usable sentence; 1 sentence without words"),
        ("nobody 0.0 6.9##a person", "has no features of the 1 video in"),
        ("", "holds no usable sentence"),
    ],
)
def test_bad_lines(tmp_path, store, line, message):
    with pytest.raises(DataError, match=message):
        charades_sta(written(tmp_path, line), features=store)


def test_what_is_left_out_is_said(tmp_path, store):
    text = LINES + "AO8RW 9.0 1.0##backwards\nAO8RW 1 2##!!\nlost 1 2##no features\n"
    found = charades_sta(written(tmp_path, text), features=store)
    assert len(found) == 3
    assert found.notes[0].startswith("1 sentence without words, left out: ")
    assert found.notes[1].endswith("list.txt:3")
    assert found.notes[2] == "1 of 3 videos without features, with 1 of 3 sentences: lost"
    with pytest.raises(DataError, match="no features of video 'lost'"):
        found[2].features()
    skipped = charades_sta(written(tmp_path, text), features=store, missing="skip")
    assert len(skipped) == 2
    assert skipped.notes[2] == "1 of 3 videos without features, with 1 of 3 sentences, left out: lost"


def test_tacos_counts_frames_and_its_videos_may_end_in_avi(tmp_path, store):
    entry = {"timestamps": [[147, 294]], "sentences": ["She took out kiwi"], "fps": 29.4, "num_frames": 2940}
    path = written(tmp_path, json.dumps({"s30-d52.avi": entry}), "test.json")
    (record,) = tacos(path, features=store)
    assert record.moments[0] == pytest.approx((5.0, 10.0)) and record.duration_s == pytest.approx(100.0)
    assert record.video == "s30-d52.avi" and len(record.features()) == 8
    for bad in ({"s30-d52.avi": {**entry, "sentences": []}}, {"s30-d52.avi": {"fps": 2}}):
        with pytest.raises(
            DataError,
            match=r"test\.json: s30-d52\.avi: .*; needs as many timestamps",
        ):
            tacos(written(tmp_path, json.dumps(bad), "test.json"), features=store)
    with pytest.raises(DataError, match=r"test\.json:1: is not JSON"):
        tacos(written(tmp_path, "{", "test.json"), features=store)


@pytest.mark.filterwarnings("ignore")
def test_the_real_files(tmp_path):
    if not ANNOTATIONS.is_dir():
        pytest.skip(f"the annotation files are not at {ANNOTATIONS}")
    write_features(tmp_path, "AO8RW", Features(np.ones((8, 2), np.float32)))
    write_features(tmp_path, "s34-d28", Features(np.ones((8, 2), np.float32)))
    charades = charades_sta(ANNOTATIONS / "charades_sta_train.txt", features=tmp_path)
    assert len(charades) == 12404 and charades.notes[0].startswith("4 sentences whose moment ends before")
    assert len(tacos(ANNOTATIONS / "tacos_val.json", features=tmp_path)) == 4436


@pytest.fixture
def original(tmp_path):
    """TALL's layout: every file holds its first frame; s1 is the beginning of another movie's name."""
    folder = tmp_path / "windows"
    folder.mkdir()
    for movie in ("s1.avi", "s1.avi_b"):
        for first in (1, 65, 129, 193):
            np.save(folder / f"{movie}_{first}_{first + 64}.npy", np.full(2, first, np.float32))
    rows = [np.ones(3, np.float32), np.zeros(3, np.float32)]
    sentences = [(b"s1.avi_70_130", rows), (b"lost.avi_1_9", rows)]
    (tmp_path / "s.pkl").write_bytes(pickle.dumps(sentences, protocol=2))
    return folder, tmp_path / "s.pkl"


def test_the_original_layout(original):
    windows, sentences = original
    found = tall_tacos(windows, sentences=sentences, fps=10.0)
    assert [record.id for record in found] == ["s1.avi_70_130#0", "s1.avi_70_130#1"]
    assert found.notes == ("1 movie without windows, left out: lost.avi",)
    spec = MomentsInput(feature_dim=2, context_s=6.4)
    sample = spec.eval_pipeline()(found[0])
    assert sample["moment"].tolist() == [7.0, 13.0]
    assert sample["candidates"].times_s.tolist() == [[0.1, 6.5], [6.5, 12.9], [12.9, 19.3], [19.3, 25.7]]
    assert sample["candidates"].features[:, ::2].tolist() == [[1, 1, 65], [1, 65, 129], [65, 129, 193], [129, 193, 193]]
    drawn = spec.train_pipeline()(found[0], np.random.default_rng(0))
    assert drawn["window"].tolist() == [6.5, 12.9] and drawn["windows"].tolist() == [1, 1, 65, 65, 129, 129]


def test_bad_original_layouts(original, tmp_path):
    windows, sentences = original
    with pytest.raises(DataError, match=r"holds no <movie>_<first frame>_<last frame>\.npy"):
        tall_tacos(tmp_path, sentences=sentences)
    sentences.write_bytes(pickle.dumps([(b"lost.avi_1_9", [np.ones(3)])]))
    with pytest.raises(DataError, match="none of its 1 movies has windows in"):
        tall_tacos(windows, sentences=sentences)


def test_registered():
    assert {"charades_sta", "tacos", "tall_tacos"} <= set(datasets.names())
