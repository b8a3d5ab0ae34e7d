"""`videozoo extract`: folders of features that can be taken up again."""

import dataclasses
import os
import shutil

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from tests.contract.tiny import TINY
from tests.io.test_damage import spoiled
from videozoo.cli.main import app
from videozoo.data.youtube8m import youtube8m
from videozoo.errors import ConfigError, DataError
from videozoo.io.encode import write_video
from videozoo.io.features import FeatureStore, quantize, sidecar_recipe, write_features
from videozoo.io.lock import locked
from videozoo.loading import load_extractor, open_network
from videozoo.models.registry import create_model
from videozoo.predict import extraction
from videozoo.predict.extraction import extract_all, video_ids
from videozoo.predict.extractor import Extractor
from videozoo.tasks.network import network_from_checkpoint
from videozoo.transforms.input import ClipInput
from videozoo.weights import checkpoint

FORMATS = ["npz", "npy", "csv", "parquet", "h5"]
OPTIONS = ["--device", "cpu", "--window", "1", "--stride", "0.5"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    torch.manual_seed(0)
    net = create_model("tsm", **TINY["tsm"])
    spec = ClipInput(num_frames=4, short_side_px=32, crop_px=32)
    record = {"model": {"name": "tsm", **TINY["tsm"]}, "task": {"name": "classify"}, "input": spec.to_dict()}
    names = tuple("abcde")
    checkpoint.write(folder / "best.pt", {"record": record, "class_names": names, "model": net.state_dict(), "step": 1})
    return folder


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    for number, name in enumerate(("one/a", "one/b", "two/c")):
        rng = np.random.default_rng(number)
        coarse = rng.integers(0, 256, (20, 4, 4, 3))
        (folder / name).parent.mkdir(exist_ok=True)
        frames = np.kron(coarse, np.ones((1, 8, 8, 1))).astype(np.uint8)
        write_video(folder / f"{name}.mp4", frames, fps=10, preset="ultrafast")
    return folder


@pytest.fixture
def direct(run):
    return load_extractor(run, window_s=1.0, stride_s=0.5, device="cpu")


def call(*args, status=0):
    result = CliRunner().invoke(app, ["extract", *map(str, args)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == status, result.output
    return result


# ---- every form ----


@pytest.mark.parametrize("format", FORMATS)
def test_what_is_stored_is_what_the_extractor_gives(run, clips, direct, tmp_path, format):
    result = call(run, clips, "--out", tmp_path, "--format", format, *OPTIONS)
    assert "3 videos, 9 rows in" in result.stdout
    assert "features of tsm (weights" in result.stdout
    store = FeatureStore(tmp_path)
    assert sorted(store.ids) == ["a", "b", "c"]
    assert store.recipe == direct.recipe
    for id_, path in (("a", "one/a.mp4"), ("c", "two/c.mp4")):
        expected, found = direct(clips / path), store.read(id_)
        np.testing.assert_allclose(found.values, expected.values, rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(found.times_s(), expected.times_s())
        assert found.duration_s == expected.duration_s
        if format not in ("npy", "csv"):
            np.testing.assert_array_equal(found.scores, expected.scores)
    again = Extractor.of_recipe(open_network(store.extractor, device="cpu"), store.recipe)
    np.testing.assert_array_equal(again(clips / "one/b.mp4").values, direct(clips / "one/b.mp4").values)
    assert not (tmp_path / ".parts").exists()


def test_tfrecord_shards_for_taggers(run, clips, direct, tmp_path, monkeypatch):
    monkeypatch.setattr(extraction, "VIDEOS_PER_SHARD", 2)
    result = call(run, clips, "--out", tmp_path, "--format", "tfrecord", *OPTIONS)
    assert "quantised" in result.stdout
    assert sorted(p.name for p in tmp_path.glob("*.tfrecord")) == ["features0000.tfrecord", "features0001.tfrecord"]
    found = dict(record.read()[:2] for record in youtube8m(tmp_path))
    for id_, path in (("a", "one/a.mp4"), ("b", "one/b.mp4"), ("c", "two/c.mp4")):
        np.testing.assert_array_equal(found[id_][0], quantize(direct(clips / path).values))
    assert sidecar_recipe(tmp_path).quantised
    result = call(run, clips, "--out", tmp_path, "--format", "tfrecord", *OPTIONS)
    assert "0 videos, 0 rows" in result.stdout and "3 were there already" in result.stdout


def test_scores_as_features(run, clips, direct, tmp_path):
    call(run, clips, "--out", tmp_path, "--output", "scores", *OPTIONS)
    np.testing.assert_allclose(FeatureStore(tmp_path).read("a").values, direct(clips / "one/a.mp4").scores, atol=1e-6)


def test_rows_a_second(run, clips, tmp_path):
    call(run, clips, "--out", tmp_path, "--window", "1", "--fps", "4", "--device", "cpu")
    assert FeatureStore(tmp_path).recipe.stride_s == 0.25


# ---- going on ----


@pytest.mark.parametrize("format", FORMATS)
def test_done_videos_are_left_alone(run, clips, tmp_path, format):
    args = ["--format", format, "--out", tmp_path / "f", *OPTIONS]
    call(run, clips / "one", *args)
    call(run, clips, *args)
    result = call(run, clips, *args)
    assert "0 videos, 0 rows" in result.stdout and "3 were there already" in result.stdout
    assert sorted(FeatureStore(tmp_path / "f").ids) == ["a", "b", "c"]


@pytest.mark.parametrize("format", ["parquet", "npz"])
def test_a_call_that_was_stopped_goes_on(clips, direct, tmp_path, monkeypatch, format):
    videos = video_ids(sorted(clips.rglob("*.mp4")))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        calls = iter(range(9))

        def stopping(path, id_, features, **args):
            if next(calls) == 2:
                raise KeyboardInterrupt
            return write_features(path, id_, features, **args)

        patch.setattr(extraction, "write_features", stopping)
        extract_all(direct, videos, tmp_path, format=format)
    assert not list(tmp_path.glob("*.parquet"))
    done = extract_all(direct, videos, tmp_path, format=format)
    assert done.extracted == 1
    store = FeatureStore(tmp_path)
    for id_, path in videos.items():
        np.testing.assert_allclose(store.read(id_).values, direct(path).values, atol=1e-6)


def test_raw_parts_of_another_recipe_are_refused(clips, run, direct, tmp_path):
    write_features(tmp_path / ".parts", "a", direct(clips / "one/a.mp4"))
    with pytest.raises(DataError, match=r"2 s every 0\.5 s; expected .*1 s every 0\.5 s \(differing: window_s\)"):
        call(run, clips, "--out", tmp_path, "--format", "h5", "--device", "cpu", "--window", "2", "--stride", "0.5")


@pytest.mark.parametrize("format", ["h5", "tfrecord"])
def test_parts_that_were_packed_already_are_not_packed_twice(run, clips, direct, tmp_path, format):
    args = ["--out", tmp_path, "--format", format, *OPTIONS]
    call(run, clips / "one", *args)
    write_features(tmp_path / ".parts", "b", direct(clips / "one/b.mp4"))  # a call that was killed
    (tmp_path / "features0001.tfrecord").write_bytes(b"half a shard")
    call(run, clips, *args)
    assert not (tmp_path / ".parts").exists()
    if format == "tfrecord":
        assert sorted(record.read()[0] for record in youtube8m(tmp_path)) == ["a", "b", "c"]
    else:
        assert sorted(FeatureStore(tmp_path).ids) == ["a", "b", "c"]


def test_projected_features_go_on_after_a_stop(run, clips, direct, tmp_path):
    args = ["--out", tmp_path, "--pca", "3", *OPTIONS]
    call(run, clips / "one", *args)
    before = FeatureStore(tmp_path).read("a").values
    write_features(tmp_path / ".parts", "a", direct(clips / "one/a.mp4"))
    (tmp_path / "a.npz").unlink()
    call(run, clips, *args)
    np.testing.assert_allclose(FeatureStore(tmp_path).read("a").values, before, atol=1e-6)
    assert not (tmp_path / ".parts").exists() and len(FeatureStore(tmp_path)) == 3


def test_damaged_features_are_not_written_over(run, clips, tmp_path):
    (tmp_path / "features.h5").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"features\.h5: cannot be read"):
        call(run, clips, "--out", tmp_path, "--format", "h5", *OPTIONS)


def test_another_recipe_is_refused(run, clips, tmp_path):
    call(run, clips / "one", "--out", tmp_path, *OPTIONS)
    with pytest.raises(DataError, match=r"2 s every 0\.5 s; expected .*1 s every 0\.5 s \(differing: window_s\)"):
        call(run, clips, "--out", tmp_path, "--device", "cpu", "--window", "2", "--stride", "0.5")
    with pytest.raises(DataError, match=r"holds features in a different format .*; give another --out"):
        call(run, clips, "--out", tmp_path, "--format", "parquet", *OPTIONS)
    (tmp_path / "x").mkdir()
    np.save(tmp_path / "x" / "a.npy", np.ones((2, 3)))
    with pytest.raises(DataError, match=r"holds features without a recipe; give another --out"):
        call(run, clips, "--out", tmp_path / "x", "--format", "npy", *OPTIONS)


# ---- principal components ----


@pytest.mark.parametrize("format", ["npz", "parquet"])
def test_principal_components_are_fitted_once(run, clips, direct, tmp_path, format):
    args = ["--out", tmp_path, "--format", format, "--pca", "3", *OPTIONS]
    result = call(run, clips / "one", *args)
    assert "the 3 components keep" in result.stdout
    store = FeatureStore(tmp_path)
    assert (store.recipe.dim, store.read("a").dim) == (3, 3)
    result = call(run, clips, *args)  # the third video gets the same projection
    assert "2 were there already" in result.stdout
    store = FeatureStore(tmp_path)
    again = Extractor.of_recipe(open_network(store.extractor, device="cpu"), store.recipe)
    for id_, path in (("b", "one/b.mp4"), ("c", "two/c.mp4")):
        np.testing.assert_allclose(store.read(id_).values, again(clips / path).values, atol=1e-5)
    rows = np.concatenate([direct(clips / f"one/{x}.mp4").values for x in "ab"])
    stored = np.concatenate([store.read(x).values for x in "ab"])
    centred = rows - rows.mean(0)
    top = np.linalg.svd(centred, compute_uv=False)[:3]
    np.testing.assert_allclose(np.linalg.norm(stored, axis=0), top, rtol=1e-3)


def test_given_components(run, clips, tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "p.npz", mean=np.zeros(32), components=rng.normal(size=(2, 32)))
    call(run, clips, "--out", tmp_path / "f", "--pca", tmp_path / "p.npz", *OPTIONS)
    assert FeatureStore(tmp_path / "f").dim == 2


# ---- ids and failures ----


def test_ids(tmp_path):
    for name in ("x/1.mp4", "y/1.mp4", "y/2.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    paths = sorted(tmp_path.rglob("*.mp4"))
    assert list(video_ids(paths)) == ["x/1", "y/1", "y/2"]
    assert list(video_ids(paths[1:])) == ["1", "2"]
    (tmp_path / "x/1.avi").touch()
    assert list(video_ids(sorted(tmp_path.rglob("1.*")))) == ["x/1.avi", "x/1.mp4", "y/1"]


@pytest.mark.parametrize("format", ["npz", "h5"])
def test_broken_videos_are_told_at_the_end(run, clips, tmp_path, format):
    shutil.copytree(clips / "one", tmp_path / "clips")
    (tmp_path / "clips" / "broken.mp4").write_bytes(b"nothing")
    result = call(run, tmp_path / "clips", "--out", tmp_path / "f", "--format", format, *OPTIONS, status=1)
    assert "2 videos, 6 rows" in result.stdout
    assert "1 of 3 videos failed:" in result.stderr
    assert "broken.mp4" in result.stderr
    assert sorted(FeatureStore(tmp_path / "f").ids) == ["a", "b"]


def test_only_broken_videos(run, tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"nothing")
    result = call(run, tmp_path / "broken.mp4", "--out", tmp_path / "f", "--format", "h5", *OPTIONS, status=1)
    assert "1 of 1 videos failed:" in result.stderr


def test_a_full_disk_stops_everything(clips, direct, tmp_path, monkeypatch):
    def full(*_, **__):
        raise DataError("f: cannot be written (no space left on device)")

    monkeypatch.setattr(extraction, "write_features", full)
    with pytest.raises(DataError, match=r"no space left"):
        extract_all(direct, video_ids(sorted(clips.rglob("*.mp4"))), tmp_path)


def test_all_videos_get_the_window_of_the_first(run, tmp_path):
    for name, fps in (("a", 5), ("b", 10), ("c", 20)):
        (tmp_path / "v").mkdir(exist_ok=True)
        write_video(tmp_path / "v" / f"{name}.mp4", np.zeros((40, 32, 32, 3), np.uint8), fps=fps, preset="ultrafast")
    dense = ClipInput(num_frames=4, short_side_px=32, crop_px=32, sampling="dense")
    saved = checkpoint.read(run)
    record = {**saved.record, "input": dense.to_dict()}
    extractor = Extractor(network_from_checkpoint(dataclasses.replace(saved, record=record), device="cpu"))
    videos = video_ids(sorted((tmp_path / "v").glob("*.mp4")))
    done = extract_all(extractor, videos, tmp_path / "f", num_workers=3)
    store = FeatureStore(tmp_path / "f")
    assert {store.read(id_).recipe.window_s for id_ in store.ids} == {0.8}
    assert not done.failed


def test_workers_change_nothing(run, clips, tmp_path):
    for workers in (1, 3):
        call(run, clips, "--out", tmp_path / str(workers), "--workers", workers, *OPTIONS)
    one, three = (FeatureStore(tmp_path / str(workers)) for workers in (1, 3))
    for id_ in one.ids:
        np.testing.assert_array_equal(one.read(id_).values, three.read(id_).values)


# ---- whose features they are ----


@pytest.mark.parametrize("format", ["npz", "npy", "parquet", "tfrecord"])
def test_two_videos_of_one_name_have_features_each(run, clips, direct, tmp_path, format):
    for folder, path in (("A", "one/a.mp4"), ("B", "two/c.mp4")):
        (tmp_path / folder).mkdir()
        shutil.copy(clips / path, tmp_path / folder / "clip.mp4")
    args = ["--out", tmp_path / "f", "--format", format, *OPTIONS]
    call(run, tmp_path / "A", *args)
    result = call(run, tmp_path / "B", *args)
    assert "1 video, " in result.stdout and f"{tmp_path}/B/clip.mp4: is stored as 'B/clip'" in result.stdout
    result = call(run, tmp_path / "A", tmp_path / "B", *args)
    assert "0 videos, 0 rows" in result.stdout and "2 were there already" in result.stdout
    if format == "tfrecord":
        assert sorted(record.read()[0] for record in youtube8m(tmp_path / "f")) == ["B/clip", "clip"]
        return
    store = FeatureStore(tmp_path / "f")
    for id_, path in (("clip", "one/a.mp4"), ("B/clip", "two/c.mp4")):
        np.testing.assert_allclose(store.read(id_).values, direct(clips / path).values, atol=1e-6)
    assert store.id_of(tmp_path / "A/clip.mp4") == "clip" and store.id_of(tmp_path / "B/clip.mp4") == "B/clip"


@pytest.mark.parametrize("format", ["npz", "csv", "h5"])
def test_a_video_that_was_replaced_is_looked_at_again(run, clips, direct, tmp_path, format):
    (tmp_path / "v").mkdir()
    video = tmp_path / "v/clip.mp4"
    shutil.copy(clips / "one/a.mp4", video)
    args = ["--out", tmp_path / "f", "--format", format, *OPTIONS]
    call(run, tmp_path / "v", *args)
    shutil.copy(clips / "two/c.mp4", video)
    with pytest.raises(
        DataError, match=r"no features of .*clip.mp4; 'clip' belongs to .*clip.mp4 as of its extraction"
    ):
        FeatureStore(tmp_path / "f").id_of(video)
    assert "1 video, " in call(run, tmp_path / "v", *args).stdout
    store = FeatureStore(tmp_path / "f")
    assert store.ids == ("clip",)
    np.testing.assert_allclose(store.read("clip").values, direct(clips / "two/c.mp4").values, atol=1e-5)
    assert "1 were there already" in call(run, tmp_path / "v", *args).stdout


def test_a_replaced_video_in_a_shard_is_named(run, clips, tmp_path):
    (tmp_path / "v").mkdir()
    shutil.copy(clips / "one/a.mp4", tmp_path / "v/clip.mp4")
    args = ["--out", tmp_path / "f", "--format", "tfrecord", *OPTIONS]
    call(run, tmp_path / "v", *args)
    shutil.copy(clips / "two/c.mp4", tmp_path / "v/clip.mp4")
    result = call(run, tmp_path / "v", *args, status=1)
    assert "has changed, but its features in a shard cannot be replaced; give another --out" in result.output


def test_a_moved_or_touched_video_is_the_same(run, clips, tmp_path):
    shutil.copytree(clips / "one", tmp_path / "old")
    call(run, tmp_path / "old", "--out", tmp_path / "f", *OPTIONS)
    shutil.move(tmp_path / "old", tmp_path / "new")
    os.utime(tmp_path / "new/a.mp4")
    assert "2 were there already" in call(run, tmp_path / "new", "--out", tmp_path / "f", *OPTIONS).stdout


def test_features_that_were_cut_short_are_made_again(run, clips, direct, tmp_path):
    call(run, clips / "one", "--out", tmp_path, *OPTIONS)
    (tmp_path / "a.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:100])
    result = call(run, clips / "one", "--out", tmp_path, *OPTIONS)
    assert "1 video, " in result.stdout and "1 were there already" in result.stdout
    np.testing.assert_allclose(FeatureStore(tmp_path).read("a").values, direct(clips / "one/a.mp4").values, atol=1e-6)


def test_features_of_before_sources_were_noted_are_left_alone(run, clips, tmp_path):
    call(run, clips / "one", "--out", tmp_path, *OPTIONS)
    (tmp_path / "sources.jsonl").unlink()
    for _ in range(2):
        assert "2 were there already" in call(run, clips / "one", "--out", tmp_path, *OPTIONS).stdout


def test_a_second_extraction_into_one_folder_is_refused(run, clips, tmp_path):
    with locked(tmp_path / "f"), pytest.raises(ConfigError, match=r"f: process \d+ is writing to it; wait"):
        call(run, clips / "one", "--out", tmp_path / "f", "--format", "parquet", *OPTIONS)


def test_an_empty_folder_of_parts_is_removed(run, clips, tmp_path):
    (tmp_path / "f/.parts").mkdir(parents=True)
    call(run, clips / "one", "--out", tmp_path / "f", *OPTIONS)
    assert not (tmp_path / "f/.parts").exists()


@pytest.mark.parametrize("format", ["npz", "parquet"])
def test_a_name_that_is_not_utf8(run, clips, tmp_path, format):
    (tmp_path / "v").mkdir()
    video = tmp_path / "v" / os.fsdecode(b"bad\xff.mp4")
    shutil.copy(clips / "one/a.mp4", video)
    args = ["--out", tmp_path / "f", "--format", format, *OPTIONS]
    call(run, tmp_path / "v", *args)
    store = FeatureStore(tmp_path / "f")
    assert store.ids == (r"bad\udcff",) and store.id_of(video) == r"bad\udcff"
    assert "1 were there already" in call(run, tmp_path / "v", *args).stdout


def test_damage_that_the_decoder_conceals_is_named(run, tmp_path):
    damaged = spoiled(tmp_path / "bad.mkv", "libx264")
    result = call(run, damaged, "--out", tmp_path / "f", "--window", "0.4", "--stride", "0.2", "--device", "cpu")
    assert "damage concealed by the decoder (--strict makes it an error):" in result.stderr
    assert "bad.mkv: " in result.stderr.splitlines()[-1]
