"""Which commands work without torch, and how the others say that they need it."""

import json
import subprocess
import sys

import pytest

from tests.slim import blocker

NEEDS_TORCH = "this command needs torch; run: pip install 'videozoo[torch]'"
WITHOUT = ("import sys; from tests.slim import blocker; blocker.block(); "
           "from videozoo.cli.main import main; main()")  # fmt: skip


def run(*args, cwd=None):
    """Runs the command line in a process that cannot import torch."""
    return subprocess.run(
        [sys.executable, "-c", WITHOUT, *map(str, args)],
        capture_output=True,
        text=True,
        env=blocker.ENVIRONMENT,
        cwd=cwd,
    )


@pytest.mark.parametrize(
    ("args", "shows"),
    [
        (["--version"], "videozoo "),
        (["--help"], "predict"),
        (["train", "--help"], "--resume"),
        (["list"], "motion/tsm"),
        (["list", "models"], "slowfast"),
        (["list", "tasks"], "localize_bmn"),
        (["list", "datasets"], "clip_folder"),
        (["list", "optimizers"], "sgd"),
        (["list", "weights"], "tsm.k400"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_there_is_can_be_seen(args, shows):
    done = run(*args)
    assert done.returncode == 0, done.stderr
    assert shows in done.stdout


@pytest.mark.parametrize(
    "args",
    [
        ["show", "motion/tsm"],
        ["info", "tsm"],
        ["train", "motion/tsm", "--out", "out"],
        ["eval", "run"],
        ["export", "run", "--out", "x.safetensors"],
        ["import", "w.pth", "--model", "tsm", "--source", "mmaction2", "--out", "x.safetensors"],
        ["synth", "out", "--kind", "yt8m"],
        ["bench", "models"],
        ["bench", "data", "motion/tsm"],
        ["demo", "--out", "out"],
    ],
    ids=lambda args: " ".join(args[:2]),
)
def test_commands_that_need_torch_say_so(args, tmp_path):
    done = run(*args, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [f"error: {NEEDS_TORCH}"]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "args",
    [
        ["predict", "run.pt", "a.mp4"],
        ["extract", "timm:resnet18", "a.mp4", "--out", "out"],
        ["index", "a.mp4", "--run", "run.pt", "--out", "index.parquet"],
        ["search", "run.pt", "a ring turns", "a.mp4"],
    ],
    ids=lambda args: args[0],
)
def test_networks_of_torch_are_named(args, gray_video, tmp_path):
    if args[0] == "index":
        pytest.importorskip("pyarrow")
    gray_video("a.mp4", [1])
    (tmp_path / "run.pt").write_bytes(b"")
    done = run(*args, cwd=tmp_path)
    assert done.returncode == 1, done.stdout
    (line,) = done.stderr.splitlines()
    assert line.endswith("run: pip install 'videozoo[torch]'")
    assert "Traceback" not in line


def test_made_clips_are_prepared_and_decoded(tmp_path):
    made = run("synth", tmp_path / "world", "--num-train", 2, "--num-val", 2, "--classes", 2, "--workers", 0)
    assert made.returncode == 0, made.stderr
    assert json.loads((tmp_path / "world/world.json").read_text())["complete"] is True
    frames = run("prepare", "frames", tmp_path / "world/train", tmp_path / "frames", "--workers", 1)
    assert frames.returncode == 0, frames.stderr
    assert len(list((tmp_path / "frames").rglob("*.jpg"))) == 2 * 24
