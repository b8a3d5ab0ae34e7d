"""From nothing to segments of a new video, by the commands a user would type: under 5 minutes on two cores."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.localize_end_to_end import measure
from videozoo.data.motion import make_untrimmed

pytestmark = pytest.mark.long


def videozoo(*words):
    command = [sys.executable, "-m", "videozoo", *map(str, words)]
    threads = {"OMP_NUM_THREADS": "2"}  # another number rounds, hence learns, otherwise
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **threads})
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def localizer(tmp_path_factory) -> Path:
    """A localizer trained on features of a classifier that was trained just before."""
    home = tmp_path_factory.mktemp("localize")
    clips, world = home / "clips", home / "world"
    videozoo("synth", clips, "--num-train", 800, "--num-val", 40)
    data = [f"data.train.path={clips / 'train'}", f"data.val.path={clips / 'val'}"]
    videozoo("train", "motion/tsm", *data, "--out", home / "tsm")
    videozoo("synth", world, "--kind", "untrimmed", "--num-train", 100, "--num-val", 10)
    rows = ("--window", 1.5, "--stride", 0.333)  # some events are shorter than the clips were
    videozoo("extract", home / "tsm", world / "videos", "--out", world / "features", *rows)
    data = [
        f"data.{split}.{key}={value}"
        for split in ("train", "val")
        for key, value in (("path", world / "annotations.json"), ("features", world / "features"))
    ]
    videozoo("train", "motion/bmn", *data, "--out", home / "bmn")
    return home / "bmn"


def test_segments_of_new_videos_are_those_of_their_scripts(localizer, tmp_path):
    make_untrimmed(tmp_path / "fresh", num_train=0, num_val=6, seed=1000)
    scores = measure(localizer, tmp_path / "fresh")
    named = measure(localizer.parent / "tsm", tmp_path / "fresh", ["--segments", str(localizer)])
    print(scores, named)
    for found in (scores, named):  # at the default thresholds; a true segment that was missed counts 0
        assert found["mean_tiou"] >= 0.7
        assert found["found"] <= 1.5 * found["true segments"]
    assert named["right_names"] >= 0.5  # of the true segments; chance is 0.125


def test_every_form_of_the_answer(localizer, tmp_path):
    make_untrimmed(tmp_path / "fresh", num_train=0, num_val=1, seed=1001)
    (video,) = (tmp_path / "fresh/videos").iterdir()
    for ending in ("json", "csv", "srt", "edl"):
        videozoo("predict", localizer, video, "--out", tmp_path / f"answer.{ending}")
    pictures = ("--plot", tmp_path / "p.png", "--render", tmp_path / "r.mp4", "--cut", tmp_path / "clips")
    videozoo("predict", localizer, video, *pictures)
    (prediction,) = json.loads((tmp_path / "answer.json").read_text())["predictions"]
    found = len(prediction["segments"])
    assert found >= 3
    assert len((tmp_path / "answer.csv").read_text().splitlines()) == found + 1
    assert (tmp_path / "answer.srt").read_text().count(" --> ") == found
    assert (tmp_path / "answer.edl").read_text().count("FROM CLIP NAME") == found
    assert len(list((tmp_path / "clips").iterdir())) == found
    assert (tmp_path / "p.png").stat().st_size > 1000 < (tmp_path / "r.mp4").stat().st_size
