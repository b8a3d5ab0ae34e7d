"""What finding a video's end adds to opening it.

python benchmarks/opening.py [FILE ...]

Opens each file with and without the search for its last packets (`videozoo.io.ending`), in turns, and prints the
ratio of the medians. Without files it makes some: half a minute of H.264, 320x240, in the usual
containers.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

import numpy as np

from videozoo.io.decode import open_video
from videozoo.io.encode import write_video
from videozoo.io.pyav import PyAVReader

REPEATS = 40


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(name) for name in sys.argv[1:]] or make(Path(folder))
        for file in files:
            with_ms, without_ms = [], []
            for _ in range(REPEATS):
                with_ms.append(opening_ms(file))
                with mock.patch("videozoo.io.pyav.find_ending", lambda *_, **__: None), presented():
                    without_ms.append(opening_ms(file))
            now, before = statistics.median(with_ms), statistics.median(without_ms)
            print(f"{file.name}: {now:.2f} ms with, {before:.2f} ms without, ratio {now / before:.2f}")


def presented() -> mock._patch[object]:
    """Stands in for the count of frames that a file without times needs."""
    return mock.patch.object(PyAVReader, "_presented", lambda self: np.zeros(1, np.int64))


def opening_ms(file: Path) -> float:
    start = time.perf_counter()
    open_video(file).close()
    return 1e3 * (time.perf_counter() - start)


def make(folder: Path) -> list[Path]:
    rng = np.random.default_rng(0)
    frames = [np.kron(rng.integers(0, 255, (30, 40, 3), np.uint8), np.ones((8, 8, 1), np.uint8)) for _ in range(50)]
    files = [folder / f"half_minute.{suffix}" for suffix in ("mp4", "mkv", "avi", "ts")]
    for file in files:
        write_video(file, (frames[i % 50] for i in range(750)), fps=25)
    return files


if __name__ == "__main__":
    main()
