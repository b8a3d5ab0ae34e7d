"""Times a cold `videozoo predict` of an exported TSM-R50 where only the slim install exists, and the share of decoding.

python benchmarks/slim_predict.py [--threads 2] [--repeats 5] [--crop-px 224] [--precision fp32]

Exports a TSM with a ResNet-50 (8 frames, 400 classes, random weights), writes ten seconds of H.264 of 340x256, and
makes a virtual environment with `pip install videozoo` from this checkout: no torch. Every repetition is a new process.
Prints wall-clock seconds and CPU seconds (for machines under other load), and the parts of one answer in one process.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

import numpy as np

from videozoo.export.export import export_network
from videozoo.io.encode import write_video
from videozoo.models.processor import processor
from videozoo.models.registry import create_model
from videozoo.transforms.input import ClipInput
from videozoo.weights import checkpoint

ROOT = Path(__file__).resolve().parents[1]
FPS, SECONDS, WIDTH_PX, HEIGHT_PX = 25, 10, 340, 256
PARTS = """
import json, sys, time
begin_s = time.perf_counter()
import videozoo
from videozoo.io.pyav import PyAVReader
from videozoo.runtimes.graph import Graphs

spent = {"decoding": 0.0, "network": 0.0}

def timed(name, kind, method):
    call = getattr(kind, method)
    def run(*args, **options):
        start_s = time.perf_counter()
        try:
            return call(*args, **options)
        finally:
            spent[name] += time.perf_counter() - start_s
    setattr(kind, method, run)

timed("decoding", PyAVReader, "__init__")
timed("decoding", PyAVReader, "frames_at")
timed("network", Graphs, "__call__")
imported_s = time.perf_counter()
predictor = videozoo.load(sys.argv[1], device="cpu")
loaded_s = time.perf_counter()
predictor(sys.argv[2])
end_s = time.perf_counter()
rest_s = end_s - loaded_s - sum(spent.values())
start = {"imports": imported_s - begin_s, "opening the export": loaded_s - imported_s}
print(json.dumps({**start, **spent, "rest": rest_s}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--crop-px", type=int, default=224)
    parser.add_argument("--precision", choices=("fp32", "fp16", "int8"), default="fp32")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        clip = write_clip(folder / "clip.mp4")
        exported = export(folder, clip, crop_px=asked.crop_px, precision=asked.precision)
        python = slim_environment(folder / "slim")
        environment = {**os.environ, "OMP_NUM_THREADS": str(asked.threads), "PYTHONPATH": ""}
        command = [str(python), "-m", "videozoo", "predict", str(exported), str(clip), "--device", "cpu"]
        wall_s, cpu_s, parts = [], [], []
        for _ in range(1 + asked.repeats):
            wall, cpu = timed(command, environment)
            wall_s.append(wall)
            cpu_s.append(cpu)
            measured = [str(python), "-c", PARTS, str(exported), str(clip)]
            parts.append(
                json.loads(
                    subprocess.run(measured, env=environment, cwd=folder, check=True, capture_output=True).stdout
                )
            )
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"{processor()}, {asked.threads} threads of {os.cpu_count()} cores; load average {load}; {asked.precision}")
    print(
        f"videozoo predict, in a new process: median {statistics.median(wall_s[1:]):.2f} s, "
        f"fastest {min(wall_s[1:]):.2f} s"
    )
    print(f"  CPU seconds: median {statistics.median(cpu_s[1:]):.2f}, fewest {min(cpu_s[1:]):.2f}")
    fastest = min(parts[1:], key=lambda found: sum(found.values()))
    whole_s = sum(fastest.values())
    print(f"one answer in one process (the fastest): {whole_s:.2f} s")
    for name, seconds in fastest.items():
        print(f"  {name}: {seconds:.3f} s, {seconds / whole_s:.0%}")


def write_clip(path: Path) -> Path:
    rng = np.random.default_rng(0)
    wide = rng.integers(0, 255, (8, 24, 3), np.uint8).repeat(32, 0).repeat(32, 1)
    frames = (wide[:HEIGHT_PX, 1 + number : 1 + number + WIDTH_PX] for number in range(FPS * SECONDS))
    write_video(path, frames, fps=FPS)
    return path


def export(folder: Path, clip: Path, *, crop_px: int, precision: str) -> Path:
    model = create_model("tsm", num_classes=400)
    record = {
        "model": {"name": "tsm", "num_classes": 400},
        "task": {"name": "classify"},
        "input": ClipInput(num_frames=8, short_side_px=crop_px * 8 // 7, crop_px=crop_px).to_dict(),
    }
    names = [f"class {number}" for number in range(400)]
    run = folder / "run"
    run.mkdir()
    checkpoint.write(run / "best.pt", {"record": record, "class_names": names, "model": model.state_dict(), "step": 1})
    calibrate = None if precision == "fp32" else clip
    return export_network(run, folder / "tsm", precision=precision, calibrate=calibrate, max_loss=100)


def slim_environment(folder: Path) -> Path:
    """Makes an environment without torch and returns its Python."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", ROOT], check=True)
    found = subprocess.run([python, "-c", "import torch"], capture_output=True, cwd=folder)
    assert found.returncode, "the slim environment has torch"
    return python


def timed(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Returns (wall-clock seconds, CPU seconds) of a process and its children."""
    before, start_s = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, env=environment, cwd=ROOT.parent, check=True, stdout=subprocess.DEVNULL)
    wall_s, after = time.perf_counter() - start_s, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall_s, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    sys.exit(main())
