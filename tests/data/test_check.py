"""What looks wrong in data that can be read, before anything is learned from it."""

import shutil
from pathlib import Path

import pytest

from videozoo.contracts.record import ClipRecord
from videozoo.data.activitynet import activitynet
from videozoo.data.check import folders_like_classes, notes_of, shared_samples
from videozoo.data.clip_folder import clip_folder
from videozoo.data.clip_list import clip_list
from videozoo.data.dataset import ClipDataset, assemble
from videozoo.errors import DataError
from videozoo.tasks.classify import Classify


def make(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode() * 5000)
    return root


CLIPS = tuple(f"{name}/{i}.mp4" for name in ("jump", "run") for i in range(3))


@pytest.mark.parametrize("form", ["same folder", "link", "copy", "list"])
def test_validation_samples_that_are_training_samples_too(tmp_path, caplog, form):
    train = clip_folder(make(tmp_path / "clips", *CLIPS))
    other = tmp_path / "other"
    if form == "link":
        other.symlink_to(tmp_path / "clips")
    elif form == "copy":
        shutil.copytree(tmp_path / "clips", other)
        (other / "jump" / "0.mp4").rename(other / "jump" / "renamed.mp4")
    if form == "list":
        lines = [f"{record.path} {record.labels[0]}\n" for record in train]
        (tmp_path / "val.txt").write_text("".join(lines))
        val = clip_list(tmp_path / "val.txt", class_names=train.class_names)
    else:
        val = clip_folder(other if other.exists() else tmp_path / "clips")
    assert len(shared_samples(train, val)) == 6
    assert notes_of(train, val)["val"][0].startswith("6 of 6 validation samples are also training samples: ")
    assert "6 of 6 validation samples are also training samples" in caplog.text


def test_one_shared_sample_is_named(tmp_path):
    make(tmp_path, *(f"train/{clip}" for clip in CLIPS), "val/jump/x.mp4", "val/run/y.mp4")
    shutil.copy(tmp_path / "train/run/1.mp4", tmp_path / "val/run/z.mp4")
    train, val = (clip_folder(tmp_path, subset=split) for split in ("train", "val"))
    assert notes_of(train, val) == {"val": ["1 of 3 validation samples are also training samples: run/z.mp4"]}


def test_splits_of_different_videos_share_nothing(tmp_path):
    train, val = (clip_folder(make(tmp_path / "clips", *CLIPS), subset=split) for split in ("train", "val"))
    assert notes_of(train, val) == {}
    # files of equal size, and two stretches of one video
    (tmp_path / "a.mp4").write_bytes(b"a" * 50_000)
    (tmp_path / "b.mp4").write_bytes(b"a" * 40_000 + b"b" * 10_000)
    first, second, third = (
        ClipRecord("1", tmp_path / "a.mp4", (0,), start_s=0, end_s=2),
        ClipRecord("2", tmp_path / "b.mp4", (0,), start_s=0, end_s=2),
        ClipRecord("3", tmp_path / "a.mp4", (0,), start_s=2, end_s=4),
    )
    assert shared_samples([first], [second, third]) == []


def test_feature_data_sets_share_videos_too(tmp_path):
    features, annotations = made_features(tmp_path, ["v1", "v2"])
    train = activitynet(annotations, features=features)
    assert shared_samples(train, activitynet(annotations, features=features)) == ["v1", "v2"]
    other, annotations = made_features(tmp_path / "other", ["v1", "v2"])
    assert shared_samples(train, activitynet(annotations, features=other)) == []


def made_features(root: Path, ids: list[str], **entry):
    import json

    import numpy as np

    (root / "features").mkdir(parents=True)
    for id_ in ids:
        np.save(root / "features" / f"{id_}.npy", np.zeros((4, 3), np.float32))
    told = {"duration": 8.0, "subset": "training", "annotations": [{"segment": [1, 2], "label": "jump"}], **entry}
    (root / "a.json").write_text(json.dumps({"database": dict.fromkeys(ids, told)}))
    return root / "features", root / "a.json"


# ---- classes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("clip", ["{}.mp4", "{}/img_00001.jpg"])
def test_a_folder_one_level_too_high(tmp_path, clip):
    names = [f"mine/{name}/{clip.format(i)}" for name in ("grows", "shrinks") for i in range(2)]
    data = clip_folder(make(tmp_path / "data", *names))
    note = r"the folders in .*mine look like classes \(grows, shrinks\); give .*mine as the path"
    with pytest.raises(DataError, match=rf"data: has one class \(mine\); a classifier needs two; {note}"):
        Classify.fill_in({}, data)
    assert Classify.fill_in({"multi_label": True}, data) == {"multi_label": True}


def test_one_class_of_a_list(tmp_path):
    make(tmp_path, "a.mp4", "b.mp4")
    (tmp_path / "list.txt").write_text("a.mp4 run\nb.mp4 run\n")
    data = clip_list(tmp_path / "list.txt")
    assert folders_like_classes(data) is None
    with pytest.raises(
        DataError, match=r"list\.txt: has one class \(run\); a classifier needs two; give data with two"
    ):
        Classify.fill_in({}, data)


def test_labels_that_run_from_1(tmp_path):
    records = [ClipRecord(str(i), tmp_path / str(i), (i,)) for i in (1, 2, 3)]
    assert assemble(records, "0123", source="x").notes == (
        "1 of 4 classes without samples: 0; the labels start at 1, but must start at 0",
    )
    assert assemble(records[:1], "abcd", source="x").notes == ("3 of 4 classes without samples: a, c, d",)


def test_one_clip_with_two_labels(tmp_path):
    make(tmp_path, "a.mp4", "b.mp4")
    (tmp_path / "list.txt").write_text("a.mp4 0\na.mp4 1\nb.mp4 1\nb.mp4 1\n")
    assert "1 sample listed with different labels: a.mp4" in clip_list(tmp_path / "list.txt").notes


def test_a_label_twice():
    record = ClipRecord("a", Path("a.mp4"), (1, 1))
    with pytest.raises(DataError, match=r"x: 'a' has a label twice \(1, 1\); name each class once"):
        ClipDataset(("u", "v"), [record], multi_label=True, source="x")
