"""A job over healthy files under the supervisor that survives a crash of the decoder, beside the same job without it.

    python benchmarks/isolation.py [--files 200] [--rounds 7]

Each side decodes every frame of all files in a process of its own; the sides take turns, and the fastest round of each
counts. `listening` is the share of decoding that goes into listening for damage that the decoder conceals. Targets:
supervised / plain and listening / deaf at most 1.03.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from videozoo.io import pyav
from videozoo.io.decode import open_video
from videozoo.io.encode import write_video
from videozoo.io.isolation import current_journal, supervise


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = _clips(Path(folder), options.files)
        sides = {"plain": _plain, "supervised": _supervised, "deaf": _deaf}
        times: dict[str, list[float]] = {name: [] for name in sides}
        for _ in range(options.rounds):
            for name, side in sides.items():
                times[name].append(_seconds(side, files))
    best = {name: min(found) for name, found in times.items()}
    print(json.dumps({f"{name}_s": round(value, 3) for name, value in best.items()}))
    print(f"supervised / plain: {best['supervised'] / best['plain']:.3f}")
    print(f"listening / deaf: {best['plain'] / best['deaf']:.3f}")


def _clips(folder: Path, num_files: int) -> list[Path]:
    scene = np.random.default_rng(0).integers(0, 256, (160, 200, 3), dtype=np.uint8)
    frames = [np.ascontiguousarray(scene[i : i + 128, i : i + 160]) for i in range(30)]
    files = [folder / f"{number}.mp4" for number in range(num_files)]
    write_video(files[0], frames, fps=10, preset="veryfast")
    for path in files[1:]:
        path.write_bytes(files[0].read_bytes())
    return files


def _decode(files: list[Path]) -> int:
    journal = current_journal()
    for path in files:
        with journal.reading(path), open_video(path) as video:
            num_frames = sum(1 for _ in video.stream())
            journal.keep(path, num_frames)
    return 0


def _plain(files: list[Path]) -> int:
    return _decode(files)


def _supervised(files: list[Path]) -> int:
    return supervise(lambda: _decode(files))


def _deaf(files: list[Path]) -> int:
    @contextlib.contextmanager
    def nothing() -> Iterator[list[Any]]:
        yield []

    pyav.ffmpeg_log = nothing
    return _decode(files)


def _seconds(side: Any, files: list[Path]) -> float:
    """Seconds of the processor, which a busy machine changes little, with those of the side's own child processes."""
    child = os.fork()
    if not child:
        os._exit(_exit_status(side, files))
    _, status, used = os.wait4(child, 0)
    if status:
        raise SystemExit(f"{side.__name__}: the job ended with status {status}")
    return used.ru_utime + used.ru_stime


def _exit_status(side: Any, files: list[Path]) -> int:
    try:
        return int(side(files))
    except BaseException as error:  # an exception must not leave the child through the parent's code
        print(repr(error))
        return 1


if __name__ == "__main__":
    main()
