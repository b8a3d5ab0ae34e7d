"""A file that crashes the decoder's process costs a job this file and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.contract.tiny import TINY
from videozoo.io.encode import write_video
from videozoo.io.features import FeatureStore
from videozoo.models.registry import create_model
from videozoo.transforms.input import ClipInput
from videozoo.weights import checkpoint

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes cannot fork here")

CODE = """
import os, sys
from videozoo.io import decode

healthy = decode.PyAVReader

def crashing(path, **options):
    with open({log!r}, "a") as log:
        log.write(os.path.basename(path) + "\\n")
    if "bad" in os.path.basename(path):
        os.abort()
    with open({log!r}) as log:
        if "later" in os.path.basename(path) and log.read().split().count(os.path.basename(path)) > 1:
            os.abort()
    return healthy(path, **options)

decode.PyAVReader = crashing
sys.argv = ["videozoo", *{arguments!r}]
from videozoo.cli.main import main
main()
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    torch.manual_seed(0)
    net = create_model("tsm", **TINY["tsm"])
    spec = ClipInput(num_frames=4, short_side_px=32, crop_px=32)
    record = {"model": {"name": "tsm", **TINY["tsm"]}, "task": {"name": "classify"}, "input": spec.to_dict()}
    content = {"record": record, "class_names": tuple("abcde"), "model": net.state_dict(), "step": 1}
    checkpoint.write(folder / "best.pt", content)
    return folder


@pytest.fixture
def clips(tmp_path):
    folder = tmp_path / "clips"
    folder.mkdir()
    frames = np.random.default_rng(0).integers(0, 256, (10, 32, 32, 3), dtype=np.uint8)
    for name in ("a", "bad1", "c", "d", "bad2"):
        write_video(folder / f"{name}.mp4", frames, fps=10, preset="ultrafast")
    return folder


def call(tmp_path, *arguments):
    code = CODE.format(log=str(tmp_path / "opened"), arguments=[str(argument) for argument in arguments])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 1, done.stderr
    assert "2 of 5 videos failed" in done.stderr
    for name in ("bad1", "bad2"):
        assert f"{name}.mp4: it crashed the decoder (signal 6, SIGABRT); remove it" in done.stderr
    return done


def test_predict_names_the_files_and_answers_for_the_others_once(tmp_path, run, clips):
    done = call(tmp_path, "predict", run, clips, "--json", "--device", "cpu")
    names = [Path(answer["id"]).name for answer in json.loads(done.stdout)["predictions"]]
    assert sorted(names) == ["a.mp4", "c.mp4", "d.mp4"]
    opened = (tmp_path / "opened").read_text().split()
    assert {opened.count(f"{name}.mp4") for name in ("a", "bad1", "bad2", "c", "d")} == {1}


def test_a_crash_while_rendering_costs_the_files_that_read_this_video(tmp_path, run, clips):
    (clips / "c.mp4").rename(clips / "later.mp4")
    words = ("predict", run, clips, "--json", "--plot", tmp_path / "p", "--render", tmp_path / "r", "--device", "cpu")
    done = call(tmp_path, *words)
    names = [Path(answer["id"]).name for answer in json.loads(done.stdout)["predictions"]]
    assert sorted(names) == ["a.mp4", "d.mp4", "later.mp4"]
    assert "1 file could not be written:" in done.stderr
    assert "later.mp4: it crashed the decoder (signal 6, SIGABRT)" in done.stderr
    assert sorted(path.name for path in (tmp_path / "p").iterdir()) == ["a.png", "d.png", "later.png"]
    assert sorted(path.name for path in (tmp_path / "r").iterdir() if path.suffix == ".mp4") == ["a.mp4", "d.mp4"]
    assert done.stderr.count("rendered: ") == 2 and done.stderr.count("plotted: ") == 3


@pytest.mark.long
def test_extract_names_the_files_and_stores_the_others(tmp_path, run, clips):
    out = tmp_path / "features"
    call(tmp_path, "extract", run, clips, "--out", out, "--window", "1", "--device", "cpu", "--workers", 3)
    assert sorted(FeatureStore(out).ids) == ["a", "c", "d"]
