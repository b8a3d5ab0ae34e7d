import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch
import typer
from torch import nn
from typer.testing import CliRunner

from videozoo.cli.eval import evaluate_command
from videozoo.contracts.answer import Labels
from videozoo.contracts.record import ClipRecord
from videozoo.data.motion import make_clips
from videozoo.engine import evaluate_run as module
from videozoo.engine.evaluate_run import EvalOptions, evaluate_run, recordings, report_dir
from videozoo.errors import ConfigError, DataError, WeightsError
from videozoo.metrics.classification import Classification
from videozoo.tasks.task import Task
from videozoo.transforms.input import ClipInput
from videozoo.weights import checkpoint
from videozoo.weights.checkpoint import Checkpoint

NAMES = ("moves_left", "moves_right", "moves_up")


class Reader(Task):
    """Reads the class off the id of a sample, which is its path below the class folder."""

    def __init__(self, class_names):
        super().__init__(nn.Linear(1, 1), class_names)
        self.shapes = []

    def predict(self, batch):
        self.shapes.append(tuple(batch["video"].shape))
        said = [self.class_names.index(id_.split("/")[0]) for id_ in batch["id"]]
        return [Labels(scores=row.numpy(), names=self.class_names) for row in torch.eye(3)[said]]

    def metrics(self):
        return [Classification(self.class_names)]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("eval") / "world"
    make_clips(root, num_train=6, num_val=9, size_px=32, length_s=1.0, num_classes=3)
    assert sorted(p.name for p in (root / "val").iterdir() if p.is_dir()) == list(NAMES)
    return root


@pytest.fixture
def run(world, tmp_path, monkeypatch):
    spec = ClipInput(num_frames=2, short_side_px=32, crop_px=32)
    record = {
        "model": {"name": "reader"},
        "task": {"name": "reader"},
        "input": spec.to_dict(),
        "data": {"val": {"name": "clip_folder", "path": str(world / "val")}},
        "fit": {"batch_size": 12, "num_workers": 0},
    }
    content = {"record": record, "class_names": NAMES, "model": {}, "step": 40}
    checkpoint.write(tmp_path / "run" / "best.pt", content)
    task = Reader(NAMES)
    monkeypatch.setattr(module, "task_from_checkpoint", lambda found: (task, spec))
    return tmp_path / "run", task


def test_a_run_is_scored_on_its_own_data_and_reported_beside_it(run, world):
    path, task = run
    found = evaluate_run(path, EvalOptions(device="cpu"))
    num_val = len(list((world / "val").rglob("*.mp4")))
    assert found.scores["top1"] == 100
    assert (found.num_scored, found.num_total) == (num_val, num_val)
    assert task.shapes == [(num_val, 1, 2, 3, 32, 32)]
    report = json.loads((path / "eval" / "val" / "report.json").read_text())
    assert report["protocol"]["checkpoint"] == str(path / "best.pt")
    assert report["protocol"]["step"] == 40
    assert report["protocol"]["views (clips x crops)"] == "1x1"
    assert report["protocol"]["data"]["path"] == str(world / "val")
    assert (path / "eval" / "val" / "report.html").is_file()
    assert (path / "eval" / "val" / "confusion.png").is_file()


def test_more_views_make_smaller_batches(run):
    path, task = run
    done = []
    evaluate_run(path, EvalOptions(device="cpu", views="2x3"), progress=lambda *counts: done.append(counts))
    assert {shape[:2] for shape in task.shapes[:-1]} == {(2, 6)}
    total = sum(shape[0] for shape in task.shapes)
    assert done[-1] == (total, total)
    assert (path / "eval" / "val-2x3" / "report.html").is_file()


def test_another_input_than_in_training(run):
    path, task = run
    evaluate_run(path, EvalOptions(device="cpu", input_args={"num_frames": 3, "crop_px": 24}, batch_size=9))
    assert task.shapes == [(9, 1, 3, 3, 24, 24)]
    report = json.loads((path / "eval" / "val-num_frames=3-crop_px=24" / "report.json").read_text())
    assert report["protocol"]["input"]["num_frames"] == 3
    app = typer.Typer()
    app.command()(evaluate_command)
    CliRunner().invoke(app, [str(path), "input.num_frames=5", "--views", "1x3"], catch_exceptions=False)
    assert task.shapes[-1][1:3] == (3, 5)
    wrong = CliRunner().invoke(app, [str(path), "model.depth=3"])
    assert str(wrong.exception) == (
        "eval: 'model.depth=3' cannot change after training; give input.key=value, task.key=value or data.val.key=value"
    )


def test_another_test_set(run, world):
    path, task = run
    app = typer.Typer()
    app.command()(evaluate_command)
    CliRunner().invoke(app, [str(path), f"data.val.path={world / 'train'}"], catch_exceptions=False)
    assert sum(shape[0] for shape in task.shapes) == len(list((world / "train").rglob("*.mp4")))
    named = [folder for folder in (path / "eval").iterdir() if folder.name.startswith("val-")]
    assert len(named) == 1 and (named[0] / "report.html").is_file()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("dat.val.path=x", "eval: 'dat.val.path=x' cannot change after training; did you mean 'data'? "),
        ("data.vall.path=x", "eval: 'data.vall.path=x': there is no split 'vall'; did you mean 'val'? "),
        ("data.test.path=x", "eval: 'data.test.path=x' does not apply to data.val; give --split test"),
        ("data.val=x", "eval: 'data.val=x' has no key; give input.key=value, task.key=value or data.val.key=value"),
        ("task=tag", "eval: 'task=tag' has no key; "),
        ("task.name", "`task.name` is not an override; write key=value"),
    ],
)
def test_overrides_that_are_none(run, override, message):
    app = typer.Typer()
    app.command()(evaluate_command)
    found = CliRunner().invoke(app, [str(run[0]), override])
    assert isinstance(found.exception, ConfigError)
    assert str(found.exception).startswith(message)


def test_other_data_is_numbered_by_the_names_of_the_checkpoint(run, world, tmp_path):
    path, _ = run
    shutil.copytree(world / "val" / NAMES[2], tmp_path / "mine" / NAMES[2])
    (tmp_path / "mine" / NAMES[2] / "cut.mp4").write_bytes(b"not a video")
    found = evaluate_run(path, EvalOptions(data=tmp_path / "mine", device="cpu"), out=tmp_path / "out")
    assert found.scores["top1"] == 100
    (metric,) = found.metrics
    assert {o.truth for o in metric.metric.outcomes.values()} == {2}
    ((id_, reason),) = found.not_scored
    assert id_ == f"{NAMES[2]}/cut.mp4"
    assert "cannot be opened" in reason
    assert "cut.mp4" in (tmp_path / "out" / "report.html").read_text()


def test_data_with_splits_inside_and_list_files(run, world, tmp_path):
    path, _ = run
    train = evaluate_run(path, EvalOptions(data=world, split="train", device="cpu"))
    assert train.num_total == len(list((world / "train").rglob("*.mp4")))
    videos = sorted((world / "val").rglob("*.mp4"))[:2]
    lines = [f"{v.relative_to(world / 'val')} {v.parent.name}\n" for v in videos]
    (world / "val" / "some.txt").write_text("".join(lines))
    assert evaluate_run(path, EvalOptions(data=world / "val" / "some.txt", device="cpu")).num_scored == 2


@pytest.mark.parametrize(
    ("trained", "key", "value"),
    [
        ({"name": "classify", "multi_label": False}, "multi_label", True),
        ({"name": "localize_bsn", "stage": "tem"}, "stage", "pem"),
        ({"name": "ground", "encoder": {"name": "minilm"}, "encoder_sha256": "ab"}, "encoder_sha256", None),
    ],
)
def test_what_the_weights_have_learned_stays(tmp_path, trained, key, value):
    saved = Checkpoint(tmp_path / "best.pt", {"task": trained}, ("a",), {}, step=1, resume={})
    assert module._with_task_args(saved, {key: trained[key]}).record["task"] == trained
    with pytest.raises(
        ConfigError, match=rf"task\.{key}: is {value!r} but the weights were trained with '?{trained[key]}"
    ):
        module._with_task_args(saved, {key: value})


def test_where_reports_go(run, world):
    path, _ = run
    changes = {"task_args": {"average": "prob"}, "data_args": {"path": "/" + "a/" * 50 + "b.txt", "fps": 25}}
    named = report_dir(path, EvalOptions(input_args={"num_frames": 3}, **changes)).name
    assert named.startswith("val-num_frames=3-average=prob-") and named.endswith("_a_b.txt-fps=25")
    assert len(report_dir(path, EvalOptions(input_args={str(i): "x" * 99 for i in range(9)})).name) == 200
    assert report_dir(path) == path / "eval" / "val"
    assert report_dir(path / "best.pt", EvalOptions(views="10x3", split="test")) == path / "eval" / "test-10x3"
    assert report_dir(path, EvalOptions(data=world)) == path / "eval" / "world"
    assert (
        report_dir(path, EvalOptions(data=world / "val.txt")) == path / "eval" / "world-val"
    )  # not the run's own "val"
    assert report_dir(path, EvalOptions(data=world, split="train", views="1x3")) == path / "eval" / "world-train-1x3"


def test_what_is_not_there_is_named(run, tmp_path):
    path, _ = run
    with pytest.raises(ConfigError, match=r"its recipe has no data\.test, only val; choose another --split"):
        evaluate_run(path, EvalOptions(split="test", device="cpu"))
    with pytest.raises(DataError, match="nowhere: there is no such folder or list file"):
        evaluate_run(path, EvalOptions(data=tmp_path / "nowhere", device="cpu"))
    with pytest.raises(WeightsError, match="there is no such file or run directory"):
        evaluate_run(tmp_path / "no_run", EvalOptions(device="cpu"))
    with pytest.raises(ConfigError, match="views: is '10'; write clips x crops"):
        evaluate_run(path, EvalOptions(views="10", device="cpu"))


def test_a_reason_that_many_samples_share_is_told_once(run, monkeypatch):
    path, _ = run
    lost = [(f"v#{i}", "features: no features of video 'v'") for i in range(12)]
    scored = module.evaluate
    monkeypatch.setattr(module, "evaluate", lambda *a, **k: dataclasses.replace(scored(*a, **k), not_scored=lost))
    app = typer.Typer()
    app.command()(evaluate_command)
    found = CliRunner().invoke(app, [str(path), "--device", "cpu"], catch_exceptions=False, env={"COLUMNS": "200"})
    assert found.stdout.count("no features of") == 1
    assert "not scored: v#0, v#1, v#2 and 9 more: features: no features of video 'v'" in found.stdout
    page = (path / "eval/val/report.html").read_text(encoding="utf-8")
    assert page.count("no features of video") == 1 and "v#0, v#1, v#2, v#3, v#4 and 7 more" in page
    assert len(json.loads((path / "eval/val/report.json").read_text(encoding="utf-8"))["not_scored"]) == 12


def test_the_command_prints_scores_and_where_the_report_is(run):
    path, _ = run
    app = typer.Typer()
    app.command()(evaluate_command)
    found = CliRunner().invoke(app, [str(path), "--device", "cpu"])
    assert found.exit_code == 0, found.output
    assert "top1" in found.output and "100.00" in found.output
    assert str(path / "eval" / "val" / "report.html") in found.output
    as_json = CliRunner().invoke(app, [str(path), "--device", "cpu", "--json"])
    summary = json.loads(as_json.stdout)
    assert summary["scores"]["top1"] == 100
    low, high = summary["intervals"]["top1"]
    assert low < 90 and high == 100
    assert summary["notes"] and f"note: {summary['notes'][0]}" in found.output
    grouped = CliRunner().invoke(app, [str(path), "--device", "cpu", "--json", "--group-by", "."])
    assert json.loads(grouped.stdout)["intervals"]["top1"][0] < low
    assert summary["num_scored"] == summary["num_total"]


CLIPS = [
    ClipRecord("run/cam1_0001", Path("a.mp4"), extra={"camera": 1}),
    ClipRecord("run/cam1_0002", Path("b.mp4"), extra={"camera": 1}),
    ClipRecord("jump/cam2_0001", Path("c_cam9.mp4"), extra={"camera": 2}),
]


@pytest.mark.parametrize(
    ("group_by", "groups"),
    [
        ("camera", ["1", "1", "2"]),
        (r"cam\d+", ["cam1", "cam1", "cam2"]),
        (r"/(cam\d+)_(\d+)", ["cam1", "cam1", "cam2"]),
        (r"^[abc]", ["a", "b", "c"]),  # of the file's name
    ],
)
def test_recordings_by_a_column_or_a_pattern(group_by, groups):
    assert list(recordings(CLIPS, group_by).items()) == list(zip((record.id for record in CLIPS), groups, strict=True))


def test_recordings_that_cannot_be_found_are_named():
    with pytest.raises(DataError, match=r"jump/cam2_0001: does not match 'cam1', so its recording is unknown"):
        recordings(CLIPS, "cam1")
    with pytest.raises(ConfigError, match=r"group_by: '\(' is neither a column .*; the data has the columns camera$"):
        recordings(CLIPS, "(")
    with pytest.raises(DataError, match=r"x: has no 'camera'"):
        recordings([*CLIPS, ClipRecord("x", Path("x.mp4"))], "camera")
