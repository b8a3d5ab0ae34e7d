"""Runs on YouTube-8M's shards: exact resumption, damaged records, ranks, and other classes."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.engine.test_resume import assert_same_runs
from videozoo.config.recipe import Recipe
from videozoo.data.youtube8m import youtube8m
from videozoo.engine.distributed import World
from videozoo.engine.evaluate_run import evaluate_run
from videozoo.engine.loader import TrainLoader
from videozoo.engine.run import train
from videozoo.errors import DataError, TrainingError
from videozoo.io.tfrecord import TFRecordFile, encode_sequence_example, write_tfrecord
from videozoo.transforms.features import FeaturesInput
from videozoo.weights import checkpoint

MODELS = {
    "attention_cluster": {"cluster_sizes": [2, 2], "hidden_dims": [6, 5]},
    "attention_lstm": {"embedding_dim": 4, "lstm_dim": 3, "hidden_dims": [6, 5]},
    "nextvlad": {"num_clusters": 3, "num_groups": 2, "hidden_dim": 8, "gating_reduction": 2},
    "mean_pool": {},
}


def record(index, num_classes):
    rng = np.random.default_rng(index)
    num_frames = int(rng.integers(2, 7))
    lists = {name: [[rng.bytes(d)] for _ in range(num_frames)] for name, d in (("rgb", 6), ("audio", 4))}
    return encode_sequence_example({"id": [f"v{index}".encode()], "labels": np.array([index % num_classes])}, lists)


def write_shards(folder: Path, *, num_shards: int = 3, num_classes: int = 3) -> Path:
    for s in range(num_shards):
        write_tfrecord(folder / f"s{s}.tfrecord", [record(8 * s + i, num_classes) for i in range(8)])
    return folder


@pytest.fixture
def shards(tmp_path):
    return write_shards(tmp_path / "shards")


def recipe(shards, *, model="attention_lstm", num_classes=3, **fit):
    defaults = {"duration": "6st", "batch_size": 6, "num_workers": 0, "eval_every": "3st", "save_every": "2st"}
    data = {"name": "youtube8m", "path": str(shards), "num_classes": num_classes}
    return Recipe(
        "tiny",
        {
            "model": {"name": model, "feature_dims": [6, 4], **MODELS[model]},
            "task": {"name": "tag"},
            "input": {"name": "features", "feature_dims": [6, 4], "num_frames": 5},
            "optim": {"name": "adam", "lr": 0.01},
            "fit": {**defaults, "tensorboard": False, "log_every": 1, **fit},
        },
        {"train": {**data, "shuffle_shards": 2}, "val": data},
    )


class Killed(BaseException):
    pass


@pytest.mark.parametrize("model", MODELS)
def test_killed_and_resumed_is_undisturbed(shards, tmp_path, monkeypatch, model):
    from videozoo.engine.trainer import Trainer

    train(recipe(shards, model=model), tmp_path / "whole", progress=False)
    step = Trainer._train_step

    def dies(self, *args):
        if self.step == 5:
            raise Killed
        return step(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_train_step", dies)
        with pytest.raises(Killed):
            train(recipe(shards, model=model), tmp_path / "cut", progress=False)
    train(recipe(shards, model=model, num_workers=2), tmp_path / "cut", resume=True, progress=False)
    monkeypatch.setattr("tests.engine.test_resume.TIMES", ("clips_per_s", "data_wait_share"))
    assert_same_runs(tmp_path / "whole", tmp_path / "cut")


def test_ranks_share_each_batch(shards):
    data = youtube8m(shards, num_classes=3, shuffle_shards=2)
    pipeline = FeaturesInput(num_frames=5, feature_dims=(6, 4)).train_pipeline(num_classes=3)
    alone = TrainLoader(data, pipeline, batch_size=6, seed=1)
    parts = [TrainLoader(data, pipeline, batch_size=6, seed=1, world=World(rank=rank, size=2)) for rank in (0, 1)]
    for step in range(6):
        assert alone.keys(step)[0] == [key for part in parts for key in part.keys(step)[0]]


def damage(path, number):
    content = bytearray(path.read_bytes())
    offset = int(TFRecordFile(path).offsets[number])
    content[offset + 20] ^= 1
    path.write_bytes(content)
    return offset


def test_damaged_records_are_counted_and_named(shards, tmp_path):
    offset = damage(shards / "s1.tfrecord", 3)
    damage(shards / "s0.tfrecord", 0)  # the record that tells what the shards hold
    result = train(recipe(shards, max_bad_share=0.5), tmp_path / "run", progress=False)
    assert result.num_bad == 2 and result.scores["num_scored"] == 22
    named = (tmp_path / "run" / "bad_files.txt").read_text()
    assert f"s1.tfrecord at byte {offset}: wrong checksum of a record of" in named
    with pytest.raises(TrainingError, match=r"s0\.tfrecord at byte 0"):
        train(recipe(shards, max_bad_share=0), tmp_path / "strict", progress=False)


def test_evaluation_names_what_it_could_not_score(shards, tmp_path):
    train(recipe(shards), tmp_path / "run", progress=False)
    offset = damage(shards / "s2.tfrecord", 7)
    found = evaluate_run(tmp_path / "run", out=tmp_path / "report")
    assert found.num_scored == 23 and "gap" in found.scores
    ((id_, reason),) = found.not_scored
    assert id_ == f"{shards / 's2.tfrecord'} at byte {offset}" and "wrong checksum" in reason


@pytest.mark.parametrize("model", MODELS)
def test_weights_start_a_run_with_other_classes(shards, tmp_path, model):
    train(recipe(shards, model=model), tmp_path / "first", progress=False)
    others = write_shards(tmp_path / "others", num_classes=4)
    tuning = recipe(others, model=model, num_classes=4, duration="1st")
    tuning.sections["optim"]["lr"] = 1e-9  # nothing is learned, so that what was loaded can be seen
    train(tuning, tmp_path / "second", init=tmp_path / "first" / "last.pt", progress=False)
    before, after = (checkpoint.read(tmp_path / name / "last.pt") for name in ("first", "second"))
    assert len(after.class_names) == 4 and after.model["head.weight"].shape[0] == 4
    for name, value in before.model.items():
        if not name.startswith("head.") and "running_" not in name and "num_batches" not in name:
            torch.testing.assert_close(after.model[name], value, msg=name)


def test_a_truncated_shard_is_used_up_to_there(shards, caplog):
    path = shards / "s1.tfrecord"
    path.write_bytes(path.read_bytes()[:-10])
    data = youtube8m(shards)
    assert len(data) == 23
    (note,) = data.notes
    assert "s1.tfrecord at byte" in note and "the file ends within a record of" in note and note in caplog.text


@pytest.mark.parametrize("size", [5, 12, 40])
def test_a_shard_cut_in_its_first_record_is_noted_or_an_error(shards, size):
    paths = sorted(shards.glob("*.tfrecord"))
    paths[0].write_bytes(paths[0].read_bytes()[:size])
    found = youtube8m(shards)
    (note,) = found.notes
    assert f"{paths[0].name} at byte 0: the file ends within a record" in note
    assert len(found) == 24 - 8 and found[0].read()[0] == youtube8m(paths[1])[0].read()[0]
    with pytest.raises(DataError, match=r"at byte 0: the file ends within a record.*; fetch the file again"):
        youtube8m(paths[0])
    for names in (None, ("rgb", "audio")):  # told, they are not looked for in a record
        for path in paths[1:]:
            path.write_bytes(path.read_bytes()[:size])
        with pytest.raises(DataError, match=r"at byte 0: the file ends within a record"):
            youtube8m(shards, features=names)


def test_shards_are_opened_without_a_walk(shards, monkeypatch):
    data = youtube8m(shards)
    shutil.copytree(shards, shards / "copy")
    monkeypatch.setattr("videozoo.io.tfrecord._walk", None)
    assert data[20].read()[0] == "v20"
