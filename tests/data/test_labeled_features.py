"""Anyone's features with labels: folders, lists, packed files, modalities."""

from pathlib import Path

import numpy as np
import pytest

from videozoo.config.recipe import load_recipe
from videozoo.contracts.features import Features
from videozoo.data.labeled_features import features
from videozoo.errors import ConfigError, DataError
from videozoo.io.feature_sources import FeatureSources, SourceMark
from videozoo.io.features import FeatureWriter

CLASSES = ("run", "walk")


def table(seed: int, *, rows: int = 4, width: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, width)).astype(np.float32)


def save(path: Path, rows: np.ndarray) -> None:
    """Writes the rows of one video in the format of the suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, rows)
    elif path.suffix == ".npz":
        np.savez(path, feature=rows)
    elif path.suffix == ".csv":
        np.savetxt(path, rows, delimiter=",")
    elif path.suffix == ".parquet":
        pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        pq.write_table(pa.table({f"f{i}": column for i, column in enumerate(rows.T)}), path)
    else:
        h5py = pytest.importorskip("h5py")
        with h5py.File(path, "w") as file:
            file["x"] = rows


def folder(root: Path, *, suffix: str = ".npy", per_class: int = 3) -> Path:
    for label, name in enumerate(CLASSES):
        for i in range(per_class):
            save(root / name / f"{i}{suffix}", table(10 * label + i, rows=2 + i))
    return root


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".csv", ".parquet", ".h5", ".hdf5"])
def test_a_folder_for_each_class(tmp_path, suffix):
    found = features(folder(tmp_path / "f", suffix=suffix))
    assert (found.class_names, len(found), found.class_counts()) == (CLASSES, 6, [3, 3])
    (record,) = (record for record in found if record.id == "walk/2")
    id_, (rows,), labels = record.read()
    assert (id_, labels) == ("walk/2", (1,))
    np.testing.assert_allclose(rows, table(12, rows=4), rtol=1e-5)


@pytest.mark.parametrize("name", ["all.parquet", "all.h5", "all.npz"])
def test_many_videos_in_a_file(tmp_path, name):
    with FeatureWriter(tmp_path / name) as writer:
        for seed in range(4):
            writer.write(f"{CLASSES[seed % 2]}/{seed}", Features(table(seed)))
    found = features(tmp_path / name)
    assert {record.id: record.labels for record in found} == {
        "run/0": (0,), "run/2": (0,), "walk/1": (1,), "walk/3": (1,)
    }  # fmt: skip
    data = load_recipe(tmp_path / name).data
    assert data["train"] == {"name": "features", "path": str(tmp_path / name), "subset": "train"}


def test_a_list_names_features_or_their_videos(tmp_path):
    folder(tmp_path / "f")
    (tmp_path / "list.txt").write_text("# path label\nrun/0.npy walk\n'walk/1' run\nwalk/2.avi,walk\n1\trun\n")
    found = features(tmp_path / "list.txt", features=tmp_path / "f", missing="skip")
    assert [(record.key, record.labels) for record in found] == [("run/0", (1,)), ("walk/1", (0,)), ("walk/2", (1,))]
    assert found.notes[0].startswith("left out 1 of 4 entries without their features")
    with pytest.raises(DataError, match=r"list\.txt:5: no features of '1' .*1 of 4 entries lack their features"):
        features(tmp_path / "list.txt", features=tmp_path / "f")
    with pytest.raises(DataError, match=r"f/a\.txt: the list is empty; a line is 'path label'"):
        (tmp_path / "f" / "a.txt").write_text("\n")
        features(tmp_path / "f" / "a.txt")


def test_several_labels(tmp_path):
    folder(tmp_path)
    (tmp_path / "list.txt").write_text("run/0.npy 0 2\nrun/1.npy\nwalk/0 1\n")
    found = features(tmp_path / "list.txt", multi_label=True, num_classes=4)
    assert found.multi_label and found.class_names == ("0", "1", "2", "3")
    assert [record.read().labels for record in found] == [(0, 2), (), (1,)]
    with pytest.raises(DataError, match=r"list\.txt:1: 'run/0\.npy' has 2 labels \(0 2\); a line is 'path label', and"):
        features(tmp_path / "list.txt")


@pytest.mark.parametrize("suffix", [".npz", ".h5"])
def test_modalities_in_a_file(tmp_path, suffix):
    rgb, sound = table(1, rows=6), table(2, rows=3, width=2)
    for name in ("run/a", "walk/b"):
        path = tmp_path / f"{name}{suffix}"
        path.parent.mkdir()
        if suffix == ".npz":
            np.savez(path, rgb=rgb, sound=sound)
        else:
            h5py = pytest.importorskip("h5py")
            with h5py.File(path, "w") as file:
                file["rgb"], file["sound"] = rgb, sound
    found = features(tmp_path, modalities=("rgb", "sound"))
    assert found.modalities == ("rgb", "sound")
    parts = found[0].read().arrays
    np.testing.assert_array_equal(parts[0], rgb)
    np.testing.assert_array_equal(parts[1], sound[[0, 0, 1, 1, 2, 2]])  # the nearest rows in time
    with pytest.raises(DataError, match=rf"a{suffix}: has no array 'rbg', only rgb, sound; correct modalities"):
        features(tmp_path, modalities=("rbg", "sound"))[0].read()


def test_modalities_in_two_folders(tmp_path):
    folder(tmp_path / "rgb")
    for label, name in enumerate(CLASSES):
        for i in range(3 - label):
            save(tmp_path / "flow" / name / f"{i}.csv", table(i, rows=5, width=7))
    both = (str(tmp_path / "rgb"), str(tmp_path / "flow"))
    with pytest.raises(DataError, match=r"rgb: walk/2 lack features in another modality; extract them, or set missing"):
        features(tmp_path / "rgb", features=both)
    found = features(tmp_path / "rgb", features=both, missing="skip")
    assert [part.shape for part in found[1].read().arrays] == [(3, 3), (3, 7)]
    assert len(found) == 5 and found.feature_recipe is None


def test_a_vector_is_one_row(tmp_path):
    for name in CLASSES:
        save(tmp_path / name / "a.npy", np.arange(5, dtype=np.float16))
    np.testing.assert_array_equal(features(tmp_path)[0].read().arrays[0], [[0, 1, 2, 3, 4]])


def test_halves(tmp_path):
    folder(tmp_path / "f", per_class=5)
    train, val = (features(tmp_path / "f", subset=subset) for subset in ("train", "val"))
    assert (len(train), len(val)) == (8, 2)
    assert {record.id for record in train}.isdisjoint(record.id for record in val)
    for half in ("train", "validation"):
        folder(tmp_path / "split" / half)
    assert [len(features(tmp_path / "split", subset=subset)) for subset in ("train", "val")] == [6, 6]
    assert features(tmp_path / "split", subset="val").class_names == CLASSES
    with pytest.raises(DataError, match=r"split: holds train/ and validation/, not classes; set subset=train or val"):
        features(tmp_path / "split")
    save(tmp_path / "split" / "validation" / "jump" / "a.npy", table(0))
    with pytest.raises(DataError, match=r"a\.npy: folder 'jump' is not a class, .*split has 2 class folders; accepted"):
        features(tmp_path / "split", subset="val")


def test_classes_of_the_extracted_videos(tmp_path):
    """`videozoo extract CLIPS` names features by file; sources.jsonl tells the folder of each video."""
    for label, name in enumerate(CLASSES):
        video = tmp_path / "clips" / name / "deep" / f"{label}.mp4"
        video.parent.mkdir(parents=True)
        video.write_bytes(b"a video")
        save(tmp_path / "f" / f"{label}.npy", table(label))
    sources = FeatureSources(tmp_path / "f")
    for label, name in enumerate(CLASSES):
        sources.add(str(label), SourceMark.of(tmp_path / "clips" / name / "deep" / f"{label}.mp4"))
    found = features(tmp_path / "f")
    assert found.class_names == CLASSES
    assert [(record.id, record.labels) for record in found] == [("0", (0,)), ("1", (1,))]


def test_features_in_no_folder(tmp_path):
    save(tmp_path / "f" / "a.npy", table(0))
    save(tmp_path / "f" / "run" / "b.npy", table(0))
    with pytest.raises(
        DataError, match=r"f: the features a are in no folder of a class; it should look like f/<class>"
    ):
        features(tmp_path / "f")


def test_train_finds_the_recipe_of_a_folder(tmp_path):
    """Features, or clips, or lists in the folder."""
    root = folder(tmp_path / "f")
    recipe = load_recipe(root)
    assert (recipe.name_of("input"), recipe.data["val"]["subset"]) == ("features", "val")
    for name in ("train", "val"):
        (root / f"{name}.txt").write_text("run/0.npy 0\n")
        expected = {split: {"name": "features", "path": f"{root}/{split}.txt"} for split in ("train", "val")}
    assert load_recipe(root).data == expected
    (root / "val.txt").rename(root / "test.txt")
    with pytest.raises(
        ConfigError, match=r"f: holds the lists test\.txt, train\.txt, not train\.txt and val\.txt; use"
    ):
        load_recipe(root)
    (root / "run" / "clip.mp4").touch()
    assert load_recipe(root).name_of("input") == "clip"
