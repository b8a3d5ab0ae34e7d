"""Eight frames spread over 20 seconds and over 10 minutes: what each way to decode them costs.

    python benchmarks/decode.py --out decode.json

Both videos have the same size, rate and key-frame distance. Seeking should cost the same in both (target: at
most twice as much); reading from the start costs up to thirty times as much in the long one.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from videozoo.errors import MissingPackageError
from videozoo.io.decode import open_video
from videozoo.io.encode import write_video

FPS, GOP_FRAMES, NUM_FRAMES = 25, 50, 8
DURATIONS_S = (20, 600)


def pictures(duration_s: int, *, width: int = 160, height: int = 120) -> Iterator[np.ndarray]:
    """A texture that slides, so that motion is coded."""
    texture = np.random.default_rng(0).integers(0, 256, (height // 4, width // 4, 3), dtype=np.uint8)
    texture = texture.repeat(4, 0).repeat(4, 1)
    for i in range(duration_s * FPS):
        yield np.roll(texture, (i, 2 * i), (0, 1))


def spread(duration_s: int) -> list[float]:
    """The middles of eight equal parts."""
    return [duration_s * (i + 0.5) / NUM_FRAMES for i in range(NUM_FRAMES)]


def seeking(decoder: str) -> Callable[[Path, list[float]], None]:
    def run(path: Path, times_s: list[float]) -> None:
        with open_video(path, decoder=decoder) as video:  # type: ignore[arg-type]
            video.frames_at(times_s)

    return run


def sequential(path: Path, times_s: list[float]) -> None:
    wanted = list(times_s)
    with open_video(path) as video:
        for time_s, source in video.sources(0.0):  # converts to RGB only what is kept, like the others
            if wanted and time_s >= wanted[0]:
                video.picture(source)
                wanted.pop(0)
            if not wanted:
                break


def median_s(run: Callable[[Path, list[float]], None], path: Path, times_s: list[float], repeats: int) -> float:
    run(path, times_s)  # warm up
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        run(path, times_s)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, help="also write the table as JSON")
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    ways = {"pyav": seeking("pyav"), "torchcodec": seeking("torchcodec"), "sequential": sequential}
    table: dict[str, dict[str, float] | str] = {}
    with tempfile.TemporaryDirectory() as folder:
        paths = {}
        for duration_s in DURATIONS_S:
            paths[duration_s] = Path(folder) / f"{duration_s}.mp4"
            write_video(paths[duration_s], pictures(duration_s), fps=FPS, gop_frames=GOP_FRAMES, preset="veryfast")
        for name, run in ways.items():
            repeats = args.repeats if name != "sequential" else 3
            try:
                short_s, long_s = (median_s(run, paths[d], spread(d), repeats) for d in DURATIONS_S)
            except MissingPackageError as error:
                table[name] = str(error)
                continue
            table[name] = {"20s_ms": 1e3 * short_s, "10min_ms": 1e3 * long_s, "ratio": long_s / short_s}
    print(f"{NUM_FRAMES} frames, 160x120, {FPS} Hz, key frame every {GOP_FRAMES} frames; median")
    print(f"{'':12}{'20 s':>12}{'10 min':>12}{'ratio':>8}")
    for name, row in table.items():
        if isinstance(row, str):
            print(f"{name:12}  not measured: {row}")
        else:
            print(f"{name:12}{row['20s_ms']:9.1f} ms{row['10min_ms']:9.1f} ms{row['ratio']:8.2f}")
    if args.out:
        args.out.write_text(json.dumps(table, indent=2) + "\n")


if __name__ == "__main__":
    main()
