"""Where a step's time goes, on a small run; and what is to be done, on made times."""

import json

import pytest
from typer.testing import CliRunner

from videozoo.cli.main import app
from videozoo.config.recipe import load_recipe
from videozoo.data.motion import make_clips
from videozoo.engine.profile_data import profile_data
from videozoo.io.key_frames import key_frame_distance
from videozoo.report.profile import Footage, Profile, verdict

PLAIN = {
    "step_s": 1.0,
    "wait_s": 0.5,
    "forward_s": 0.2,
    "backward_s": 0.25,
    "optimizer_s": 0.04,
    "decode_s": 2.0,
    "transform_s": 0.5,
    "collate_s": 0.1,
    "num_samples": 16,
    "num_steps": 10,
    "num_workers": 4,
    "num_cores": 4,
    "device": "cpu",
    "footage": Footage(short_side_px=256, wanted_px=256, gop_frames=250),
}


def told(**other):
    found = verdict(Profile(**{**PLAIN, **other}))
    return found.kind, found.text


def test_nothing_is_waited_for():
    kind, text = told(wait_s=0.09)
    assert kind == "model" and text.startswith("the model is the bottleneck (backward above all)") and "a GPU" in text
    assert "fit.precision=bf16" in told(wait_s=0.0, device="cuda")[1]


def test_more_workers():
    """2.6 s of work in every 0.5 s of computing takes six workers and some room."""
    assert told(num_workers=2, num_cores=16) == (
        "workers",
        "50% of the time is spent waiting for data: set fit.num_workers=7 (now 2)",
    )
    assert "set fit.num_workers=4 (now 0); 7 would be needed" in told(num_workers=0)[1]


def test_files_that_are_too_large():
    kind, text = told(footage=Footage(short_side_px=1080, wanted_px=256, gop_frames=10))
    assert kind == "size" and "1080 px are decoded for a short side of 256 px" in text
    assert (
        "videozoo prepare reencode SRC OUT --short-side 256" in text
        and "more than 4 workers do not help on 4 cores" in text
    )
    assert told(footage=Footage(1080, 256, 10), decode_s=0.2, transform_s=2.0)[0] == "size"


def test_key_frames_far_apart():
    kind, text = told()
    assert kind == "seek" and "250 frames apart" in text and "videozoo prepare reencode SRC OUT --gop 10" in text


@pytest.mark.parametrize("footage", [Footage(256, 256, 10), Footage(256, 256, None), None])
def test_files_that_are_good_already(footage):
    kind, text = told(footage=footage)
    assert kind == "decode" and "videozoo prepare frames SRC OUT" in text


def test_transforms():
    kind, text = told(decode_s=0.2, transform_s=2.0)
    assert kind == "transform" and "input.augment" in text


def test_batches_that_are_too_large():
    kind, text = told(collate_s=9.0)
    assert kind == "collate" and "lower fit.batch_size" in text


RECIPE = """
model: {{name: tsn, backbone: resnet18, backbone_args: {{channels: [8, 8, 16, 16], stem_width: 8}}}}
input: {{num_frames: 4, short_side_px: 32, crop_px: 32}}
data: {{train: {{name: clip_folder, path: {world}/train}}, val: {{name: clip_folder, path: {world}/none}}}}
optim: {{lr: 0.01}}
fit: {{duration: 50ep, batch_size: 4, num_workers: 0, multigrid: {{}}, loggers: [wandb]}}
"""


@pytest.fixture
def recipe(tmp_path):
    make_clips(tmp_path / "world", num_train=8, num_val=4, size_px=48, num_classes=4)
    path = tmp_path / "tiny.yaml"
    path.write_text(RECIPE.format(world=tmp_path / "world"))
    return path


def test_a_run_is_measured_and_leaves_nothing(recipe, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    found = profile_data(load_recipe(recipe), num_steps=3, warmup_steps=1, num_samples=6)
    assert sorted(tmp_path.rglob("*")) == before
    parts = (found.wait_s, found.forward_s, found.backward_s, found.optimizer_s, found.engine_s)
    assert sum(parts) == pytest.approx(found.step_s) and min(parts) > 0
    assert found.decode_s > found.collate_s > 0 and found.transform_s > 0
    assert 0.2 < found.wait_s / found.prepare_s < 5  # without workers the step waits for all of it
    assert (found.num_samples, found.num_steps, found.device) == (4, 3, "cpu")
    video = next((tmp_path / "world" / "train").rglob("*.mp4"))
    assert found.footage == Footage(48, 32, round(key_frame_distance(video)))


def test_the_command(recipe):
    result = CliRunner().invoke(app, ["bench", "data", str(recipe), "fit.multigrid=null", "--steps", "2"])
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[0].endswith("2 steps measured") and lines[2].startswith("a step takes")
    assert [line.split()[0] for line in lines[3:8]] == ["wait", "forward", "backward", "optimizer", "engine"]
    assert any(line.endswith("#") for line in lines[3:8])
    result = CliRunner().invoke(app, ["bench", "data", str(recipe), "--steps", "2", "--json"])
    assert json.loads(result.output)["verdict"]["kind"] in ("model", "workers", "decode", "size")
