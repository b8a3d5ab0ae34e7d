"""A run that is killed again and again ends as the one that never was: the same checksum.

    python benchmarks/soak_resume.py [--recipe motion/tsm] [--world data/motion] [--kills 20] [--seed 0]
    python benchmarks/soak_resume.py --recipe tiny        # a small network, in two minutes

Trains the demo's recipe on its world (which is made if it is not there) once undisturbed, and once with SIGKILL to the
process and its workers at random moments (in steps, in evaluations, while saving), each time taken up by `--resume`.
The checksum is over weights, optimizer, average and the log but for its times. Exit status 1 if the two differ.
The tiny recipe has a moving average, mixup, random crops and precise batch norm as well.
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
from collections.abc import Mapping, Sequence
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
fit: {{duration: 200st, batch_size: 4, num_workers: {workers}, ema_decay: 0.98, precise_bn: 2, eval_every: 20st,
  save_every: 5st, log_every: 1, tensorboard: false}}
"""
OFTEN = ("fit.save_every=10st", "fit.log_every=1", "fit.tensorboard=false")  # a kill costs some steps, not an epoch
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


def start(recipe: Sequence[str], out: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "videozoo", "train", *recipe, "--out", str(out), "--resume", "--quiet"]
    with (out.parent / f"{out.name}.txt").open("ab") as told:
        return subprocess.Popen(command, start_new_session=True, stdout=told, stderr=told)


def make_recipe(name: str, world: Path | None, place: Path, *, num_workers: int) -> list[str]:
    """A recipe and its overrides, on a world that is there."""
    if name == "tiny":
        make_clips(place / "world", num_train=16, num_val=4, size_px=36, num_classes=4)
        path = place / "tiny.yaml"
        path.write_text(RECIPE.format(world=place / "world", workers=num_workers))
        return [str(path)]
    if world is None:
        world = place / "world"
        make_clips(world, num_train=800, num_val=200, num_workers=2)
    halves = [f"data.{half}.path={(world / half).resolve()}" for half in ("train", "val")]
    return [name, *halves, f"fit.num_workers={num_workers}", *OFTEN]


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
    parser.add_argument("--recipe", default="motion/tsm", help="of the motion world, or tiny")
    parser.add_argument("--world", type=Path, help="the recipe's clips; a folder of `videozoo synth`")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        recipe = make_recipe(options.recipe, options.world, place, num_workers=options.workers)

        process = start(recipe, place / "whole")
        wait_for_a_step(process, place / "whole")
        began_s = time.monotonic()
        if process.wait():
            print((place / "whole.txt").read_text())
            return 1
        lasted_s = time.monotonic() - began_s
        expected = checksum(place / "whole")
        num_steps = last_step(place / "whole")
        print(f"undisturbed: {num_steps} steps in {lasted_s:.1f} s, {expected[:16]}", flush=True)

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
        print(json.dumps({"kills": kills, "steps": num_steps, "same": same, "sha256": expected}))
        return 0 if same and kills == options.kills else 1


if __name__ == "__main__":
    sys.exit(main())
