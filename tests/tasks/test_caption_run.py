"""From annotations and features to a checkpoint that writes sentences: the whole way of a run, in seconds."""

import json

import numpy as np
import pytest
import yaml

import videozoo
from videozoo.config.recipe import load_recipe
from videozoo.engine.evaluate_run import evaluate_run
from videozoo.engine.run import train
from videozoo.io.features import Features, write_features

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
    found = evaluate_run(root / "run", device="cpu")
    assert found.num_scored == 24
    assert found.scores["exact"] >= 90 and found.scores["bleu1"] > 95
    assert found.scores["dense_bleu1"] > 95
    assert (root / "run/eval/val/report.html").is_file()


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
