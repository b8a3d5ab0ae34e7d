"""What multigrid training saves, and whether it costs a score: one recipe without and with it, one after the other.

    python benchmarks/multigrid.py [--recipe motion/slowfast] [--size 96] [--epochs 10] [KEY=VALUE ...]

Trains on a motion world of the given size (made if --world names none) and counts processor time: that of the clock
depends on what else the machine does. Both runs are evaluated once, at the end, on clips of full size. KEY=VALUE
overrides the recipe in both, as for `videozoo train`; the published figure takes `model.width=16`.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from videozoo.data.motion import make_clips
from videozoo.engine.log import read_log

GRIDS = "fit.multigrid={cycles: 1, scale_lr: false}"
NORMS = "fit.precise_bn=20"  # the moving averages are those of all sizes


def train(overrides: list[str], out: Path) -> dict[str, float]:
    """Steps, seconds and the score of a run in a process of its own."""
    before, began_s = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run([sys.executable, "-m", "videozoo", "train", *overrides, "--quiet", "--out", str(out)], check=True)
    after, lines = resource.getrusage(resource.RUSAGE_CHILDREN), list(read_log(out / "log.jsonl"))
    return {
        "steps": max(line["step"] for line in lines),
        "processor_s": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1),
        "wall_s": round(time.monotonic() - began_s, 1),
        "top1": next(line["val/top1"] for line in reversed(lines) if "val/top1" in line),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="motion/slowfast")
    parser.add_argument("--world", type=Path, help="a folder of `videozoo synth --size SIZE`")
    parser.add_argument("--size", type=int, default=96, help="of the frames, in pixels")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        world = options.world or Path(folder) / "world"
        if options.world is None:
            make_clips(world, size_px=options.size, num_workers=2)
        shared = [
            options.recipe,
            *(f"data.{split}.path={world / split}" for split in ("train", "val")),
            f"input.crop_px={options.size}",
            f"input.short_side_px={options.size}",
            f"fit.duration={options.epochs}ep",
            f"fit.eval_every={options.epochs}ep",
            "fit.tensorboard=false",
            *options.overrides,
        ]
        grids = train([*shared, GRIDS, NORMS], Path(folder) / "multigrid")
        print("multigrid", json.dumps(grids), flush=True)
        plain = train(shared, Path(folder) / "plain")
        print("plain    ", json.dumps(plain))
        ratio = grids["processor_s"] / plain["processor_s"]
        print(f"multigrid takes {ratio:.2f} of the processor time, top-1 {grids['top1'] - plain['top1']:+.1f}")


if __name__ == "__main__":
    main()
