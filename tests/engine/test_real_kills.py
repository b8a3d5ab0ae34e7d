"""SIGKILL to whole runs of recipes, with what changes shapes and networks on; then they go on, to the same end."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.engine.test_distributed import children
from tests.engine.test_resume import assert_same_runs, log_of, wait_for_step
from videozoo.data.motion import make_clips
from videozoo.engine.log import read_log

RECIPE = """
model: {{name: tsn, backbone: resnet18, backbone_args: {{channels: [8, 8, 16, 16], stem_width: 8}}}}
task: {{name: classify, mixup_alpha: 0.2}}
input: {{num_frames: 4, short_side_px: 36, crop_px: 32, augment: {{crop: random, flip: 0.5}}}}
data:
  train: {{name: clip_folder, path: {world}/train}}
  val: {{name: clip_folder, path: {world}/val}}
optim: {{lr: 0.01}}
schedule: {{name: cosine, warmup: 5st}}
fit: {{duration: 60st, batch_size: 4, num_workers: 1, ema_decay: 0.9, eval_every: 9st, save_every: 5st, log_every: 1,
  tensorboard: false}}
"""
MULTIGRID = "fit.multigrid={epoch_factor: 6, cycles: 2}"
MUTUAL = "task.mutual={weight: 1.0}"


def start(place, out, overrides, *, num_processes):
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={num_processes}"]
    command = [sys.executable, *(torchrun if num_processes > 1 else []), "-m", "videozoo", "train"]
    with (place / f"{out.name}.txt").open("ab") as told:
        return subprocess.Popen(
            [*command, str(place / "tiny.yaml"), *overrides, "--out", str(out), "--resume", "--quiet"],
            cwd=Path(__file__).parents[2],
            stdout=told,
            stderr=told,
            start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )


@pytest.mark.long
@pytest.mark.parametrize(
    ("overrides", "num_processes"),
    [
        ((MULTIGRID, "fit.precise_bn=2"), 1),
        (("task.distill={{teacher: {place}/teacher, weight: 0.5}}", "fit.precision=bf16"), 1),
        ((MULTIGRID, MUTUAL, "fit.num_workers=0"), 2),
        (("fit.parallel=fsdp", "task.distill={{teacher: {place}/teacher, weight: 0.5}}", "fit.accumulate=2"), 2),
    ],
    ids=["multigrid", "distill", "multigrid mutual two", "fsdp distill two"],
)
def test_killed_twice(tmp_path, overrides, num_processes):
    make_clips(tmp_path / "world", num_train=12, num_val=4, size_px=36, num_classes=4)
    (tmp_path / "tiny.yaml").write_text(RECIPE.format(world=tmp_path / "world"))
    overrides = [text.format(place=tmp_path) if "{{" in text else text for text in overrides]
    if any("teacher" in text for text in overrides):
        assert start(tmp_path, tmp_path / "teacher", ["fit.duration=6st"], num_processes=1).wait() == 0
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    process = start(tmp_path, whole, overrides, num_processes=num_processes)
    assert process.wait() == 0, (tmp_path / "whole.txt").read_text()
    last = read_log(whole / "log.jsonl")[-1]["step"]
    for share in (0.3, 0.7):
        log_before = log_of(cut)
        process = start(tmp_path, cut, overrides, num_processes=num_processes)
        wait_for_step(cut, share * last, process, log_before=log_before)
        # torchrun's processes have groups of their own
        for pid in (process.pid, *(children(process.pid) if num_processes > 1 else ())):
            os.killpg(pid, signal.SIGKILL)
        process.wait()
    process = start(tmp_path, cut, overrides, num_processes=num_processes)
    assert process.wait() == 0, (tmp_path / "cut.txt").read_text()
    assert_same_runs(whole, cut)
