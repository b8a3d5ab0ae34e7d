"""Runs with unequal classes, a teacher or a second student: switched on by a key, resumed exactly."""

import pytest
import torch
import yaml

from tests.engine.test_resume import logged, same
from tests.engine.test_run import RECIPE, run
from videozoo.data.motion import make_clips
from videozoo.engine.trainer import Trainer
from videozoo.errors import WeightsError
from videozoo.weights import checkpoint


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A small world, its recipe, and a run to learn from."""
    place = tmp_path_factory.mktemp("together")
    make_clips(place / "world", num_train=8, num_val=4, size_px=32, num_classes=4)
    (place / "tiny.yaml").write_text(RECIPE.format(world=place / "world"))
    run(place / "tiny.yaml", place / "teacher", "fit.duration=1st")
    return place


def run_killed_at_3(recipe, out, *overrides):
    train_step = Trainer._train_step

    def dies(self, *args):
        if self.step == 3:
            raise KeyboardInterrupt
        return train_step(self, *args)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Trainer, "_train_step", dies)
        run(recipe, out, *overrides)


@pytest.mark.parametrize(
    "overrides",
    [
        ("task.distill.teacher={place}/teacher", "task.distill.temperature=2"),
        ("task.mutual.weight=1", "fit.ema_decay=0.9"),
        ("task.loss=focal", "task.class_weights=balanced", "fit.sampler=balanced"),
    ],
    ids=["distill", "mutual", "balanced"],
)
def test_resume_is_exact(place, tmp_path, overrides):
    overrides = [text.format(place=place) for text in overrides]
    whole, cut, recipe = tmp_path / "whole", tmp_path / "cut", place / "tiny.yaml"
    run(recipe, whole, *overrides)
    run_killed_at_3(recipe, cut, *overrides)
    run(recipe, cut, *overrides, "fit.num_workers=1", resume=True)
    a, b = (checkpoint.read(out / "last.pt") for out in (whole, cut))
    assert same(dict(a.model), dict(b.model)) and same(dict(a.resume), dict(b.resume))
    assert logged(whole) == logged(cut)


def test_the_published_model_is_the_student_alone(place, tmp_path):
    run(place / "tiny.yaml", tmp_path / "run", "task.mutual.weight=1", "fit.duration=1st")
    best, last = (checkpoint.read(tmp_path / "run" / name) for name in ("best.pt", "last.pt"))
    assert best.model.keys() == checkpoint.read(place / "teacher").model.keys()
    kept = {key.removeprefix("peer.") for key in last.resume["task"]}
    assert kept == last.model.keys()  # the second student, to go on with
    assert any(not torch.equal(last.model[key], last.resume["task"][f"peer.{key}"]) for key in kept)


def test_the_record_holds_the_weights_that_balance(place, tmp_path):
    run(place / "tiny.yaml", tmp_path / "run", "task.class_weights=balanced", "fit.duration=1st")
    record = yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())
    assert record["task"]["class_weights"] == [1.0] * 4


def test_a_teacher_that_is_not_there(place, tmp_path):
    with pytest.raises(WeightsError, match=r"/nowhere: there is no such file or run directory"):
        run(place / "tiny.yaml", tmp_path / "run", "task.distill.teacher=/nowhere")
    assert not (tmp_path / "run").exists()
