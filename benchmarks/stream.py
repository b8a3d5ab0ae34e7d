"""Latency and memory of `videozoo stream`: a 25 fps file as if live, then a long file without waiting.

    python benchmarks/stream.py                    # a narrow causal TSM with untrained weights
    python benchmarks/stream.py RUN_OR_EXPORT      # any network on clips

Prints the latency from the arrival of a frame to its answer, and the resident memory over the long file.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from long_video import repeat

from videozoo.config.recipe import load_recipe
from videozoo.contracts.network import Network
from videozoo.io.encode import write_video
from videozoo.loading import open_network
from videozoo.models.processor import processor
from videozoo.stream.answering import Timing
from videozoo.stream.messages import Answered, Message, Summary
from videozoo.stream.session import Settings, StreamSession
from videozoo.stream.source import open_source

FPS, WIDTH_PX, HEIGHT_PX = 25, 320, 240
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def narrow_tsm() -> Network:
    """The network of the recipe motion/tsm_causal, untrained."""
    from videozoo.models import create_model
    from videozoo.tasks.classify import Classify
    from videozoo.tasks.network import torch_network
    from videozoo.transforms.input import build_input

    recipe = load_recipe("motion/tsm_causal", [])
    model_args, spec = recipe.section("model"), build_input(recipe.section("input"))
    names = [f"class {i}" for i in range(8)]
    model = create_model(**model_args, num_classes=len(names), num_segments=spec.num_frames, crop_px=spec.crop_px)
    return torch_network(Classify(model, names), spec, device="cpu")


def pictures(num_frames: int) -> Iterator[np.ndarray]:
    """Moving stripes."""
    columns = np.arange(WIDTH_PX + 256, dtype=np.uint8)
    for number in range(num_frames):
        row = columns[number % 256 : number % 256 + WIDTH_PX]
        yield np.broadcast_to(row[None, :, None], (HEIGHT_PX, WIDTH_PX, 3))


def resident_mib() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES / 2**20


def streamed(network: Network, path: Path, *, fast: bool, timing: Timing) -> tuple[Summary, list[float]]:
    """Returns the summary, and the memory at every thousandth answer."""
    memory_mib: list[float] = []
    num_answers = 0

    def sink(message: Message) -> None:
        nonlocal num_answers
        if isinstance(message, Answered):
            num_answers += 1
            if num_answers % 1000 == 0:
                memory_mib.append(resident_mib())

    session = StreamSession(network, open_source(str(path), fast=fast), Settings(timing=timing))
    return session.run(sink), memory_mib


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?", help="a run, a weight file or an export; default: a narrow causal TSM")
    parser.add_argument("--live-s", type=float, default=60.0, help="length of the file as if live")
    parser.add_argument("--frames", type=int, default=30_000, help="length of the long file")
    parser.add_argument("--window", type=float, help="seconds of a clip; default: consecutive frames")
    args = parser.parse_args()
    if args.frames < 2000:
        parser.error("--frames: memory is read every 1,000 answers; give 2000 or more")
    network = narrow_tsm() if args.run is None else open_network(args.run)
    window_s = args.window or network.spec.num_frames / FPS  # type: ignore[attr-defined]
    timing = Timing(window_s=window_s)
    print(f"{processor()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as folder:
        live, long = Path(folder, "live.mp4"), Path(folder, "long.mp4")
        write_video(live, pictures(round(args.live_s * FPS)), fps=FPS, preset="ultrafast")
        found, _ = streamed(network, live, fast=False, timing=timing)
        median_ms, p95_ms = 1000 * (found.latency_median_s or 0), 1000 * (found.latency_p95_s or 0)
        print(
            f"live:  {found.num_frames} frames, {found.num_answers} answers, {found.dropped_frames} dropped; latency "
            f"median {median_ms:.1f} ms, 95th percentile {p95_ms:.1f} ms (a frame lasts {1000 / FPS:.0f} ms)"
        )
        repeat(live, long, round(args.frames / FPS / args.live_s))
        found, memory_mib = streamed(network, long, fast=True, timing=timing)
        first, last, most = memory_mib[0], memory_mib[-1], max(memory_mib)
        print(
            f"fast:  {found.num_frames} frames, {found.num_answers} answers; resident memory {first:.1f} MiB after "
            f"1,000 answers, {last:.1f} MiB at the end, at most {most:.1f} MiB"
        )


if __name__ == "__main__":
    main()
