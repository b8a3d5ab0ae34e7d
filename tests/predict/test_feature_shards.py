"""Labels for shards of features, from the command line: tables, JSON, Kaggle's submission, pickles of them."""

import json

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from videozoo.cli import prepare
from videozoo.cli.predict import predict
from videozoo.contracts.answer import Labels
from videozoo.errors import ConfigError
from videozoo.io.tfrecord import encode_sequence_example, write_tfrecord
from videozoo.predict.feature_shards import kaggle_line
from videozoo.tasks.build import build_task
from videozoo.transforms.features import FeaturesInput
from videozoo.weights import checkpoint

NAMES = ("low", "middle", "high")
SPEC = FeaturesInput(num_frames=4, feature_dims=(3, 2))
app = typer.Typer()
app.command()(predict)


def call(*words):
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, [*map(str, words), "--device", "cpu"], catch_exceptions=False)


@pytest.fixture
def tagger(tmp_path):
    """Its answer is how high the first feature is."""
    record = {
        "model": {"name": "mean_pool", "feature_dims": [3, 2]},
        "task": {"name": "tag"},
        "input": SPEC.to_dict(),
    }
    task = build_task(record, NAMES)
    head = task.model.head
    head.weight.data.zero_()
    head.weight.data[:, 0] = head.weight.new_tensor([-2.0, 0.0, 2.0])
    head.bias.data.copy_(head.weight.new_tensor([0.0, 1.0, 0.0]))
    path = tmp_path / "run" / "best.pt"
    checkpoint.write(path, {"record": record, "class_names": NAMES, "model": task.model.state_dict(), "step": 1})
    return path


@pytest.fixture
def shard(tmp_path):
    def record(id_, level):
        lists = {name: [[bytes([level]) * d]] * 2 for name, d in (("rgb", 3), ("audio", 2))}
        return encode_sequence_example({"id": [id_.encode()], "labels": np.array([0])}, lists)

    path = tmp_path / "shards" / "a.tfrecord"
    write_tfrecord(path, [record("up", 250), record("down", 5)])
    return path


def test_names_on_the_terminal(tagger, shard):
    result = call(tagger, shard, "--top", 2)
    rows = [line.split() for line in result.stdout.splitlines() if "%" in line]
    assert rows == [["up", "high", "98%,", "middle", "73%"], ["down", "low", "98%,", "middle", "73%"]]


@pytest.mark.parametrize("source", ["folder", "list", "pattern"])
def test_submission(tagger, shard, tmp_path, source):
    (shard.parent / "all.list").write_text("a.tfrecord\n")
    where = {"folder": shard.parent, "list": shard.parent / "all.list", "pattern": f"{shard.parent}/*.tfrecord"}
    assert call(tagger, where[source], "--out", tmp_path / "new/submission.csv").exit_code == 0
    header, up, down = (tmp_path / "new/submission.csv").read_text().splitlines()
    assert header == "VideoId,LabelConfidencePairs"
    pairs = up.removeprefix("up,").split()
    assert pairs[::2] == ["2", "1", "0"] and float(pairs[1]) == pytest.approx(0.979, abs=1e-3)
    assert down.startswith("down,0 0.97")
    assert call(tagger, shard, "--format", "kaggle").stdout.splitlines() == [header, up, down]


def test_json(tagger, shard, tmp_path):
    found = json.loads(call(tagger, shard, "--json", "--top", 1).stdout)
    assert [(p["id"], p["labels"][0]["name"]) for p in found["predictions"]] == [("up", "high"), ("down", "low")]
    assert found["failed"] == []
    call(tagger, shard, "--top", 1, "--out", tmp_path / "a.json")
    assert json.loads((tmp_path / "a.json").read_text()) == found


def test_at_most_twenty_classes():
    line = kaggle_line("x", Labels(np.linspace(0, 1, 30), tuple(map(str, range(30)))))
    assert line.startswith("x,29 1 28 0.965517 ") and len(line.split()) == 40


def test_damaged_records_are_told_and_the_others_answered(tagger, shard):
    content = bytearray(shard.read_bytes())
    content[20] ^= 1
    shard.write_bytes(content)
    result = call(tagger, shard, "--json")
    assert result.exit_code == 1 and "a.tfrecord at byte 0: wrong checksum" in result.stderr
    found = json.loads(result.stdout)
    assert [p["id"] for p in found["predictions"]] == ["down"] and len(found["failed"]) == 1


def test_pickles(tagger, shard, tmp_path):
    result = CliRunner().invoke(
        prepare.app, ["yt8m-pkl", str(shard.parent), str(tmp_path / "pkl" / "val"), "--workers", "0"]
    )
    assert result.exit_code == 0 and "a.pkl: 2 videos" in result.stdout
    assert (tmp_path / "pkl" / "val.list").read_text() == f"{tmp_path}/pkl/val/a.pkl\n"
    direct = call(tagger, shard, "--format", "kaggle").stdout
    assert call(tagger, tmp_path / "pkl" / "val.list", "--format", "kaggle").stdout == direct


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--window", "2"], r"--window: needs videos, but .*a.tfrecord holds features; leave it out"),
        (["--format", "srt"], r"--format: for features there is no 'srt'; .*json, kaggle"),
        (["--out", "a.txt"], r"--out: a.txt ends in neither .json nor .csv \(Kaggle's format\)"),
    ],
)
def test_what_shards_do_not_have(tagger, shard, words, message):
    with pytest.raises(ConfigError, match=message):
        call(tagger, shard, *words)


def test_models_on_videos_refuse(run, shard):
    with pytest.raises(ConfigError, match="these are features, but the model takes videos; give the videos"):
        call(run, shard)
