"""Writes a world's folder: it can be stopped and completed, and replaces only its own files.

world.json holds the arguments, the names in the folder that belong to the world, and whether it is complete.
"""

from __future__ import annotations

import concurrent.futures
import itertools
import json
import multiprocessing
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from typing_extensions import TypedDict

from videozoo.data.motion.render import render, sound
from videozoo.data.motion.script import Script
from videozoo.errors import ConfigError, DataError
from videozoo.io.whole_file import write_whole_text
from videozoo.structured import checked, read_json

__all__ = ["Progress", "write_world"]

_MARKER = "world.json"
_AUDIO_RATE_HZ = 16_000
_PRESET = "veryfast"  # small pictures: slower ones cost time and save few bytes

Progress = Callable[[int, int], None]
_WriteOne = Callable[[Path, Any], None]


def write_world(
    out_dir: Path | str,
    asked: dict[str, Any],
    files: Sequence[tuple[str, Any]],
    texts: dict[str, str],
    *,
    num_workers: int,
    overwrite: bool,
    progress: Progress | None,
    write_one: _WriteOne | None = None,
) -> None:
    """Writes files, then texts, then the mark of completion; each file is written atomically.

    Args:
        asked: the arguments that decide the content, as JSON.
        files: the content of each file by its path below `out_dir`; a script becomes a video.
        texts: the content of each text file by its path below `out_dir`.
        write_one: writes a different kind of file, from its path and its content in `files`.

    Raises:
        ConfigError: `out_dir` holds files that must not be replaced.
    """
    out_dir = Path(out_dir)
    holds = sorted({path.partition("/")[0] for path in (*(path for path, _ in files), *texts)})
    _claim(out_dir, asked, overwrite=overwrite)
    _mark(out_dir, asked, holds, complete=False)
    missing = [(out_dir / path, content) for path, content in files if not (out_dir / path).exists()]
    for folder in {path.parent for path, _ in missing}:
        folder.mkdir(parents=True, exist_ok=True)
    written = _in_workers(write_one or _write_video, missing, num_workers)
    for done, _ in enumerate(written, len(files) - len(missing) + 1):
        if progress is not None:
            progress(done, len(files))
    for name, text in texts.items():
        write_whole_text(out_dir / name, text)
    _mark(out_dir, asked, holds, complete=True)


class _World(TypedDict):
    """The content of world.json."""

    asked: dict[str, Any]
    complete: bool
    holds: list[str]


def _claim(out_dir: Path, asked: dict[str, Any], *, overwrite: bool) -> None:
    """Prepares `out_dir`: an empty folder, or the unfinished world with the same arguments.

    Raises:
        ConfigError: it holds files that must not be replaced.
    """
    if out_dir.exists() and not out_dir.is_dir():
        raise ConfigError(f"{out_dir}: is a file; name a folder")
    out_dir.mkdir(parents=True, exist_ok=True)
    if not any(out_dir.iterdir()):
        return
    try:
        marker = out_dir / _MARKER
        found = checked(read_json(marker, kind="motion world"), _World, where=marker, advice="draw it again")
        before, is_complete, holds = found["asked"], found["complete"], found["holds"]
    except DataError:
        raise ConfigError(
            f"{out_dir}: is not empty and is not a motion world; choose another folder or empty it yourself"
        ) from None
    if overwrite:
        _mark(out_dir, before, holds, complete=False)
        for path in [p for p in out_dir.iterdir() if p.name in holds]:
            _remove(path)
    elif before != asked:
        differ = [name for name in {**before, **asked} if before.get(name) != asked.get(name)]
        raise ConfigError(
            f"{out_dir}: holds a different world ({', '.join(differ)} differ); add --overwrite to replace it"
        )
    elif is_complete:
        raise ConfigError(f"{out_dir}: already holds this world; nothing to do, or add --overwrite to draw it again")


def _mark(out_dir: Path, asked: dict[str, Any], holds: Sequence[str], *, complete: bool) -> None:
    """Writes world.json: the arguments, the names that belong to the world, and whether it is complete."""
    write_whole_text(out_dir / _MARKER, json.dumps({"asked": asked, "complete": complete, "holds": holds}, indent=1))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _in_workers(write_one: _WriteOne, jobs: Sequence[tuple[Path, Any]], num_workers: int) -> Iterator[None]:
    if num_workers == 0:
        yield from itertools.starmap(write_one, jobs)
        return
    # spawn: a fork would copy the threads that the caller's libraries hold
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(num_workers, mp_context=context) as pool:
        try:
            futures = [pool.submit(write_one, *job) for job in jobs]
            for future in concurrent.futures.as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _write_video(path: Path, script: Script) -> None:
    from videozoo.io.encode import write_video

    audio = sound(script, rate_hz=_AUDIO_RATE_HZ)
    write_video(path, render(script), fps=script.fps, audio=audio, audio_rate_hz=_AUDIO_RATE_HZ, preset=_PRESET)
