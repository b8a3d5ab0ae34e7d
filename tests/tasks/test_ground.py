import numpy as np
import pytest
import torch
import yaml

from videozoo.config.recipe import load_recipe
from videozoo.contracts.features import Features
from videozoo.engine.evaluate_run import EvalOptions, evaluate_run
from videozoo.engine.run import train
from videozoo.errors import ConfigError
from videozoo.io.features import write_features
from videozoo.models import create_model
from videozoo.sentences.vocabulary import vocabulary
from videozoo.tasks.build import build_task, task_from_checkpoint
from videozoo.tasks.ground import Ground
from videozoo.transforms.moments import Windows
from videozoo.weights import checkpoint

SENTENCES = ["a red ring grows", "a blue square moves left", "a green disc shrinks"]
WORDS = vocabulary(SENTENCES)
BAG = {"name": "bag_of_words", "dim": 16}


def ground(**args):
    torch.manual_seed(0)
    model = create_model("tall", feature_dim=4, sentence_dim=16, embed_dim=8, hidden_dim=8)
    return Ground(model, WORDS, **{"encoder": BAG, **args})


def batch(sentences=SENTENCES, videos=("u", "v", "w"), moments=((1, 3), (1, 3), (6, 8)), windows=None):
    moments = torch.tensor(moments, dtype=torch.float64)
    return {
        "windows": torch.randn(len(sentences), 12, generator=torch.Generator().manual_seed(1)),
        "window": moments - 0.5 if windows is None else torch.tensor(windows, dtype=torch.float64),
        "moment": moments,
        "sentence": list(sentences),
        "video": list(videos),
    }


def test_the_loss_and_its_parts():
    task = ground(offset_weight=0.5)
    found = task(batch())
    assert found["loss"].item() == pytest.approx((found["alignment"] + 0.5 * found["offset"]).item())
    assert found["ignored"] == 0
    found["loss"].backward()
    assert all(p.grad.any() for p in task.model.parameters())


def test_a_sentence_said_twice_is_no_negative():
    assert ground()(batch([SENTENCES[0], SENTENCES[0], SENTENCES[1]]))["ignored"].item() == pytest.approx(2 / 9)


def test_another_words_for_the_same_moment_are_no_negative():
    task = ground()
    same = batch(videos=("u", "u", "w"))
    assert task(same)["ignored"].item() == pytest.approx(2 / 9)
    apart = batch(videos=("u", "u", "w"), moments=((1, 3), (5, 7), (6, 8)))
    assert task(apart)["ignored"] == 0
    one_way = batch(videos=("u", "u", "w"), moments=((1, 3), (5, 7), (6, 8)), windows=((1, 3), (1, 3), (6, 8)))
    assert task(one_way)["ignored"].item() == pytest.approx(1 / 9)


def test_what_is_ignored_changes_no_gradient():
    """The score of a pair that is no negative may be anything."""
    task = ground(offset_weight=0.0)
    twice = batch([SENTENCES[0], SENTENCES[0]], videos="uv", moments=((1, 3), (1, 3)))
    scores = task.model.pairs(twice["windows"], task.encode(twice["sentence"]))[0]
    want = (torch.nn.functional.softplus(-scores.diagonal()) * 1.5).sum() / 4
    assert task(twice)["loss"].item() == pytest.approx(want.item())


def test_offsets_count_in_their_unit():
    moved = batch()
    frames, seconds = (ground(offset_unit_s=unit)(moved)["offset"].item() for unit in (0.1, 1.0))
    assert frames == pytest.approx(5.0, abs=1.0) and seconds == pytest.approx(0.5, abs=0.3)


def candidates(duration_s=10.0):
    times = np.array([[0.0, 4.0], [3.0, 7.0], [6.0, 10.0]])
    return Windows(np.random.default_rng(2).normal(size=(3, 12)).astype(np.float32), times, duration_s)


def test_moments_are_in_the_video_and_best_first():
    task = ground()
    with torch.no_grad():
        task.model.head.weight.mul_(50)
        (answer,) = task.predict({"candidates": [candidates()], "sentence": SENTENCES[:1]})
    assert len(answer.spans) == 3 and all(0 <= s.start_s < s.end_s <= 10 for s in answer.spans)
    assert [s.label for s in answer.spans] == [SENTENCES[0]] * 3


def test_offsets_that_turn_a_window_inside_out_are_dropped():
    found = np.array([[2.0, 6.0, -6.0], [1.0, -1.0, 5.0], [0.0, -9.0, 9.0]])
    moments, scores = ground().decoder.moments(found, candidates().times_s, 10.0)
    assert moments.tolist() == [[0, 4], [2, 10], [0, 10]]
    assert scores == pytest.approx(1 / (1 + np.exp([-2.0, -1.0, 0.0])))


def test_it_learns_which_window_is_meant():
    task = ground()
    rng = torch.Generator().manual_seed(3)
    things = torch.randn(3, 12, generator=rng)
    optimizer = torch.optim.Adam(task.parameters(), 0.02)
    one = {**batch(), "windows": things}
    for _ in range(60):
        optimizer.zero_grad()
        task(one)["loss"].backward()
        optimizer.step()
    times = np.array([[0.0, 4.0], [3.0, 7.0], [6.0, 10.0]])
    task.eval()
    with torch.no_grad():
        answers = task.predict({"candidates": [Windows(things.numpy(), times, 10.0)] * 3, "sentence": SENTENCES})
    places = [np.abs(times.mean(1) - (a.spans[0].start_s + a.spans[0].end_s) / 2).argmin() for a in answers]
    assert places == [0, 1, 2]


def test_the_encoder_goes_into_the_record():
    class Records:
        class_names = WORDS

    args = Ground.fill_in({"encoder": BAG}, Records)
    assert args["encoder_sha256"] == ground().encoder.sha256
    record = {
        "model": {"name": "tall", "feature_dim": 4, "sentence_dim": 16, "embed_dim": 8, "hidden_dim": 8},
        "task": {"name": "ground", **args},
        "input": {"name": "moments", "feature_dim": 4},
    }
    assert build_task(record, WORDS).class_names == WORDS
    with pytest.raises(ConfigError, match=r"task\.encoder: the run was trained with a different 'bag_of_words'"):
        build_task(record, (*WORDS, "zebra"))


def test_errors():
    with pytest.raises(ConfigError, match=r"model\.sentence_dim: is 16; the encoder 'bag_of_words' gives 32"):
        ground(encoder={"name": "bag_of_words", "dim": 32})
    with pytest.raises(ConfigError, match=r"task\.offset_unit_s: is 0"):
        ground(offset_unit_s=0)


def test_a_run_from_its_recipe(tmp_path):
    """Vocabulary and encoder of the training go into the checkpoint, and come out of it."""
    rng = np.random.default_rng(0)
    for name in "uvw":
        rows = rng.normal(size=(20, 4)).astype(np.float32)
        write_features(tmp_path / "features", name, Features(rows, 0.5, 0.25, 10.0))
    lines = [f"{video} {start} {start + 2}##{SENTENCES[k]}.\n" for k, video in enumerate("uvw") for start in (1, 6)]
    (tmp_path / "train.txt").write_text("".join(lines))
    (tmp_path / "val.txt").write_text("u 1 3##a red disc grows\nu 6 8##a red zebra moves\n")
    told = {"name": "charades_sta", "features": str(tmp_path / "features")}
    recipe = {
        "model": {"name": "tall", "feature_dim": 4, "sentence_dim": 16, "embed_dim": 8, "hidden_dim": 8},
        "task": {"name": "ground", "encoder": BAG},
        "input": {"name": "moments", "window_s": [2.0], "context_s": 1.0, "feature_dim": 4},
        "data": {split: {**told, "path": str(tmp_path / f"{split}.txt")} for split in ("train", "val")},
        "optim": {"name": "adam", "lr": 1e-3},
        "fit": {"duration": "2ep", "batch_size": 3, "tensorboard": False, "device": "cpu"},
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    train(load_recipe(tmp_path / "recipe.yaml"), tmp_path / "run", progress=False)
    saved = checkpoint.read(tmp_path / "run")
    assert saved.class_names == WORDS
    task, spec = task_from_checkpoint(saved)
    assert task.encoder.sha256 == saved.record["task"]["encoder_sha256"] and spec.window_s == (2.0,)
    found = evaluate_run(tmp_path / "run", EvalOptions(device="cpu"))
    assert found.num_scored == 2 and set(found.scores) >= {"r1_iou0.5", "r5_iou0.7", "miou"}
