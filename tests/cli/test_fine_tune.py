"""A foreign file, imported, starts a run on other classes: out, in, and on."""

from __future__ import annotations

import torch
from typer.testing import CliRunner

from videozoo.cli.main import app
from videozoo.data.motion import make_clips
from videozoo.weights import checkpoint

RECIPE = """
model:
  name: tsm
  backbone: resnet18
  backbone_args: {{channels: [8, 8, 16, 16], stem_width: 8}}
  shift_fraction: 0.25   # as PaddleVideo does with 4 frames
input: {{num_frames: 4, short_side_px: 32, crop_px: 32}}
data: {{train: {{name: clip_folder, path: {world}/train}}}}
optim: {{lr: 0.01}}
fit: {{duration: 1st, batch_size: 4, num_workers: 0, tensorboard: false}}
"""


def run(*args):
    result = CliRunner().invoke(app, [str(a) for a in args], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


def recipe(folder, num_classes):
    make_clips(folder / "world", num_train=2 * num_classes, num_val=2, size_px=32, num_classes=num_classes)
    (folder / "tiny.yaml").write_text(RECIPE.format(world=folder / "world"))
    return folder / "tiny.yaml"


def test_out_in_and_on_with_other_classes(tmp_path):
    for name in ("four", "three"):
        (tmp_path / name).mkdir()
    four, three = recipe(tmp_path / "four", 4), recipe(tmp_path / "three", 3)
    foreign, ours = tmp_path / "x.pdparams", tmp_path / "x.safetensors"
    run("train", four, "--out", tmp_path / "a")
    run("export", tmp_path / "a", "--format", "paddle", "--out", foreign)
    told = run("import", foreign, "--source", "paddlevideo", "--recipe", four, "--out", ours)
    assert "tsm with 4 classes" in told.stdout

    told = run("train", three, "--init", ours, "--out", tmp_path / "b", "optim.lr=0")
    assert "left out, because the number of classes changed from 4 to 3: head.bias, head.weight" in told.stderr
    before, after = (checkpoint.read(tmp_path / name / "last.pt").model for name in "ab")
    assert after["head.weight"].shape == (3, 16)
    learned = [name for name in before if name.endswith(("weight", ".bias")) and not name.startswith("head.")]
    assert len(learned) > 30 and all(torch.equal(before[name], after[name]) for name in learned)
