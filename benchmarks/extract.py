"""Extraction of features beside one pass of decoding, and its memory over a video of an hour.

    python benchmarks/extract.py RUN [--threads 1] [--out extract.json]

RUN is a run of a clip classifier. Times are those of the process on its cores, medians of three; the videos are made.
Targets: all but the network costs less than two passes of decoding to RGB; an hour needs at most 64 MB more than five
minutes.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from videozoo.io.decode import open_video
from videozoo.io.encode import write_video
from videozoo.loading import load_extractor

WINDOW_S, STRIDE_S = 1.28, 0.32


def pictures(num: int, height: int, width: int) -> Iterator[np.ndarray]:
    y, x = np.mgrid[:height, :width]
    base = ((3 * x + 2 * y) % 256).astype(np.uint8)
    for i in range(num):
        moved = np.roll(base, 2 * i, 1)
        yield np.stack([moved, np.roll(moved, 20, 0), 255 - moved], -1)


def cpu_s(work: Callable[[], Any]) -> float:
    found = []
    for _ in range(3):
        began_s = time.process_time()
        work()
        found.append(time.process_time() - began_s)
    return statistics.median(found)


def speed(run: str, video: Path, threads: int) -> dict[str, float]:
    torch.set_num_threads(threads)
    extractor = load_extractor(run, window_s=WINDOW_S, stride_s=STRIDE_S, device="cpu")
    network_s: list[float] = []
    backend = extractor.network.backend
    outputs = backend.outputs

    def timed(batch: dict[str, Any], **options: Any) -> Any:
        began_s = time.process_time()
        found = outputs(batch, **options)
        network_s.append(time.process_time() - began_s)
        return found

    backend.outputs = timed  # type: ignore[method-assign]
    num_rows = len(extractor(video))
    network_s.clear()
    with open_video(video) as reader:
        decode_s = cpu_s(lambda: sum(1 for _ in reader.stream()))
    extract_s = cpu_s(lambda: extractor(video))
    return {
        "rows": num_rows,
        "decode_cpu_s": decode_s,
        "extract_cpu_s": extract_s,
        "network_cpu_s": sum(network_s) / 3,
        "passes_without_network": (extract_s - sum(network_s) / 3) / decode_s,
        "rows_per_cpu_s": num_rows / extract_s,
    }


def peak_mb(run: str, video: str, stride_s: float, to: Any) -> None:
    torch.set_num_threads(1)
    load_extractor(run, window_s=WINDOW_S, stride_s=stride_s, device="cpu")(video)
    status = Path("/proc/self/status").read_text(encoding="ascii")  # ru_maxrss would begin with the parent's
    to.send(int(status.partition("VmHWM:")[2].split()[0]) / 1024)


def memory(run: str, video: Path) -> float:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=peak_mb, args=(run, str(video), WINDOW_S, theirs))
    process.start()
    found = ours.recv()
    process.join()
    return float(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--minutes", type=int, default=60, help="of the long video")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, num, height, width in (("320x240", 500, 240, 320), ("1280x720", 250, 720, 1280)):
            video = Path(folder) / f"{name}.mp4"
            write_video(video, pictures(num, height, width), fps=25, preset="ultrafast")
            found[name] = speed(args.run, video, args.threads)
            print(name, {key: round(value, 3) for key, value in found[name].items()})
        for minutes in (5, args.minutes):
            video = Path(folder) / f"{minutes}.mp4"
            write_video(video, pictures(minutes * 720, 64, 64), fps=12, preset="ultrafast")
            found[f"peak_mb, {minutes} min"] = memory(args.run, video)
            print(f"{minutes} min: peak {found[f'peak_mb, {minutes} min']:.0f} MB")
    if args.out:
        args.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
