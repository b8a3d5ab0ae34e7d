"""From a recipe to a run directory, on a few made videos."""

import json
import shutil
import sys

import pytest
import torch
import yaml
from typer.testing import CliRunner

from videozoo.cli.main import app
from videozoo.config.recipe import load_recipe
from videozoo.data.motion import make_clips
from videozoo.engine.log import read_log
from videozoo.engine.run import train
from videozoo.engine.same_run import differences
from videozoo.errors import ConfigError, DataError, MissingPackageError, TrainingError, VideoZooError, WeightsError
from videozoo.weights import checkpoint

RECIPE = """
model: {{name: tsm, backbone: resnet18, backbone_args: {{channels: [8, 8, 16, 16], stem_width: 8}}}}
input: {{num_frames: 4, short_side_px: 32, crop_px: 32}}
data:
  train: {{name: clip_folder, path: {world}/train}}
  val: {{name: clip_folder, path: {world}/val}}
optim: {{lr: 0.01}}
task: {{name: classify, mixup_alpha: 0.2}}
fit:
  {{duration: 4st, batch_size: 4, num_workers: 0, eval_every: 2st, save_every: 1st, log_every: 1,
    tensorboard: false}}
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    out = tmp_path_factory.mktemp("world")
    make_clips(out, num_train=8, num_val=4, size_px=32, num_classes=4)
    return out


@pytest.fixture
def recipe(world, tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(RECIPE.format(world=world))
    return path


def run(recipe, out, *overrides, **args):
    return train(load_recipe(recipe, overrides), out, progress=False, **args)


def test_a_run_leaves_its_directory(recipe, tmp_path):
    result = run(recipe, tmp_path / "run")
    assert (result.step, result.total_steps, result.stopped_by) == (4, 4, None)
    assert "top1" in result.scores and result.scores["num_scored"] == 4
    files = sorted(p.name for p in (tmp_path / "run").iterdir())
    assert files == ["best.pt", "last.pt", "log.jsonl", "recipe.yaml"]
    record = yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())
    assert record["model"]["num_segments"] == 4  # from the input
    assert record["fit"]["duration"] == "4st" and record["optim"]["momentum"] == 0.9
    saved = checkpoint.read(tmp_path / "run" / "last.pt")
    assert saved.record == record and len(saved.class_names) == 4
    assert [line["step"] for line in read_log(tmp_path / "run" / "log.jsonl")] == [1, 2, 2, 3, 4, 4]


@pytest.mark.parametrize(("eval_views", "num_views", "num_videos"), [("null", 6, 1), ("1x3", 3, 2)])
def test_evaluation_while_training_has_views_of_its_own(
    recipe, tmp_path, monkeypatch, eval_views, num_views, num_videos
):
    from videozoo.tasks.classify import Classify

    seen, predict = [], Classify.predict
    monkeypatch.setattr(
        Classify, "predict", lambda task, batch: seen.append(batch["video"].shape) or predict(task, batch)
    )
    run(recipe, tmp_path / "run", "input.views=2x3", "fit.batch_size=6", f"fit.eval_views={eval_views}")
    assert {tuple(shape[:2]) for shape in seen} == {(num_videos, num_views)}


def test_views_that_there_are_not(recipe, tmp_path):
    with pytest.raises(ConfigError, match=r"fit\.eval_views: is 'ten'; write clips x crops"):
        run(recipe, tmp_path / "run", "fit.eval_views=ten")


def test_the_input_says_how_many_frames_a_segment_has(recipe):
    from videozoo.engine.sizes import model_sizes
    from videozoo.transforms.input import ClipInput

    path = recipe.with_name("stnet.yaml")
    path.write_text(recipe.read_text().replace("name: tsm", "name: stnet"))
    spec = ClipInput(num_frames=6, segment_frames=3, crop_px=32, short_side_px=32)
    assert model_sizes(load_recipe(path), spec) == {"segment_frames": 3, "num_segments": 2, "crop_px": 32}
    said = load_recipe(path, ["model.segment_frames=2"])
    with pytest.raises(ConfigError, match=r"model\.segment_frames: is 2 but input\.segment_frames is 3; set it in the"):
        model_sizes(said, spec)


@pytest.mark.parametrize(
    ("name", "steps", "expected"),
    [
        ("motion/bmn", [], {"feature_dim": 128, "num_snippets": 80}),
        ("motion/bsn", ["tem", "pem"], {"feature_dim": 128, "num_snippets": 80}),
        ("motion/tsm", [], {"num_segments": 8}),
    ],
)
def test_show_prints_the_sizes_of_the_run(name, steps, expected):
    shown = CliRunner().invoke(app, ["show", name])
    assert shown.exit_code == 0
    record = yaml.safe_load(shown.output)
    assert list(record.get("steps", {})) == steps
    for one in record["steps"].values() if steps else [record]:
        assert one["model"].items() >= expected.items()


def test_the_record_of_a_run_is_a_recipe_of_it(recipe, tmp_path):
    run(recipe, tmp_path / "a")
    run(tmp_path / "a" / "recipe.yaml", tmp_path / "b")
    a, b = (checkpoint.read(tmp_path / name / "last.pt") for name in "ab")
    assert all(torch.equal(a.model[k], b.model[k]) for k in a.model)


def test_resume_of_video_data_is_exact(recipe, tmp_path):
    run(recipe, tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    run(recipe, tmp_path / "half", "fit.duration=2st")  # another horizon, the same start
    with pytest.raises(ConfigError, match=r"differing \(saved, now\): fit\.duration: '2st', '4st'; give"):
        run(recipe, tmp_path / "half", resume=True)

    from videozoo.engine.trainer import Trainer

    train_step = Trainer._train_step

    def dies(self, *args):
        if self.step == 3:
            raise KeyboardInterrupt
        return train_step(self, *args)

    shutil.rmtree(tmp_path / "cut")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Trainer, "_train_step", dies)
        run(recipe, tmp_path / "cut")
    run(recipe, tmp_path / "cut", "fit.num_workers=1", resume=True)
    a, b = (checkpoint.read(tmp_path / name / "last.pt") for name in ("whole", "cut"))
    assert all(torch.equal(a.model[k], b.model[k]) for k in a.model)
    losses = [[x.get("loss") for x in read_log(tmp_path / n / "log.jsonl")] for n in ("whole", "cut")]
    assert losses[0] == losses[1]


@pytest.mark.parametrize(("now", "expected"), [(True, None), (False, r"fit\.channels_last: True, False")])
def test_an_option_that_has_come_since_was_at_its_default(recipe, tmp_path, now, expected):
    run(recipe, tmp_path / "run")
    saved = checkpoint.read(tmp_path / "run" / "last.pt")
    record = {**saved.record, "fit": {k: v for k, v in saved.record["fit"].items() if k != "channels_last"}}
    payload = {**saved.resume, "class_names": list(saved.class_names), "model": dict(saved.model), "step": saved.step}
    checkpoint.write(tmp_path / "run" / "last.pt", {**payload, "record": record})
    override = f"fit.channels_last={str(now).lower()}"
    if expected is None:
        assert run(recipe, tmp_path / "run", override, resume=True).step == 4
    else:
        with pytest.raises(ConfigError, match=expected):
            run(recipe, tmp_path / "run", override, resume=True)


def test_a_directory_in_use_is_not_touched(recipe, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"run: is not empty; continue that run with --resume"):
        run(recipe, tmp_path / "run")
    with pytest.raises(ConfigError, match=r"tiny\.yaml: is a file; give a folder"):
        run(recipe, recipe)


def test_resume_before_the_first_checkpoint_starts(recipe, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "log.jsonl").write_text('{"step": 1, "loss": 7}\n')
    assert run(recipe, tmp_path / "run", resume=True).step == 4
    assert read_log(tmp_path / "run" / "log.jsonl")[0]["loss"] != 7


def test_init_drops_another_head_and_says_so(recipe, world, tmp_path, capsys):
    run(recipe, tmp_path / "four")
    fewer = [f"data.{split}.path={tmp_path / 'two' / split}" for split in ("train", "val")]
    for split in ("train", "val"):
        for folder in sorted((world / split).iterdir())[:2]:
            shutil.copytree(folder, tmp_path / "two" / split / folder.name)
    small = ["fit.batch_size=2", "optim.lr=1e-9", "fit.duration=1st"]
    train(load_recipe(recipe, [*fewer, *small]), tmp_path / "run", init=tmp_path / "four" / "last.pt")
    out = capsys.readouterr().err
    assert "starting with the weights of" in out
    assert "left out, because the number of classes changed from 4 to 2: " in out and "weight" in out
    old, new = (checkpoint.read(tmp_path / name / "last.pt").model for name in ("four", "run"))
    kept = [k for k in old if old[k].shape == new[k].shape and "running" not in k and "num_batches" not in k]
    assert len(kept) == len([k for k in old if "running" not in k and "num_batches" not in k]) - 2
    assert all(torch.allclose(old[k], new[k], atol=1e-6) for k in kept)


def test_nothing_is_fetched_that_other_weights_replace(recipe, tmp_path, monkeypatch):
    def fetched(*args, **kwargs):
        raise AssertionError("fetched")

    run(recipe, tmp_path / "one")
    monkeypatch.setattr("timm.models.load_pretrained", fetched)
    pretrained = "model.pretrained=imagenet"
    assert run(recipe, tmp_path / "two", pretrained, init=tmp_path / "one").step == 4
    assert checkpoint.read(tmp_path / "two").section("model")["pretrained"] == "imagenet"
    assert run(recipe, tmp_path / "two", pretrained, resume=True).step == 4
    with pytest.raises(WeightsError, match=r"add model\.pretrained=null"):
        run(recipe, tmp_path / "three", pretrained)


def test_init_from_another_model(recipe, tmp_path):
    run(recipe, tmp_path / "one")
    wide = "model.backbone_args={channels: [8, 8, 16, 24], stem_width: 8}"
    with pytest.raises(
        WeightsError,
        match=r"the weights of a different model \(tsm\): \d+ with a different shape: .* more; .*backbone is",
    ):
        run(recipe, tmp_path / "two", wide, init=tmp_path / "one")


def test_notes_of_the_data_are_kept_and_reported(recipe, world, tmp_path, caplog):
    from videozoo.engine.evaluate_run import EvalOptions, evaluate_run

    run(recipe, tmp_path / "run", f"data.val.path={world / 'train'}")
    note = "8 of 8 validation samples are also training samples: "
    assert note in caplog.text
    record = yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())
    assert [list(record["notes"]), record["notes"]["val"][0].startswith(note)] == [["val"], True]
    assert run(recipe, tmp_path / "run", f"data.val.path={world / 'train'}", resume=True).step == 4
    assert "notes" not in load_recipe(tmp_path / "run" / "recipe.yaml").to_dict()
    caplog.clear()
    evaluate_run(tmp_path / "run")
    assert f"data.val: {note}" in caplog.text
    assert note in (tmp_path / "run" / "eval" / "val" / "report.html").read_text()
    assert evaluate_run(tmp_path / "run", EvalOptions(data=world / "val")).protocol["data notes"] == []


@pytest.mark.parametrize("number", [3, 7])
def test_a_number_of_classes_that_the_data_do_not_have(recipe, tmp_path, number):
    match = rf"model\.num_classes: is {number}, but the data have 4 classes; leave it out, or name all classes in"
    with pytest.raises(ConfigError, match=match):
        run(recipe, tmp_path / "run", f"model.num_classes={number}")
    assert not (tmp_path / "run").exists()
    assert run(recipe, tmp_path / "run", "model.num_classes=4").step == 4


def test_a_single_class(recipe, world, tmp_path):
    for split in ("train", "val"):
        shutil.copytree(world / split, tmp_path / "high" / split / "motions")
    paths = [f"data.{split}.path={tmp_path / 'high' / split}" for split in ("train", "val")]
    with pytest.raises(DataError, match=r"train: has one class \(motions\); .*motions look like classes \(.*\); give"):
        run(recipe, tmp_path / "run", *paths)


def test_a_broken_training_video_is_replaced_and_listed(recipe, world, tmp_path):
    shutil.copytree(world / "train", tmp_path / "train")
    broken = sorted((tmp_path / "train").rglob("*.mp4"))[0]
    broken.write_bytes(broken.read_bytes()[:200])
    path = f"data.train.path={tmp_path / 'train'}"
    assert run(recipe, tmp_path / "run", path, "fit.max_bad_share=0.2").num_bad == 1
    assert broken.name in (tmp_path / "run" / "bad_files.txt").read_text()
    with pytest.raises(TrainingError, match=r"1 of 8 training samples cannot be used"):
        run(recipe, tmp_path / "strict", path, "fit.max_bad_share=0")


@pytest.mark.parametrize(
    ("override", "error", "message"),
    [
        ("data.train.path=/nowhere", DataError, r"/nowhere: this folder does not exist"),
        ("fit.batch_size=9", ConfigError, r"fit\.batch_size: 9 is more than the training data has \(8 samples\)"),
        ("fit.device=gpu", ConfigError, r"fit\.device: there is no device 'gpu'; write auto, cpu"),
        ("schedule.name=cosin", VideoZooError, r"there is no 'cosin'; did you mean 'cosine'\?"),
    ],
)
def test_mistakes_are_named(recipe, tmp_path, override, error, message):
    with pytest.raises(error, match=message):
        run(recipe, tmp_path / "run", override)
    assert not (tmp_path / "run").exists()


def test_what_fails_before_its_first_step_leaves_nothing(recipe, world, tmp_path):
    for split in ("train", "val"):
        shutil.copytree(world / split, tmp_path / "data" / split)
    for video in (tmp_path / "data/train").rglob("*.mp4"):
        video.write_bytes(b"no video")
    broken = f"data.train.path={tmp_path / 'data/train'}"
    with pytest.raises(TrainingError, match="samples in a row cannot be used"):
        run(recipe, tmp_path / "run", broken, "fit.tensorboard=true")
    assert not (tmp_path / "run").exists()
    with pytest.raises(TrainingError, match="step 1: loss nan"):
        run(recipe, tmp_path / "run", "input.std=[.nan, 1, 1]")
    assert not (tmp_path / "run").exists()
    with pytest.MonkeyPatch.context() as patch, pytest.raises(MissingPackageError, match=r"fit\.loggers: wandb"):
        patch.setitem(sys.modules, "wandb", None)
        run(recipe, tmp_path / "run", "fit.loggers=[wandb]")
    assert not (tmp_path / "run").exists()
    assert run(recipe, tmp_path / "run").step == 4  # nothing is in its way


def test_what_is_resumed_is_never_removed(recipe, world, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/log.jsonl").write_text('{"step": 1, "loss": 7}\n')
    with pytest.raises(TrainingError, match="step 1: loss nan"):
        run(recipe, tmp_path / "run", "input.std=[.nan, 1, 1]", resume=True)
    assert (tmp_path / "run/log.jsonl").is_file()


def test_differences():
    a = {"optim": {"lr": 0.1, "name": "sgd"}, "seed": 0}
    assert differences(a, {"optim": {"lr": 0.5, "name": "sgd", "momentum": 0.9}, "seed": 0}) == {
        "optim.lr": (0.1, 0.5),
        "optim.momentum": (None, 0.9),
    }


def test_the_command(recipe, tmp_path):
    arguments = ["train", str(recipe), "fit.duration=1st", "--out", str(tmp_path / "run")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert f"{tmp_path / 'run'}: trained 1 step, best " in result.output
    assert json.loads((tmp_path / "run" / "log.jsonl").read_text().splitlines()[0])["step"] == 1


@pytest.mark.parametrize(("narrow", "last"), [(True, False), (False, True)])
def test_channels_last_spares_models_that_it_would_break(narrow, last):
    from tests.engine.toy import ToyModel, ToyTask
    from videozoo.engine.distributed import World
    from videozoo.engine.options import Fit
    from videozoo.engine.run import _prepare_for_device

    model = ToyModel()
    model.shortcut = torch.nn.Conv2d(4 if narrow else 8, 8, 1, stride=2)
    _prepare_for_device(ToyTask(model, "abc"), Fit(channels_last=True), World())
    assert model.conv.weight.is_contiguous(memory_format=torch.channels_last) == last
