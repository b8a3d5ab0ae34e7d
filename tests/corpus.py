"""Decodes every file of a folder in child processes and compares frames at given times with sequential decoding.

    python -m tests.corpus FOLDER                 # one JSON line per file, then a summary
    python -m tests.corpus FOLDER --generate      # first fills FOLDER with made files, whole and damaged ones

A file is answered (all frames decode, and frames at given times are those of sequential decoding), named (a
DecodeError says why it cannot be read), crashed (any other exception, or its process died), hung (no answer within
--timeout-s), or wrong (other frames than sequential decoding gives). The exit status is 1 when a file crashed, hung
or was wrong.
"""

from __future__ import annotations

import argparse
import bisect
import collections
import hashlib
import json
import multiprocessing
import random
import resource
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from tests.io.drawing import draw
from tests.io.test_audio import record_channels
from tests.io.test_odd_files import PLAYLISTS, motion_jpeg
from videozoo.errors import DataError, DecodeError
from videozoo.io.audio import read_audio
from videozoo.io.decode import VideoReader, open_video
from videozoo.io.reader import TIME_SLACK_S

OUTCOMES = ("answered", "named", "crashed", "hung", "wrong")
BAD = ("crashed", "hung", "wrong")
NUM_TIMES = 12
SOUND_S = 5.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.corpus", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="folder of files of any kind; subfolders are searched")
    parser.add_argument("--generate", action="store_true", help="first fill the folder, which must be empty or absent")
    parser.add_argument("--timeout-s", type=float, default=60, help="time limit per file [60]")
    parser.add_argument("--memory-gb", type=float, default=4, help="memory limit per file [4]")
    options = parser.parse_args()
    if options.generate:
        generate(options.folder)
    files = sorted(path for path in options.folder.rglob("*") if path.is_file()) if options.folder.is_dir() else []
    if not files:
        print(f"{options.folder}: there is no file to decode; give a folder with files, or --generate", file=sys.stderr)
        return 2
    counts: collections.Counter[str] = collections.Counter()
    for path in files:
        found = examine(path, timeout_s=options.timeout_s, memory_bytes=int(options.memory_gb * 2**30))
        counts[found["outcome"]] += 1
        print(json.dumps({"file": str(path.relative_to(options.folder)), **found}), flush=True)
    print(json.dumps({"summary": {outcome: counts[outcome] for outcome in OUTCOMES}, "files": len(files)}))
    return int(any(counts[outcome] for outcome in BAD))


def examine(path: Path, *, timeout_s: float, memory_bytes: int) -> dict[str, Any]:
    """Returns the outcome for one file, which a child process decodes."""
    began_s = time.monotonic()
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_in_child, args=(path, memory_bytes, theirs), daemon=True)
    child.start()
    theirs.close()
    found: dict[str, Any]
    try:
        if ours.poll(timeout_s):
            found = ours.recv()
        else:
            found = {"outcome": "hung", "detail": f"no answer within {timeout_s:g} s"}
    except EOFError:
        child.join()
        found = {"outcome": "crashed", "detail": _death(child.exitcode or 0)}
    finally:
        child.kill()
        child.join()
        ours.close()
    return {**found, "took_s": round(time.monotonic() - began_s, 3)}


def _death(exitcode: int) -> str:
    return f"its process died of {signal.Signals(-exitcode).name}" if exitcode < 0 else f"exit status {exitcode}"


def _in_child(path: Path, memory_bytes: int, parent: Connection) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_virtual_bytes() + memory_bytes, most))
    try:
        found = decode(path)
    except DataError as error:
        found = {"outcome": "named", "detail": str(error), "cause": type(error.__cause__).__name__}
    except BaseException as error:  # the outcome "crashed" is about all others
        found = {"outcome": "crashed", "detail": "".join(traceback.format_exception(error)).strip()}
    parent.send(found)


def _virtual_bytes() -> int:
    """The address space that this process has before it decodes anything."""
    status = Path("/proc/self/statm")
    return int(status.read_text().split()[0]) * resource.getpagesize() if status.exists() else 0


def decode(path: Path) -> dict[str, Any]:
    """Returns the outcome for a file that this process decodes.

    Raises:
        DecodeError: the file cannot be read.
    """
    with open_video(path) as video:
        shown = [(time_s, _digest(picture)) for time_s, picture in video.stream()]
        has_audio = video.info.has_audio
    problem = _difference(path, shown)
    if problem is not None:
        return {"outcome": "wrong", "detail": problem}
    facts = {"frames": len(shown), "end_s": round(shown[-1][0], 3)}
    return {"outcome": "answered", **facts, **(_sound(path) if has_audio else {})}


def _difference(path: Path, shown: list[tuple[float, bytes]]) -> str | None:
    """How frames at given times differ from those of sequential decoding; None: they do not."""
    starts_s = [time_s for time_s, _ in shown]
    if starts_s != sorted(starts_s):
        return "frames come out of order in sequential decoding"
    with open_video(path) as video:
        for time_s in _times(starts_s, seed=path.name):
            due = max(0, bisect.bisect_right(starts_s, time_s + TIME_SLACK_S) - 1)
            problem = _difference_at(video, time_s, shown[due])
            if problem is not None:
                return problem
    return None


def _difference_at(video: VideoReader, time_s: float, due: tuple[float, bytes]) -> str | None:
    found = video.frames_at([time_s])
    if abs(found.times_s[0] - due[0]) > TIME_SLACK_S:
        return f"at {time_s:.4f} s the frame of {found.times_s[0]:.4f} s came instead of {due[0]:.4f} s"
    if _digest(found.data[0]) != due[1]:
        return f"at {time_s:.4f} s the frame of {due[0]:.4f} s has other pixels than in sequential decoding"
    return None


def _times(starts_s: list[float], *, seed: str) -> Iterator[float]:
    """The first and the last frame, then frames and times between frames, in an order that jumps back and forth."""
    draws = random.Random(seed)
    yield from (starts_s[0], starts_s[-1])
    for _ in range(NUM_TIMES):
        yield draws.choice(starts_s)
        yield draws.uniform(0.0, starts_s[-1])


def _sound(path: Path) -> dict[str, Any]:
    try:
        return {"sound_samples": len(read_audio(path, end_s=SOUND_S))}
    except DecodeError as error:
        return {"sound": str(error)}


def _digest(picture: np.ndarray) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(picture), digest_size=16).digest()


def generate(folder: Path) -> None:
    """Fills a folder with small files of many containers and codecs, whole, damaged and hostile."""
    if folder.is_dir() and any(folder.iterdir()):
        raise SystemExit(f"{folder}: is not empty; --generate makes files in a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    whole = [draw(folder / f"h264.{suffix}") for suffix in ("mp4", "mov", "mkv", "avi", "ts", "flv", "h264")]
    for codec, name in (("libvpx", "a.webm"), ("libvpx-vp9", "b.webm"), ("mpeg4", "c.avi"), ("mpeg2video", "d.mpg")):
        whole.append(draw(folder / f"{codec}-{name}", codec=codec, gop=12))
    whole.append(draw(folder / "turned.mp4", rotation_deg=90, width=64))
    whole.append(draw(folder / "irregular.mkv", times=[0, 1, 2, 10, 11, 30, 31, 90]))
    whole.append(draw(folder / "rec-12:30.mp4", times=range(1)))
    whole.append(motion_jpeg(folder / "exif.avi", orientation=6))
    record_channels(folder / "eight.wav", 8, codec="pcm_s24le")
    for path in whole:
        _damage(path)
    for name, text in PLAYLISTS.items():
        (folder / name).write_text(text)
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "noise.mp4").write_bytes(random.Random(0).randbytes(5000))


def _damage(path: Path) -> None:
    """Writes a copy that is cut short, and one with bytes overwritten."""
    data = path.read_bytes()
    path.with_name(f"cut-{path.name}").write_bytes(data[: len(data) * 6 // 10])
    draws = random.Random(path.name)
    spoiled = bytearray(data)
    for _ in range(8):
        spoiled[draws.randrange(len(data) // 4, len(data))] = draws.randrange(256)
    path.with_name(f"spoiled-{path.name}").write_bytes(spoiled)


if __name__ == "__main__":
    sys.exit(main())
