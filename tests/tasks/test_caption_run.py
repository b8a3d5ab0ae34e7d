"""From annotations and features to a checkpoint that writes sentences: the whole way of a run, in seconds."""

import json

import numpy as np
import pytest
import yaml

import videozoo
from videozoo.config.recipe import load_recipe
from videozoo.contracts.features import Features
from videozoo.engine.evaluate_run import EvalOptions, evaluate_run
from videozoo.engine.run import train
from videozoo.errors import ConfigError
from videozoo.io.features import write_features

COLOURS = ("red", "green", "blue", "pink")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A captioner of videos that show one colour and then another, six rows of features each."""
    root = tmp_path_factory.mktemp("captions")
    rng = np.random.default_rng(0)
    for split, count in (("train", 96), ("val", 24)):
        content = {}
        for i in range(count):
            first, second = rng.permutation(4)[:2]
            values = 2 * np.eye(4, dtype=np.float32)[[first] * 3 + [second] * 3]
            values += rng.normal(0, 0.3, values.shape).astype(np.float32)
            name = f"{split}{i}"
            write_features(root / "features", name, Features(values, stride_s=1.0, offset_s=0.5, duration_s=6.0))
            sentence = f"{COLOURS[first]}, then {COLOURS[second]}."
            content[name] = {"duration": 6.0, "timestamps": [[0, 6.0]], "sentences": [sentence]}
        (root / f"{split}.json").write_text(json.dumps(content), encoding="utf-8")
    sizes = {"feature_dim": 4, "embed_dim": 16, "encoder_dim": 16, "decoder_dim": 16, "word_dim": 8}
    data = {"name": "activitynet_captions", "features": str(root / "features")}
    recipe = {
        "model": {"name": "ets", **sizes},
        "task": {"name": "caption", "beam_size": 2, "max_words": 5, "meteor": False, "dense_ious": [0.5]},
        "input": {"name": "captions", "feature_dim": 4},
        "data": {split: {**data, "path": str(root / f"{split}.json")} for split in ("train", "val")},
        "optim": {"name": "adam", "lr": 0.02},
        "schedule": {"name": "inverse_sqrt", "warmup": "10st"},
        "fit": {"duration": "12ep", "batch_size": 12, "eval_every": "12ep", "tensorboard": False, "device": "cpu"},
        "seed": 0,
    }
    path = root / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    result = train(load_recipe(path, []), root / "run", progress=False)
    return root, result


def test_it_tells_both_in_their_order(run):
    root, _ = run
    found = evaluate_run(root / "run", EvalOptions(device="cpu"))
    assert found.num_scored == 24
    assert found.scores["exact"] >= 90 and found.scores["bleu1"] > 95
    assert found.scores["dense_bleu1"] > 95
    assert (root / "run/eval/val/report.html").is_file()


def test_what_a_finished_run_leaves_free(run):
    root, _ = run
    told = json.loads((root / "val.json").read_text(encoding="utf-8"))
    (root / "few.json").write_text(json.dumps(dict(list(told.items())[:5])), encoding="utf-8")
    changes = {"task_args": {"beam_size": 1, "dense_ious": []}, "data_args": {"path": str(root / "few.json")}}
    found = evaluate_run(root / "run", EvalOptions(device="cpu", **changes))
    assert found.num_scored == 5 and "dense_bleu1" not in found.scores
    (report,) = (root / "run/eval").glob("val-beam_size=1-dense_ious=*-path=*few.json/report.json")
    protocol = json.loads(report.read_text(encoding="utf-8"))["protocol"]
    assert protocol["task"]["beam_size"] == 1 and protocol["task"]["max_words"] == 5  # the rest is the recipe's
    assert protocol["data"]["path"].endswith("few.json") and protocol["data"]["features"].endswith("features")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task_args": {"beam_sze": 5}}, r"task\.beam_sze: caption takes no such argument; did you mean 'beam_size'\?"),
        ({"task_args": {"beam_size": 0}}, r"task\.beam_size: is 0; it must be at least 1"),
        ({"task_args": {"beam_size": "wide"}}, r"task\.beam_size: input should be a valid integer.*got 'wide'"),
        ({"task_args": {"label_smoothing": 0.1}}, r"task\.label_smoothing: affects training only; leave it out"),
        (
            {"task_args": {"name": "tag"}},
            r"task\.name: is 'tag' but the weights were trained with 'caption'; train again",
        ),
        (
            {"input_args": {"feature_dim": 8}},
            r"input\.feature_dim: is 8 but the weights have the shape for 4; train again",
        ),
        ({"data_args": {"pth": "x"}}, r"data\.val\.pth: activitynet_captions takes no .* did you mean 'path'\?"),
        (
            {"data_args": {"class_names": ["a"]}},
            r"data\.val\.class_names: cannot change after training; the weights have 8",
        ),
        ({"data_args": {"name": "msrvt"}}, r"data\.val\.name: data set: there is no 'msrvt'; did you mean 'msr"),
        ({"data_args": {"name": "msrvtt"}}, r"data\.val\.path: required by msrvtt but missing from the recipe"),
        ({"split": "test", "data_args": {"path": "x"}}, r"has no data\.test, only train, val; choose another --split"),
        (
            {"data": "run", "data_args": {"name": "x"}},
            r"data\.val\.name: --data also sets the format; give data\.val\.p",
        ),
    ],
)
def test_what_it_does_not_leave_free(run, monkeypatch, changes, message):
    root, _ = run
    monkeypatch.chdir(root)
    with pytest.raises(ConfigError, match=message):
        evaluate_run(root / "run", EvalOptions(device="cpu", **changes))


def test_a_split_that_the_recipe_does_not_have(run):
    root, _ = run
    section = {"name": "activitynet_captions", "path": str(root / "val.json"), "features": str(root / "features")}
    assert evaluate_run(root / "run", EvalOptions(device="cpu", split="test", data_args=section)).num_scored == 24


def test_the_checkpoint_writes_sentences_of_features(run):
    root, _ = run
    values = 2 * np.eye(4, dtype=np.float32)[[3] * 3 + [0] * 3]
    predictor = videozoo.load(root / "run", device="cpu")
    assert predictor.class_names[:3] == ("<s>", "<e>", "<unk>")
    caption = predictor(Features(values, stride_s=1.0, offset_s=0.5, duration_s=6.0)).answer
    assert caption.text == "pink then red"
    assert caption.times_s == (0.5, 1.5, 2.5, 3.5, 4.5, 5.5) and caption.attention.shape == (3, 6)
    looked = caption.attention[[0, 2]] @ np.array([0, 0, 0, 1, 1, 1])  # share that lies in the second half
    assert looked[0] < looked[1]
