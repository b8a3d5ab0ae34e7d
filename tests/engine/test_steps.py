"""Recipes of steps: run in their order, taken up between and inside of them, used like one run."""

import pytest
import torch
import yaml
from typer.testing import CliRunner

from tests.engine.test_distributed import finish, torchrun
from tests.tasks.made_segments import make_segments
from videozoo.cli.main import app
from videozoo.config.recipe import load_recipe
from videozoo.engine.evaluate_run import evaluate_run
from videozoo.engine.steps import train
from videozoo.engine.trainer import Trainer
from videozoo.errors import ConfigError
from videozoo.weights import checkpoint

RECIPE = {
    "model": {"name": "bsn", "max_duration": 10, "hidden_dim": 8},
    "input": {"name": "snippets", "num_snippets": 20, "feature_dim": 4},
    "fit": {"duration": "2ep", "batch_size": 4, "num_workers": 0, "tensorboard": False, "save_every": "1st"},
    "optim": {"name": "adam", "lr": 0.01},
    "steps": {
        "tem": {"task": {"name": "localize_bsn", "stage": "tem"}},
        "pem": {"init": "tem", "task": {"name": "localize_bsn", "stage": "pem"}, "fit": {"duration": "3ep"}},
    },
}


class Killed(BaseException):
    pass


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("steps")
    data = make_segments(folder)
    splits = {"train": {**data, "subset": "training"}, "val": {**data, "subset": "validation"}}
    path = folder / "bsn.yaml"
    path.write_text(yaml.safe_dump({**RECIPE, "data": splits}, sort_keys=False))
    return path


def run(recipe, out, **args):
    return train(load_recipe(recipe), out, progress=False, **args)


def weights(out):
    return checkpoint.read(out).model


@pytest.fixture(scope="module")
def whole(recipe, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "run"
    result = run(recipe, out)
    assert (result.out_dir, result.step, result.stopped_by) == (out / "pem", 6, None)
    return out


def test_the_last_step_starts_with_what_the_first_learnt(whole):
    tem, pem = (checkpoint.read(whole / name).model for name in ("tem", "pem"))
    assert all(torch.equal(tem[name], pem[name]) for name in tem if name.startswith("tem."))
    assert not all(torch.equal(tem[name], pem[name]) for name in tem if name.startswith("pem."))


def test_the_whole_is_used_like_one_run(whole):
    assert weights(whole).keys() == weights(whole / "pem").keys()
    found = evaluate_run(whole)
    assert found.num_scored == 4 and found.scores["auc"] > 0


@pytest.mark.parametrize("killed_at", [1, 4, 6, 7])  # inside tem, between, inside pem; steps count on over both
def test_killed_and_resumed_is_undisturbed(recipe, whole, tmp_path, monkeypatch, killed_at):
    train_step, done = Trainer._train_step, []

    def dies(trainer, *args):
        if len(done) == killed_at:
            raise Killed
        done.append(trainer.step)
        return train_step(trainer, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_train_step", dies)
        with pytest.raises(Killed):
            run(recipe, tmp_path / "run")
    assert not (tmp_path / "run" / "best.pt").exists()
    run(recipe, tmp_path / "run", resume=True)
    again = weights(tmp_path / "run")
    assert all(torch.equal(value, again[name]) for name, value in weights(whole).items())


def test_a_folder_in_use(recipe, whole):
    with pytest.raises(ConfigError, match=r"run: is not empty; continue that run with --resume"):
        run(recipe, whole)


def test_what_cannot_begin_leaves_nothing(recipe, tmp_path):
    with pytest.raises(ConfigError, match=r"fit\.batch_size: 99"):
        train(load_recipe(recipe, ["fit.batch_size=99"]), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.long
def test_two_processes(recipe, whole, tmp_path):
    """Each step joins its processes anew."""
    finish(torchrun("-m", "videozoo", "train", recipe, "--out", tmp_path / "run", "--quiet", "fit.device=cpu"))
    tem, last = weights(tmp_path / "run" / "tem"), weights(tmp_path / "run")
    assert last.keys() == weights(whole).keys()
    assert all(torch.equal(tem[name], last[name]) == name.startswith("tem.") for name in tem)


def test_the_record_is_a_recipe_of_the_steps(whole):
    again = load_recipe(whole / "recipe.yaml")
    assert list(again.steps) == ["tem", "pem"] and again.steps["pem"].init == "tem"
    assert again.resolved() == yaml.safe_load((whole / "recipe.yaml").read_text())


def test_overrides_reach_all_steps_or_one(recipe):
    steps = load_recipe(recipe, ["fit.batch_size=2", "steps.pem.optim.lr=0.5", "steps.tem.fit.duration=7ep"]).steps
    assert [step.section("fit")["batch_size"] for step in steps.values()] == [2, 2]
    assert [step.section("fit")["duration"] for step in steps.values()] == ["7ep", "3ep"]
    assert [step.section("optim")["lr"] for step in steps.values()] == [0.01, 0.5]


def test_an_override_wins_over_what_the_steps_say(recipe):
    steps = load_recipe(recipe, ["fit.duration=9ep"]).steps
    assert [step.section("fit")["duration"] for step in steps.values()] == ["9ep", "9ep"]


def test_another_part_takes_nothing_of_the_common_one(recipe):
    step = load_recipe(recipe, ["steps.pem.optim={name: sgd, lr: 0.1}", "optim.betas=[0.8, 0.9]"]).steps["pem"]
    assert step.section("optim") == {"name": "sgd", "lr": 0.1}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("steps.pem.init=tme", r"steps\.pem\.init: 'tme' is not an earlier step; did you mean 'tem'\?"),
        ("steps.tem.init=pem", r"steps\.tem\.init: 'pem' is not an earlier step"),
        ("steps=[]", r"steps: should be a mapping `name: \{section: \.\.\.\}`; got \[\]"),
        ("steps.pem.modle={}", r"steps\.pem: modle: is not a section of a recipe; did you mean 'model'\?"),
        ("steps.pem.task.stage=tam", r"steps\.pem: task\.stage: .*'tam'"),
    ],
)
def test_mistakes_are_named(recipe, override, message):
    with pytest.raises(ConfigError, match=message):
        load_recipe(recipe, [override]).resolved()


def test_on_the_command_line(recipe, tmp_path):
    args = ["train", str(recipe), "--out", str(tmp_path / "run"), "fit.duration=1ep", "steps.pem.fit.duration=1ep"]
    found = CliRunner().invoke(app, args)
    assert found.exit_code == 0, found.output
    assert (tmp_path / "run" / "best.pt").is_file()
