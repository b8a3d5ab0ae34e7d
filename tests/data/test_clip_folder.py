"""A folder a class: what is found, how it is split, and what is refused."""

import logging

import pytest

from videozoo.config.check import build
from videozoo.contracts.record import ClipRecord
from videozoo.data.clip_folder import clip_folder, split_folder
from videozoo.data.dataset import ClipDataset
from videozoo.data.registry import datasets
from videozoo.errors import ConfigError, DataError


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def found(dataset):
    return [(record.id, record.labels, record.num_frames) for record in dataset]


def test_classes_are_the_sorted_sub_folders(tmp_path):
    touch(tmp_path, "run/b.mp4", "run/deep/a.MKV", "jump/a.avi")
    dataset = clip_folder(tmp_path)
    assert dataset.class_names == ("jump", "run")
    assert found(dataset) == [
        ("jump/a.avi", (0,), None),
        ("run/b.mp4", (1,), None),
        ("run/deep/a.MKV", (1,), None),
    ]
    assert dataset[0].path == tmp_path / "jump/a.avi"
    assert len(dataset) == 3
    assert dataset.class_counts() == [1, 2]
    assert dataset.notes == ()


def test_folders_of_frames_are_samples(tmp_path):
    touch(tmp_path, "run/clip1/img_00001.jpg", "run/clip1/img_00002.jpg", "run/clip1/.done.json", "run/a.mp4")
    dataset = clip_folder(tmp_path, fps=12.5)
    assert found(dataset) == [("run/a.mp4", (0,), None), ("run/clip1", (0,), 2)]
    assert [record.extra for record in dataset] == [{}, {"fps": 12.5}]


def test_other_files_are_counted_and_named_and_hidden_ones_skipped(tmp_path, caplog):
    touch(tmp_path, "run/a.mp4", "run/notes.txt", "readme.md", ".hidden/a.mp4", "run/._a.mp4", "run/poster.jpg")
    with caplog.at_level(logging.WARNING):
        dataset = clip_folder(tmp_path)
    assert [record.id for record in dataset] == ["run/a.mp4"]
    note = "left out 3 files, neither video nor frame: readme.md, run/notes.txt, run/poster.jpg"
    assert dataset.notes == (note,)
    assert note in caplog.text


def test_links_in_a_circle_end(tmp_path):
    touch(tmp_path, "run/a.mp4")
    (tmp_path / "run/again").symlink_to(tmp_path / "run", target_is_directory=True)
    assert [record.id for record in clip_folder(tmp_path)] == ["run/a.mp4"]


def test_classes_without_samples_are_noted(tmp_path):
    touch(tmp_path, "run/a.mp4")
    (tmp_path / "jump").mkdir()
    assert clip_folder(tmp_path).notes == ("1 of 2 classes without samples: jump",)


def test_given_class_names_decide(tmp_path):
    touch(tmp_path, "run/a.mp4")
    dataset = clip_folder(tmp_path, class_names=["walk", "run", "jump"])
    assert found(dataset) == [("run/a.mp4", (1,), None)]
    (tmp_path / "names.txt").write_text("run\nwalk\n")
    assert clip_folder(tmp_path, class_names=tmp_path / "names.txt").class_names == ("run", "walk")


def test_an_unknown_class_folder_is_refused(tmp_path):
    touch(tmp_path, "runing/a.mp4")
    with pytest.raises(
        DataError,
        match=r"runing: class folder 'runing' is not a class, the recipe or the training data names 2 classes; "
        r"did you mean 'running'\?",
    ):
        clip_folder(tmp_path, class_names=("jump", "running"))


def test_train_and_val_folders_are_used(tmp_path):
    touch(tmp_path, "train/run/a.mp4", "train/jump/b.mp4", "valid/run/c.mp4")
    train, val = split_folder(tmp_path)
    assert found(train) == [("jump/b.mp4", (0,), None), ("run/a.mp4", (1,), None)]
    assert found(val) == [("run/c.mp4", (1,), None)]
    assert val.class_names == ("jump", "run")
    assert clip_folder(tmp_path, subset="val").class_names == (
        "jump",
        "run",
    )  # val alone means the same classes
    with pytest.raises(DataError, match=r"holds train/ and valid/, not class folders; set subset=train or val"):
        clip_folder(tmp_path)


def test_a_class_of_val_that_train_lacks_is_refused(tmp_path):
    touch(tmp_path, "train/run/a.mp4", "val/walk/c.mp4")
    with pytest.raises(DataError, match=r"class folder 'walk' is not a class, .*train has 1 class folder;"):
        clip_folder(tmp_path, subset="val")


def test_half_of_a_split_is_refused(tmp_path):
    touch(tmp_path, "train/run/a.mp4")
    with pytest.raises(DataError, match=r"holds only train/; add the other half, or give .*train as the path"):
        clip_folder(tmp_path)


def test_the_split_is_stratified_disjoint_complete_and_stable(tmp_path):
    touch(tmp_path, *(f"run/{i}.mp4" for i in range(10)), *(f"jump/{i}.mp4" for i in range(5)), "rare/0.mp4")
    train, val = split_folder(tmp_path)
    assert train.class_counts() == [4, 1, 8]  # jump, rare, run
    assert val.class_counts() == [1, 0, 2]
    ids = [record.id for record in (*train, *val)]
    assert sorted(ids) == sorted(record.id for record in clip_folder(tmp_path))
    assert [r.id for r in split_folder(tmp_path)[1]] == [r.id for r in val]
    assert [r.id for r in val] != [r.id for r in clip_folder(tmp_path)][:3]  # by hash, not the first ones
    assert split_folder(tmp_path, val_share=0.5)[1].class_counts() == [2, 0, 5]


def test_too_few_videos_to_split(tmp_path):
    touch(tmp_path, "run/a.mp4", "jump/a.mp4")
    with pytest.raises(DataError, match="no class has two videos"):
        clip_folder(tmp_path, subset="val")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], r"holds no videos in class folders, but nothing; it should look like .*/<class>/clip.mp4"),
        (["a.mp4", "b.mp4"], r"holds no videos in class folders, but 0 folders and 2 files"),
        (["run/notes.txt"], r"holds no videos in class folders, but 1 folder and 1 file;"),
    ],
)
def test_folders_without_videos(tmp_path, names, message):
    touch(tmp_path, *names)
    with pytest.raises(DataError, match=message):
        clip_folder(tmp_path)


def test_no_such_folder(tmp_path):
    with pytest.raises(DataError, match=r"nowhere: this folder does not exist; give a folder with one sub-folder"):
        clip_folder(tmp_path / "nowhere")


def test_val_share_out_of_range(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "a.mp4").touch()
    with pytest.raises(ConfigError, match=r"val_share should be between 0 and 1; got 1.5"):
        clip_folder(tmp_path, val_share=1.5)


def test_it_is_built_from_a_recipe(tmp_path):
    touch(tmp_path, "run/a.mp4", "run/b.mp4")
    args = {"path": str(tmp_path), "subset": "val"}
    dataset = build(datasets.get("clip_folder"), args, where="data.val", class_names=("jump", "run"))
    assert dataset.class_counts() == [0, 1]
    assert {"clip_folder", "clip_list", "kinetics_csv", "ucf101"} <= set(datasets.names())


@pytest.mark.parametrize(
    ("records", "names", "message"),
    [
        ([], ("a",), "data set: holds no samples"),
        ([("x", ()), ("x", ())], ("a",), "id 'x' appears more than once"),
        ([("x", (0,))], ("a", "a"), "class name 'a' appears more than once"),
        ([("x", (2,))], ("a", "b"), r"label 2 of 'x' is outside 0..1; there are 2 class names"),
        (
            [("x", (0, 1))],
            ("a", "b"),
            "'x' has 2 labels; single-label data has one each, or set multi_label=true",
        ),
    ],
)
def test_a_data_set_checks_itself(tmp_path, records, names, message):
    with pytest.raises(DataError, match=message):
        ClipDataset(names, [ClipRecord(name, tmp_path, labels) for name, labels in records])


def test_data_sets_side_by_side_are_noted(tmp_path):
    """A and B count as classes; their sub-folders may be the classes that were meant."""
    for place in ("A/run", "A/walk", "B/run", "B/walk"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "x.mp4").touch()
    (note,) = clip_folder(tmp_path).notes
    assert note.startswith("the folders A, B count as classes, and each has the sub-folders run, walk; if these are")
    (tmp_path / "B" / "jump").mkdir()
    (tmp_path / "B" / "jump" / "x.mp4").touch()
    assert clip_folder(tmp_path).notes == ()
