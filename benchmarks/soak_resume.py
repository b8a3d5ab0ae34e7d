"""A run that is killed again and again ends as the one that never was: the same checksum.

    python benchmarks/soak_resume.py [--kills 20] [--seed 0] [--steps 200] [--workers 2]

Trains a tiny network on a few clips of the motion world, with a moving average, mixup and random crops, once
undisturbed and once with SIGKILL to the process and its workers at random moments (in steps, in evaluations, while
saving), each time taken up by `--resume`. The checksum is over weights, optimizer, average and the log but for its
times. Exit status 1 if the two differ.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from videozoo.data.motion import make_clips
from videozoo.engine.log import read_log
from videozoo.weights import checkpoint

RECIPE = """
model: {{name: tsm, backbone: resnet18, backbone_args: {{channels: [8, 8, 16, 16], stem_width: 8}}}}
task: {{name: classify, mixup_alpha: 0.2}}
input: {{num_frames: 4, short_side_px: 36, crop_px: 32, augment: {{crop: random, flip: 0.0}}}}
data:
  train: {{name: clip_folder, path: {world}/train}}
  val: {{name: clip_folder, path: {world}/val}}
optim: {{lr: 0.01}}
schedule: {{name: cosine, warmup: 10st}}
fit: {{duration: {steps}st, batch_size: 4, num_workers: {workers}, ema_decay: 0.98, precise_bn: 2, eval_every: 20st,
  save_every: 5st, log_every: 1, tensorboard: false}}
"""
TIMES = ("clips_per_s", "data_wait_share")


def checksum(run: Path) -> str:
    """Of everything that a run computed."""
    digest = hashlib.sha256()
    saved = checkpoint.read(run / "last.pt")
    _add(digest, {"step": saved.step, "model": dict(saved.model), "resume": dict(saved.resume)})
    for line in read_log(run / "log.jsonl"):
        _add(digest, {key: value for key, value in line.items() if key not in TIMES})
    return digest.hexdigest()


def _add(digest: Any, value: Any) -> None:
    if isinstance(value, Tensor):
        value = value.detach().cpu().contiguous()
        digest.update(f"{value.dtype} {tuple(value.shape)}".encode())
        digest.update(np.ascontiguousarray(value.numpy()).tobytes())
    elif isinstance(value, Mapping):
        for key in sorted(value, key=str):
            digest.update(f"{key}:".encode())
            _add(digest, value[key])
    elif isinstance(value, list | tuple):
        for part in value:
            _add(digest, part)
    else:
        digest.update(f"{value!r};".encode())


def start(recipe: Path, out: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "videozoo", "train", str(recipe), "--out", str(out), "--resume", "--quiet"]
    with (out.parent / f"{out.name}.txt").open("ab") as told:
        return subprocess.Popen(command, start_new_session=True, stdout=told, stderr=told)


def last_step(out: Path) -> int:
    return max((int(line["step"]) for line in read_log(out / "log.jsonl")), default=0)


def _stamp(out: Path) -> int:
    path = out / "log.jsonl"
    return path.stat().st_mtime_ns if path.is_file() else 0


def wait_for_a_step(process: subprocess.Popen[bytes], out: Path) -> None:
    """Until the process has written to the log."""
    before = _stamp(out)
    while process.poll() is None and _stamp(out) == before:
        time.sleep(0.01)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        make_clips(place / "world", num_train=16, num_val=4, size_px=36, num_classes=4)
        recipe = place / "tiny.yaml"
        recipe.write_text(RECIPE.format(world=place / "world", steps=options.steps, workers=options.workers))

        process = start(recipe, place / "whole")
        wait_for_a_step(process, place / "whole")
        began_s = time.monotonic()
        if process.wait():
            print((place / "whole.txt").read_text())
            return 1
        lasted_s = time.monotonic() - began_s
        expected = checksum(place / "whole")
        print(f"undisturbed: {options.steps} steps in {lasted_s:.1f} s, {expected[:16]}", flush=True)

        kills = 0
        while True:
            process = start(recipe, place / "cut")
            if kills < options.kills:
                wait_for_a_step(process, place / "cut")
                try:  # on average the kills together leave half of the run to the last process
                    process.wait(rng.uniform(0, lasted_s / options.kills))
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    kills += 1
                    saved = place / "cut" / "last.pt"
                    resumes = checkpoint.read(saved).step if saved.is_file() else 0
                    print(f"kill {kills} after step {last_step(place / 'cut')}, goes on from {resumes}", flush=True)
            status = process.wait()
            if status != -signal.SIGKILL:
                break
        if status:
            print((place / "cut.txt").read_text())
            return 1
        found = checksum(place / "cut")
        same = found == expected
        print(f"killed {kills} times: {found[:16]}, {'the same' if same else 'ANOTHER'}")
        print(json.dumps({"kills": kills, "steps": options.steps, "same": same, "sha256": expected}))
        return 0 if same and kills == options.kills else 1


if __name__ == "__main__":
    sys.exit(main())
