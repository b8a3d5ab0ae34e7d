import dataclasses
import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from videozoo.contracts.features import FeatureRecipe, Features
from videozoo.data.youtube8m import youtube8m
from videozoo.errors import DataError
from videozoo.io.features import (
    FeatureStore,
    FeatureWriter,
    dequantize,
    is_feature_file,
    quantize,
    read_features,
    sidecar_recipe,
    write_features,
)

RECIPE = FeatureRecipe("tsm", "ab" * 32, "features", 1.28, 0.32, {"name": "clip", "mean": (0.5, 0.5)}, 3)
SINGLE = [".npz", ".npy", ".csv"]
PACKED = ["features.parquet", "features.h5", "some.hdf5", "some.npz"]


def features(seed=0, *, rows=5, **changes):
    rng = np.random.default_rng(seed)
    made = {
        "values": rng.normal(size=(rows, 3)).astype(np.float32),
        "stride_s": 0.32,
        "offset_s": 0.64,
        "duration_s": 2.5,
        "scores": rng.random((rows, 2)).astype(np.float32),
        "class_names": ("up", "down"),
        "audio": rng.normal(size=(rows, 4)).astype(np.float32),
        "recipe": RECIPE,
    }
    return Features(**{**made, **changes})


def assert_same(found, expected, *, whole=True):
    np.testing.assert_allclose(found.values, expected.values, rtol=1e-6)
    assert found.values.dtype == np.float32
    assert (found.stride_s, found.offset_s, found.duration_s) == (0.32, 0.64, 2.5)
    assert found.recipe == RECIPE
    if whole:
        np.testing.assert_array_equal(found.scores, expected.scores)
        np.testing.assert_array_equal(found.audio, expected.audio)
        assert found.class_names == ("up", "down")


# ---- the values ----


def test_rows_have_times():
    np.testing.assert_allclose(features().times_s(), [0.64, 0.96, 1.28, 1.6, 1.92])
    foreign = Features(np.zeros((4, 2), np.float32), duration_s=8.0)
    np.testing.assert_allclose(foreign.times_s(), [1, 3, 5, 7])
    np.testing.assert_allclose(dataclasses.replace(foreign, duration_s=None).times_s(4.0), [0.5, 1.5, 2.5, 3.5])
    with pytest.raises(
        DataError, match=r"the times of the feature rows are unknown; give the video's duration, or stride_s"
    ):
        dataclasses.replace(foreign, duration_s=None).times_s()


def test_a_part_is_a_video_of_its_own():
    part = features().between(0.9, 1.5)
    np.testing.assert_array_equal(part.values, features().values[1:3])
    np.testing.assert_allclose(part.times_s(), [0.06, 0.38], atol=1e-6)
    assert part.duration_s == pytest.approx(0.6)
    np.testing.assert_array_equal(part.audio, features().audio[1:3])
    assert len(features().between(0.0, 0.1)) == 1  # the nearest row


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"values": np.zeros((0, 3), np.float32)}, r"values are empty \(0, 3\); a video has at least one row"),
        ({"values": np.full((5, 3), np.nan, np.float32)}, r"values of row 0 are not finite; extract them again"),
        ({"values": np.zeros((5, 4), np.float32)}, r"are 4 wide, but their recipe says 3"),
        ({"values": np.zeros((5, 3))}, r"values are float64 \(5, 3\); they must be float32 \[t d\]"),
        ({"audio": np.zeros((4, 4), np.float32)}, r"4 rows of audio for 5 rows of values; the numbers must be equal"),
        ({"class_names": ("up",)}, r"2 scores for 1 class names"),
        ({"stride_s": "fast"}, r"stride_s is 'fast'; give a number of seconds"),
        ({"duration_s": float("nan")}, r"duration_s is nan; give a number of seconds"),
        ({"stride_s": 0.0}, r"self\.stride_s=0\.0 and self\.duration_s=2\.5; give seconds above 0"),
        ({"stride_s": None}, r"self\.stride_s=None and self\.offset_s=0\.64; give both or neither"),
    ],
)
def test_features_check_themselves(changes, message):
    with pytest.raises(DataError, match=message):
        features(**changes)


def test_bytes_stand_for_the_middle_of_their_bin():
    values = np.linspace(-1.99, 1.98, 77, dtype=np.float32).reshape(7, 11)
    np.testing.assert_allclose(dequantize(quantize(values)), values, atol=4 / 255 / 2 + 1e-3)
    once = dequantize(quantize(values))
    np.testing.assert_array_equal(dequantize(quantize(once)), once)
    np.testing.assert_array_equal(quantize(np.array([-9.0, 9.0])), [0, 255])


# ---- the recipe ----


def test_a_recipe_survives_json():
    assert FeatureRecipe.from_dict(json.loads(json.dumps(RECIPE.to_dict()))) == RECIPE


def test_recipes_that_differ_are_both_named():
    other = dataclasses.replace(RECIPE, window_s=2.0, sha256="cd" * 32)
    RECIPE.check_same(dataclasses.replace(RECIPE), where="val")
    with pytest.raises(DataError) as caught:
        RECIPE.check_same(other, where="data.val")
    assert str(caught.value) == (
        "data.val: features of tsm (weights cdcdcdcd), 3 wide, 2 s every 0.32 s; "
        "expected features of tsm (weights abababab), 3 wide, 1.28 s every 0.32 s (differing: sha256, window_s); "
        "extract with the same weights and options"
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"output": "pixels"}, r"output: input should be 'features' or 'scores', got 'pixels'; is not a feature"),
        ({"stride_s": 0}, r"window_s, stride_s and dim must be above 0"),
        ({"colour": 1}, r"a\.npz: has 'colour', unknown to this videozoo; upgrade it"),
    ],
)
def test_a_wrong_recipe_is_refused(changes, message):
    with pytest.raises(DataError, match=message):
        FeatureRecipe.from_dict({**RECIPE.to_dict(), **changes}, where="a.npz")


def test_half_a_recipe_is_none():
    with pytest.raises(
        DataError, match=r"a\.npz: sha256: field required; is not a feature recipe; extract the features again"
    ):
        FeatureRecipe.from_dict({"extractor": "tsm"}, where="a.npz")


# ---- round trips ----


@pytest.mark.parametrize("suffix", SINGLE)
def test_one_file_a_video(tmp_path, suffix):
    for id_ in ("a", "deep/b.c"):
        write_features(tmp_path / "f", id_, features(len(id_)), suffix=suffix)
    store = FeatureStore(tmp_path / "f")
    assert store.ids == ("a", "deep/b.c")
    assert store.recipe == RECIPE
    assert store.dim == 3
    assert "a" in store
    assert "b" not in store
    for id_ in store.ids:
        assert_same(store.read(id_), features(len(id_)), whole=suffix == ".npz")
    assert not [p for p in (tmp_path / "f").rglob("*") if "partial" in p.name]
    assert_same(read_features(tmp_path / "f" / f"a{suffix}"), features(1), whole=suffix == ".npz")


@pytest.mark.parametrize("name", PACKED)
def test_many_videos_in_a_file(tmp_path, name):
    with FeatureWriter(tmp_path / name) as writer:
        writer.write("a", features(1))
        writer.write("deep/b.c", features(8, rows=2))
        assert not (tmp_path / name).exists()
    store = FeatureStore(tmp_path / name)
    assert sorted(store.ids) == ["a", "deep/b.c"]
    assert store.recipe == RECIPE
    again = pickle.loads(pickle.dumps(store))  # loader workers get a copy
    assert_same(again.read("deep/b.c"), features(8, rows=2))
    assert_same(store.read("a"), features(1))
    if name.startswith("features."):
        assert_same(FeatureStore(tmp_path).read("a"), features(1))


def test_large_parquet_files_have_row_groups(tmp_path, monkeypatch):
    pq = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr("videozoo.io.feature_files.ROW_GROUP_BYTES", 300)
    with FeatureWriter(tmp_path / "f.parquet") as writer:
        for i in range(7):
            writer.write(str(i), features(i))
    assert pq.ParquetFile(tmp_path / "f.parquet").num_row_groups > 2
    store = FeatureStore(tmp_path / "f.parquet")
    for i in (6, 0, 3):
        assert_same(store.read(str(i)), features(i))


def test_bare_values_survive(tmp_path):
    bare = Features(np.ones((2, 3), np.float32))
    with FeatureWriter(tmp_path / "f.parquet") as writer:
        writer.write("a", bare)
    for path in (tmp_path / "f.parquet", write_features(tmp_path / "a.npz", "a", bare)):
        found = read_features(path)
        assert found.scores is found.recipe is found.stride_s is found.duration_s is None
        np.testing.assert_array_equal(found.values, bare.values)


def test_tfrecord_is_youtube8ms(tmp_path):
    with FeatureWriter(tmp_path / "f0.tfrecord") as writer:
        writer.write("a", features(1))
    id_, (rgb, audio), labels = youtube8m(tmp_path, num_classes=2)[0].read()
    assert (id_, labels) == ("a", ())
    np.testing.assert_array_equal(rgb, quantize(features(1).values))
    np.testing.assert_array_equal(audio, quantize(features(1).audio))


def test_the_sidecar_grows_by_video(tmp_path):
    write_features(tmp_path, "a", features(1), suffix=".npy")
    write_features(tmp_path, "b", features(2, duration_s=7.0), suffix=".npy")
    store = FeatureStore(tmp_path)
    assert (store.read("a").duration_s, store.read("b").duration_s) == (2.5, 7.0)
    assert sidecar_recipe(tmp_path) == RECIPE
    assert sidecar_recipe(tmp_path / "elsewhere") is None


def test_what_extracts_lies_beside(tmp_path):
    write_features(tmp_path, "a", features())
    assert FeatureStore(tmp_path).extractor is None
    (tmp_path / "extractor.safetensors").touch()
    assert FeatureStore(tmp_path).extractor == tmp_path / "extractor.safetensors"
    assert FeatureStore(tmp_path / "a.npz").extractor == tmp_path / "extractor.safetensors"


def test_a_file_that_is_written_again_is_read_again(tmp_path):
    for seed in (1, 2):
        path = tmp_path / "f.h5"
        path.unlink(missing_ok=True)
        with FeatureWriter(path) as writer:
            writer.write("a", features(seed))
        assert_same(FeatureStore(path).read("a"), features(seed))


# ---- other projects' files ----


def test_activitynets_tables(tmp_path):
    """BSN and BMN come with a csv a video: a header, 100 rows, 400 columns."""
    values = np.random.default_rng(0).normal(size=(100, 400)).astype(np.float32)
    header = ",".join(str(i) for i in range(400))
    for name, first in (("v_a", header), ("v_b", ",".join(f"f{i}" for i in range(400))), ("v_c", None)):
        lines = [",".join(f"{x:.9g}" for x in row) for row in values]
        (tmp_path / f"{name}.csv").write_text("\n".join(([first] if first else []) + lines) + "\n")
    store = FeatureStore(tmp_path)
    assert store.recipe is None
    for id_ in ("v_a", "v_b", "v_c"):
        found = store.read(id_)
        np.testing.assert_allclose(found.values, values, rtol=1e-6)
        np.testing.assert_allclose(found.times_s(50.0)[:2], [0.25, 0.75])


def test_npy_and_half_precision(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((4, 3), np.float16))
    np.save(tmp_path / "b.npy", np.ones((2, 3), np.int64))
    for id_ in ("a", "b"):
        assert FeatureStore(tmp_path).read(id_).values.dtype == np.float32


def test_a_real_bmn_feature():
    path = Path(__file__).parents[3] / "shared/data/annotations/bmn_example_feat.npy"
    if not path.is_file():
        pytest.skip("needs ../shared/data")
    found = read_features(path)
    assert found.values.shape == (100, 400)
    assert found.stride_s is None


def test_hdf5_of_other_projects(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "c3d.hdf5", "w") as file:
        file["v_a/c3d_features"] = np.ones((4, 3))  # ActivityNet's own
        file["b.avi"] = np.full((2, 3), 2.0)  # TACoS
        file["c/odd/one"] = np.full((1, 3), 3.0)
    store = FeatureStore(tmp_path / "c3d.hdf5")
    assert [store.read(id_).values.sum() for id_ in ("v_a", "b.avi", "c/odd")] == [12, 12, 9]


def test_npz_of_other_projects(tmp_path):
    np.savez(tmp_path / "one.npz", feature=np.ones((4, 3)))
    np.savez(tmp_path / "many.npz", a=np.ones((4, 3)), b=np.full((2, 3), 2.0))
    assert read_features(tmp_path / "one.npz").values.sum() == 12
    store = FeatureStore(tmp_path / "many.npz")
    assert store.ids == ("a", "b")
    assert store.read("b").values.sum() == 12


# ---- what is wrong ----


def test_a_video_without_features(tmp_path):
    write_features(tmp_path, "a", features())
    with pytest.raises(
        DataError,
        match=r"no features of video 'z' \(there are 1, e\.g\. 'a'\); extract them, or skip such videos \(data",
    ):
        FeatureStore(tmp_path).read("z")


def test_a_file_that_went_away(tmp_path):
    write_features(tmp_path, "a", features())
    write_features(tmp_path, "b", features())
    store = FeatureStore(tmp_path)
    (tmp_path / "b.npz").unlink()
    with pytest.raises(DataError, match=r"b\.npz: there is no such file of features"):
        store.read("b")


def test_one_file_of_another_width(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((4, 3)))
    np.save(tmp_path / "b.npy", np.ones((4, 2)))
    with pytest.raises(DataError, match=r"b\.npy: has width 2, the others 3; extract it again"):
        FeatureStore(tmp_path).read("b")


def test_one_file_of_another_recipe(tmp_path):
    write_features(tmp_path, "a", features())
    write_features(tmp_path, "b", features(recipe=dataclasses.replace(RECIPE, window_s=4.0)))
    with pytest.raises(DataError, match=r"b\.npz: features of tsm .*4 s every.*expected features of tsm .*1\.28 s"):
        FeatureStore(tmp_path).read("b")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.full((2, 3), np.nan), r"x\.npy: values of row 0 are not finite"),
        (np.array([[1, 2], [3, np.inf]]), r"x\.npy: values of row 1 are not finite"),
        (np.zeros((0, 3)), r"x\.npy: values are empty"),
        (np.zeros((2, 3, 4)), r"x\.npy: has the shape \(2, 3, 4\); features are \[t d\]"),
        (np.array([["a", "b"]]), r"x\.npy: holds <U1, not numbers"),
    ],
)
def test_arrays_that_are_no_features(tmp_path, array, message):
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(DataError, match=message):
        read_features(tmp_path / "x.npy")


@pytest.mark.parametrize("suffix", [".npz", ".npy"])
def test_pickles_are_refused(tmp_path, suffix):
    class Hostile:
        def __reduce__(self):
            return print, ("run!",)

    array = np.array([[Hostile()]], dtype=object)
    save = np.savez if suffix == ".npz" else np.save
    save(tmp_path / f"x{suffix}", array, allow_pickle=True)
    with pytest.raises(DataError, match=r"refused, it holds pickled objects; store plain arrays of numbers"):
        read_features(tmp_path / f"x{suffix}")


@pytest.mark.parametrize("name", ["x.npz", "x.npy", "x.csv", "x.parquet", "x.h5"])
@pytest.mark.parametrize("damage", ["cut", "empty", "noise"])
def test_damaged_files(tmp_path, name, damage):
    path = write_features(tmp_path / name, "x", features())
    (tmp_path / "features.json").unlink(missing_ok=True)
    data = path.read_bytes()
    rows = len(data) * 2 // 3
    path.write_bytes({"cut": data[:rows], "empty": b"", "noise": bytes(range(256)) * 4}[damage])
    with pytest.raises(DataError, match=rf"{name}.*: (cannot be read|is empty|values are empty|holds)") as caught:
        read_features(path)
    assert "\n" not in str(caught.value)


def test_a_zip_that_lies_about_its_size(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, np.ones((2, 3)))
    data = path.read_bytes()
    path.write_bytes(data.replace(b"'shape': (2, 3), }        ", b"'shape': (99999999, 3), } "))
    with pytest.raises(DataError, match=r"x\.npy: cannot be read"):
        read_features(path)


def test_no_such_place(tmp_path):
    with pytest.raises(DataError, match=r"nowhere: there is no such file or folder of features; create it with"):
        FeatureStore(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"holds no features \(npz, npy, csv, parquet, h5\); run `videozoo extract`"):
        FeatureStore(tmp_path)
    (tmp_path / "a.mat").touch()
    with pytest.raises(DataError, match=r"a\.mat: '\.mat' is not a format of features; use npz, npy, csv, parquet"):
        FeatureStore(tmp_path / "a.mat")
    (tmp_path / "a.tfrecord").touch()
    with pytest.raises(DataError, match=r"holds no features .*read its \.tfrecord files as data set youtube8m"):
        FeatureStore(tmp_path)


def test_the_same_video_twice(tmp_path):
    write_features(tmp_path, "a", features())
    np.save(tmp_path / "a.npy", np.ones((4, 3)))
    with pytest.raises(DataError, match=r"a\.npz: 'a' also has features in a\.npy; remove one of them"):
        FeatureStore(tmp_path)


def test_a_broken_sidecar(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((4, 3)))
    (tmp_path / "features.json").write_text("{")
    with pytest.raises(DataError, match=r"features\.json:1: is not JSON"):
        FeatureStore(tmp_path)


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (("a", features()), r"p\.h5: features of 'a' were given twice; give each id once"),
        (("b", features(recipe=dataclasses.replace(RECIPE, stride_s=1.0))), r"p\.h5:b: features of tsm .*expected"),
        (
            ("b", Features(np.zeros((1, 2), np.float32))),
            r"p\.h5:b: has width 2, the first 3; pack features of one recipe",
        ),
    ],
)
def test_what_does_not_belong_together_is_not_packed(tmp_path, second, message):
    with pytest.raises(DataError, match=message), FeatureWriter(tmp_path / "p.h5") as writer:
        writer.write("a", features())
        writer.write(*second)
    assert not list(tmp_path.iterdir())


def test_packing_nothing_and_elsewhere(tmp_path):
    with pytest.raises(DataError, match=r"p\.h5: there are no features to write"), FeatureWriter(tmp_path / "p.h5"):
        pass
    with (
        pytest.raises(DataError, match=r"'\.mat' is not a format of packed features; use parquet, h5 or npz"),
        FeatureWriter(tmp_path / "p.mat") as writer,
    ):
        writer.write("a", features())
    assert not list(tmp_path.iterdir())


def test_several_videos_are_not_one(tmp_path):
    write_features(tmp_path, "a", features())
    write_features(tmp_path, "b", features())
    with pytest.raises(DataError, match=r"holds the features of 2 videos; give a file with one"):
        read_features(tmp_path)


def test_names_of_feature_files():
    assert is_feature_file("a.NPZ")
    assert is_feature_file(Path("a.parquet"))
    assert not is_feature_file("a.mp4")
    assert not is_feature_file(np.zeros(3))
