"""Videos and sentences: a narrow dual encoder learns which color a video shows, and answers in words."""

import csv
import json

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from tests.contract.tiny import TINY
from videozoo import load
from videozoo.cli.main import app
from videozoo.contracts.record import DescribedRecord
from videozoo.errors import ConfigError
from videozoo.io.encode import write_video
from videozoo.tasks.build import build_task
from videozoo.transforms.captioned_clip import CaptionedClipInput
from videozoo.weights import checkpoint

COLORS = {"red": (200, 30, 30), "green": (30, 180, 30), "blue": (30, 30, 210), "white": (230, 230, 230)}
INPUT = {"name": "captioned_clip", "num_frames": 2, "sampling": "uniform", "short_side_px": 32, "crop_px": 32}
RECORD = {
    "model": {"name": "pe_core", **TINY["pe_core"]},
    "task": {"name": "retrieve"},
    "input": {**INPUT, "force_ratio": 1.0, "augment": {"crop": "center", "flip": 0.0}},
}


def draw(color, seed, *, num_frames=4):
    """Frames of a color with noise."""
    rng = np.random.default_rng(seed)
    return np.clip(np.array(COLORS[color]) + rng.integers(-20, 21, (num_frames, 48, 64, 3)), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A trained run and its videos: two of each color."""
    folder = tmp_path_factory.mktemp("retrieve")
    (folder / "videos").mkdir()
    rows = []
    for number, color in enumerate([*COLORS, *COLORS]):
        write_video(folder / "videos" / f"{number}.mp4", draw(color, number), fps=4)
        rows += [(str(number), f"something {color}"), (str(number), f"it is all {color}")]
    with (folder / "list.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("video_id", "sentence"), *rows])
    data = {"name": "described_videos", "path": str(folder / "list.csv"), "videos": str(folder / "videos")}
    recipe = {
        **RECORD,
        "data": {"train": data, "val": data},
        "optim": {"name": "adam", "lr": 0.003},
        "fit": {"duration": "150st", "batch_size": 8, "num_workers": 0, "eval_every": "150st", "tensorboard": False},
    }
    (folder / "recipe.yaml").write_text(json.dumps(recipe))
    ran = CliRunner().invoke(app, ["train", str(folder / "recipe.yaml"), "--out", str(folder / "run"), "--quiet"])
    assert ran.exit_code == 0, ran.output
    return folder


@pytest.mark.long  # it trains first
def test_training_brings_videos_and_sentences_together(run):
    log = [json.loads(line) for line in (run / "run" / "log.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in log if "loss" in line]
    (scores,) = [line for line in log if "val/r1" in line]
    assert losses[-1] < 0.5 * losses[0]
    assert scores["val/r5"] == 100 and scores["val/mean_rank"] <= 2  # two videos of each color
    assert scores["val/r10_video_to_text"] == 100


@pytest.mark.long  # it trains first
def test_labels_in_words(run):
    labels = "something red, something  green,something blue"
    args = ["predict", str(run / "run"), str(run / "videos" / "1.mp4"), "--labels", labels, "--json"]
    ran = CliRunner().invoke(app, args)
    assert ran.exit_code == 0, ran.output
    (found,) = json.loads(ran.stdout)["predictions"]
    assert found["labels"][0]["name"] == "something green" and found["labels"][0]["score"] > 0.5
    assert {each["name"] for each in found["labels"]} == {"something red", "something green", "something blue"}
    assert sum(each["score"] for each in found["labels"]) == pytest.approx(1, abs=1e-5)


@pytest.mark.long  # it trains first
def test_labels_over_time(run):
    frames = np.concatenate([draw("red", 1, num_frames=8), draw("blue", 2, num_frames=8)])
    predictor = load(run / "run", device="cpu", labels=["something red", "something blue"])
    prediction = predictor(frames, fps=4, window_s=2)
    assert [(s.start_s, s.end_s, s.label) for s in prediction.spans()] == [
        (0, pytest.approx(2, abs=0.6), "something red"),
        (pytest.approx(2, abs=0.6), 4, "something blue"),
    ]


@pytest.mark.long  # it trains first
def test_without_labels_the_answer_is_a_vector(run):
    answer = load(run / "run", device="cpu")(run / "videos" / "0.mp4").answer
    assert answer.kind == "embedding" and len(answer.to_dict()["embedding"]) == TINY["pe_core"]["embed_dim"]


@pytest.mark.long  # it trains first
@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["a dog"], "labels: got a dog; give two or more, each once"),
        (["a dog", " a  dog"], "labels: got a dog, a dog; give two or more, each once"),
        (["a dog", ""], "labels: got a dog, ; give two or more, each once"),
    ],
)
def test_impossible_labels(run, labels, message):
    with pytest.raises(ConfigError) as caught:
        load(run / "run", device="cpu", labels=labels)
    assert str(caught.value) == message


def test_labels_for_a_network_with_classes(tmp_path):
    record = {"model": {"name": "tsm", **TINY["tsm"]}, "task": {"name": "classify"}}
    record["input"] = {"name": "clip", "num_frames": 4, "short_side_px": 32, "crop_px": 32}
    task = build_task(record, tuple("abcde"))
    payload = {"record": record, "class_names": tuple("abcde"), "model": task.model.state_dict(), "step": 1}
    checkpoint.write(tmp_path / "best.pt", payload)
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, device="cpu", labels=["a dog", "a cat"])
    assert str(caught.value) == (
        "labels: 'classify' has its own classes; leave them out, or take a network that compares videos with "
        "sentences, e.g. pe_core.b"
    )


@pytest.mark.long  # it trains first
def test_sentences_of_samples(run):
    spec = CaptionedClipInput(**{key: value for key, value in INPUT.items() if key != "name"})
    record = DescribedRecord("0", run / "videos" / "0.mp4", captions=("one", "two", "three"))
    train = spec.train_pipeline()
    drawn = {train(record, np.random.default_rng(seed))["description"] for seed in range(20)}
    assert drawn == {"one", "two", "three"}
    assert spec.eval_pipeline()(record)["captions"] == ("one", "two", "three")


@pytest.mark.parametrize("freeze", ["image", "text"])
def test_a_frozen_tower_gets_no_gradient(freeze):
    torch.manual_seed(0)
    task = build_task({**RECORD, "task": {"name": "retrieve", "freeze": freeze}}, ())
    video = torch.randn(3, *task.model.input_shape)
    task({"video": video, "description": ["a", "b", "c"]})["loss"].backward()
    moved = {name.split(".")[0] for name, p in task.model.named_parameters() if p.grad is not None}
    assert moved == {"image", "text", "logit_scale"} - {freeze}


@pytest.fixture(scope="module")
def film(run):
    """Half a minute that shows one color after the other, green only once."""
    colors = ["red", "blue", "white", "red", "green", "white", "red", "blue", "white", "red"]
    path = run / "film.mp4"
    write_video(path, np.concatenate([draw(c, n, num_frames=12) for n, c in enumerate(colors)]), fps=4)
    return path


@pytest.mark.long  # it trains first
def test_a_moment_is_found_by_words(run, film):
    index = str(run / "films")
    args = ["index", str(film), "--run", str(run / "run"), "--out", index, "--window", "1.5", "--stride", "0.75"]
    ran = CliRunner().invoke(app, args)
    assert ran.exit_code == 0, ran.output
    assert ran.stdout.endswith("films: 1 video, 39 stretches (1 added, 0 gone)\n")
    again = CliRunner().invoke(app, args)
    assert again.stdout.endswith("(nothing new)\n")
    ran = CliRunner().invoke(
        app, ["search", index, "something green", "--top", "1", "--json", "--cut", str(run / "cut")]
    )
    assert ran.exit_code == 0, ran.output
    found = json.loads(ran.stdout)
    (hit,) = found["hits"]
    assert 12 <= hit["start_s"] < hit["end_s"] <= 15 and found["windows"] == 39
    assert len(found["clips"]) == 1 and isinstance(found["stands_out"], bool)
    table = CliRunner().invoke(app, ["search", index, "something green"])
    assert table.exit_code == 0 and "score" in table.stdout and "film.mp4" in table.stdout


@pytest.mark.long  # it trains first
def test_an_index_of_another_network_is_refused(run, film, tmp_path):
    with pytest.raises(ConfigError, match=r"--out .*: holds other files; give a new name, or the folder of an index"):
        (tmp_path / "used").mkdir()
        (tmp_path / "used" / "notes.txt").write_text("mine")
        args = ["index", str(film), "--run", str(run / "run"), "--out", str(tmp_path / "used")]
        raise CliRunner().invoke(app, args).exception
    with pytest.raises(ConfigError, match=r"an index of vectors is searched as a whole; leave out .*film\.mp4"):
        (tmp_path / "index").mkdir()
        (tmp_path / "index" / "index.json").write_text("{}")
        raise CliRunner().invoke(app, ["search", str(tmp_path / "index"), "green", str(film)]).exception
