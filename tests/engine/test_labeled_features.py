"""Runs on anyone's features: what a run takes from its data, training, prediction, evaluation and export."""

import dataclasses

import numpy as np
import pytest
import yaml

from videozoo.config.recipe import load_recipe
from videozoo.engine.evaluate_run import EvalOptions, evaluate_run
from videozoo.engine.resolve import resolve
from videozoo.engine.run import train
from videozoo.errors import ConfigError
from videozoo.loading import load

NUM_PER_CLASS, WIDTH, OFFSET = 10, 5, 300.0
FAST = ["fit.duration=6ep", "fit.tensorboard=false", "fit.device=cpu"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Three classes, told apart by the mean of one number; far from 0, of very different deviations."""
    root = tmp_path_factory.mktemp("own") / "f"
    rng = np.random.default_rng(0)
    for label, name in enumerate(("jump", "run", "walk")):
        (root / name).mkdir(parents=True)
        for i in range(NUM_PER_CLASS):
            rows = rng.normal(size=(rng.integers(3, 9), WIDTH))
            rows[:, label] += 3
            np.save(root / name / f"{i}.npy", OFFSET + rows * [1, 1e-3, 1e3, 1, 1])
    return root


@pytest.fixture(scope="module")
def run(place, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "run"
    result = train(load_recipe(place, [*FAST, "optim.lr=0.03"]), out, progress=False)
    return out, result


def test_a_run_takes_widths_and_moments_from_its_training_data(place):
    resolved = resolve(load_recipe(place))
    rows = np.concatenate([record.read().arrays[0] for record in resolved.train.records]).astype(np.float64)
    given = resolved.record["input"]
    assert (given["feature_dims"], given["normalize"], resolved.record["model"]["feature_dims"]) == ([5], True, [5])
    np.testing.assert_allclose(given["mean"], rows.mean(0), rtol=1e-6)
    np.testing.assert_allclose(given["std"], rows.std(0), rtol=1e-6)


def test_normalization_is_a_choice(place):
    resolved = resolve(load_recipe(place, ["input.normalize=false"]))
    assert resolved.record["input"]["mean"] == []


def test_it_learns_and_its_record_is_a_recipe(place, run, tmp_path):
    out, result = run
    assert result.best_score == 100.0 and "top1" in result.scores
    again = load_recipe(out / "recipe.yaml")
    assert again.section("input")["mean"] == yaml.safe_load((out / "recipe.yaml").read_text())["input"]["mean"]
    assert train(again, tmp_path / "again", progress=False).scores == result.scores
    assert train(load_recipe(place, [*FAST, "optim.lr=0.03"]), out, resume=True, progress=False).step == result.step


def test_evaluation(place, run):
    out, _ = run
    own = evaluate_run(out, EvalOptions(device="cpu"))
    everything = evaluate_run(out, EvalOptions(device="cpu", data=place))
    assert (own.num_scored, everything.num_scored) == (6, 3 * NUM_PER_CLASS)


def test_prediction_and_export_normalize_as_training_did(place, run, tmp_path):
    pytest.importorskip("onnxruntime")
    from videozoo.export.export import export_network

    out, _ = run
    reference, exported = load(out, device="cpu"), load(export_network(out, tmp_path / "exported"))
    for label, name in enumerate(("jump", "run", "walk")):
        path = place / name / "3.npy"
        scores = reference(path).labels.scores
        assert scores.argmax() == label
        np.testing.assert_allclose(exported(path).labels.scores, scores, atol=1e-5)


def test_the_other_task_and_several_labels(place, tmp_path):
    lines = [f"{name}/{i}.npy {name}\n" for name in ("jump", "run", "walk") for i in range(NUM_PER_CLASS)]
    for split in ("train", "val"):
        (tmp_path / f"{split}.txt").write_text("".join(lines[split == "val" :: 2]))
    data = [
        f"data.{split}.{key}"
        for split in ("train", "val")
        for key in (f"path={tmp_path}/{split}.txt", f"features={place}")
    ]
    tagged = train(load_recipe("features", [*FAST, *data, "task={name: tag}"]), tmp_path / "tag", progress=False)
    assert set(tagged.scores) >= {"gap", "hit1"}
    multi = [f"data.{split}.multi_label=true" for split in ("train", "val")]
    found = train(load_recipe("features", [*FAST, *data, *multi]), tmp_path / "multi", progress=False)
    assert "map" in found.scores and "top1" not in found.scores


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model.name=tsm"], r"model 'tsm' does not label the features of input 'features' for task 'classify'; use"),
        (["model.name=bmn"], r"model 'bmn' does not label the features of input 'features' for task 'classify'; use"),
        (["input={name: clip}"], r"model 'mean_pool' does not label the clips of input 'clip' for task 'classify'"),
        (["task.mixup_alpha=0.2"], r"task\.mixup_alpha, task\.cutmix_alpha: mix clips, but this input is features"),
    ],
)
def test_parts_that_do_not_fit(place, tmp_path, overrides, message):
    with pytest.raises(ConfigError, match=message):
        train(load_recipe(place, [*FAST, *overrides]), tmp_path / "run", progress=False)


def test_a_second_student_and_a_teacher(place, run, tmp_path):
    out, _ = run
    for args in ("mutual={weight: 1.0}", f"distill={{teacher: {out}}}"):
        recipe = load_recipe(place, [*FAST, "fit.duration=1st", f"task.{args}"])
        assert train(recipe, tmp_path / args[:6], progress=False).step == 1
    other = dataclasses.replace(recipe, data={**recipe.data, "train": {**recipe.data["train"], "val_share": 0.5}})
    with pytest.raises(ConfigError, match=r"was trained on different features \(teacher, here\): input\.mean: \("):
        train(other, tmp_path / "other", progress=False)
