"""Which videos the words FILES | FOLDER | LIST mean."""

from __future__ import annotations

import glob
from collections.abc import Iterable
from pathlib import Path

from videozoo.errors import DataError
from videozoo.io.frame_folder import frame_files

__all__ = ["LIST_SUFFIXES", "VIDEO_SUFFIXES", "find_videos"]

VIDEO_SUFFIXES = frozenset(
    f".{name}"
    for name in (
        *("3gp", "asf", "avi", "flv", "gif", "h264", "hevc", "m2ts", "m4v", "mkv", "mov"),
        *("mp4", "mpeg", "mpg", "mts", "mxf", "ogv", "ts", "vob", "webm", "wmv"),
    )
)
LIST_SUFFIXES = frozenset({".csv", ".lst", ".txt"})


def find_videos(sources: Iterable[str | Path]) -> list[Path]:
    """Every video that `sources` name, in their order, each once.

    A source is a video file (of any ending), a folder (the videos below it, sorted by path; or one video,
    when it holds nothing but frames as images), a list file (`.txt`, `.lst`, `.csv`: a path first in each
    line, relative to the list or to the current folder; `#` begins a comment line), or a glob pattern. A
    file that does not exist is kept: who reads it says so, and the others are still answered.

    Raises:
        DataError: a folder, a list or a pattern without any video.
    """
    found: dict[Path, None] = {}
    for source in sources:
        found.update(dict.fromkeys(_expand(str(source))))
    if not found:
        raise DataError("sources: no video was named; give files, folders or a list file")
    return list(found)


def _expand(source: str) -> list[Path]:
    path = Path(source)
    if path.is_dir():
        return _in_folder(path)
    if path.is_file():
        return _in_list(path) if path.suffix.lower() in LIST_SUFFIXES else [path]
    if glob.has_magic(source):
        matched = sorted(glob.glob(source, recursive=True))  # noqa: PTH207 (the pattern may be absolute)
        if not matched:
            raise DataError(f"{source}: the pattern matches nothing; check it, or quote it for the shell")
        return [video for name in matched for video in _expand(name)]
    return [path]


def _in_folder(folder: Path) -> list[Path]:
    videos = sorted(p for p in folder.rglob("*") if p.suffix.lower() in VIDEO_SUFFIXES and p.is_file())
    if videos:
        return videos
    if frame_files(folder):
        return [folder]
    endings = " ".join(sorted(VIDEO_SUFFIXES))
    raise DataError(f"{folder}: holds no video file and no frames; the endings looked for are {endings}")


def _in_list(path: Path) -> list[Path]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as a list of videos ({error}); write one path a line") from error
    separator = "," if path.suffix.lower() == ".csv" else None
    lines = (line.strip() for line in text.splitlines())
    videos = [_entry(line, path, separator) for line in lines if line and not line.startswith("#")]
    if not videos:
        raise DataError(f"{path}: the list is empty; write one path a line")
    return videos


def _entry(line: str, list_path: Path, separator: str | None) -> Path:
    """The video of one line: the line itself when that is a file (spaces included), else its first word."""
    candidates = [line, line.split(separator)[0].strip()]
    for name in candidates:
        for path in (list_path.parent / name, Path(name)):
            if path.exists():
                return path
    return list_path.parent / candidates[-1]
