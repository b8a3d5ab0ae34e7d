"""Finds videos and shards of features by names of files, folders, lists and patterns."""

from __future__ import annotations

import dataclasses
import glob
import os
import re
from collections.abc import Iterable
from pathlib import Path

from videozoo.contracts.dataset import Dataset
from videozoo.contracts.record import FeatureRecord
from videozoo.errors import DataError
from videozoo.io.clip_files import VIDEO_SUFFIXES, find_clips
from videozoo.io.frame_folder import frame_files
from videozoo.predict.feature_shards import open_shards

__all__ = ["LIST_SUFFIXES", "Sources", "find_sources", "find_videos"]

LIST_SUFFIXES = frozenset({".csv", ".lst", ".txt"})
ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


@dataclasses.dataclass(frozen=True)
class Sources:
    """The sources of a session.

    Attributes:
        videos: video files and folders of frames, each once.
        shards: data sets of the features of many videos, in the format of YouTube-8M.
        first_shard: the source that named the first shard.
    """

    videos: tuple[Path, ...] = ()
    shards: tuple[Dataset[FeatureRecord], ...] = ()
    first_shard: str = ""


def find_sources(sources: Iterable[str | os.PathLike[str]]) -> Sources:
    """Finds every video and every shard of features that `sources` name, in their order; see `find_videos`.

    Raises:
        DataError: a folder, list or pattern has none, a source is an address, or a shard cannot be opened.
    """
    videos: dict[Path, None] = {}
    shards: dict[str, Dataset[FeatureRecord]] = {}
    for source in sources:
        name = os.fspath(source)
        if (opened := open_shards(name)) is not None:
            shards[name] = opened
        else:
            videos.update(dict.fromkeys(_expand(name)))
    if not videos and not shards:
        raise DataError("sources: no video was named; give files, folders or a list file")
    return Sources(tuple(videos), tuple(shards.values()), next(iter(shards), ""))


def find_videos(sources: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """Finds every video that `sources` name, in their order, each once.

    A source is one of:
    - a video file, with any ending;
    - a folder: the videos and folders of frames below it, sorted by path, as in training; or one video, if it contains
      only frames as images;
    - a list file (`.txt`, `.lst`, `.csv`): each line begins with a path, relative to the list or to the current folder;
      `#` begins a comment line;
    - a glob pattern.
    `~` is the home folder. Missing files, broken links and folders without permission are kept: their reader raises the
    error, and the others are still answered.

    Raises:
        DataError: a folder, list or pattern has no video, or a source is an address (`https://...`).
    """
    found: dict[Path, None] = {}
    for source in sources:
        found.update(dict.fromkeys(_expand(os.fspath(source))))
    if not found:
        raise DataError("sources: no video was named; give files, folders or a list file")
    return list(found)


def _expand(source: str) -> list[Path]:
    _refuse_address(source, where="sources")
    source = os.path.expanduser(source)  # noqa: PTH111 (also of patterns)
    path = Path(source)
    if os.path.isdir(path):  # noqa: PTH112 (no error for a parent without permission)
        return _in_folder(path)
    if os.path.isfile(path):  # noqa: PTH113
        return _in_list(path) if path.suffix.lower() in LIST_SUFFIXES else [path]
    if not os.path.lexists(path) and glob.has_magic(source):
        matched = sorted(glob.glob(source, recursive=True))  # noqa: PTH207 (the pattern may be absolute)
        if not matched:
            raise DataError(f"{source}: the pattern matches nothing; check it, or quote it for the shell")
        return [video for name in matched for video in _expand(name)]
    return [path]


def _in_folder(folder: Path) -> list[Path]:
    found = find_clips(folder)
    videos = sorted([*found.videos, *(place for place, _ in found.frame_folders), *found.unreadable])
    if videos:
        return videos
    if frame_files(folder):
        return [folder]
    endings = " ".join(sorted(VIDEO_SUFFIXES))
    raise DataError(f"{folder}: holds no video file and no frames; video files end in {endings}")


def _in_list(path: Path) -> list[Path]:
    try:
        text = path.read_bytes().decode("utf-8-sig", "surrogateescape")  # names may be in any encoding
    except OSError as error:
        raise DataError(f"{path}: cannot be read as a list of videos ({error}); write one path a line") from error
    if "\0" in text:
        raise DataError(f"{path}: cannot be read as a list of videos (it is not text); write one path a line")
    separator = "," if path.suffix.lower() == ".csv" else None
    lines = ((f"{path}:{number}", line.strip()) for number, line in enumerate(re.split("\r\n|\n|\r", text), start=1))
    videos = [_entry(line, path, separator, where) for where, line in lines if line and not line.startswith("#")]
    if not videos:
        raise DataError(f"{path}: the list is empty; write one path a line")
    return videos


def _entry(line: str, list_path: Path, separator: str | None, where: str) -> Path:
    """Returns the video of one line: the line itself if that is a file (spaces included), else its first word."""
    _refuse_address(line.split(separator)[0], where=where)
    candidates = [os.path.expanduser(name) for name in (line, line.split(separator)[0].strip())]  # noqa: PTH111
    for name in candidates:
        for path in (list_path.parent / name, Path(name)):
            if os.path.lexists(path):
                return path
    return list_path.parent / candidates[-1]


def _refuse_address(source: str, *, where: str) -> None:
    if ADDRESS.match(source):
        raise DataError(f"{where}: {source} is an address, which is not supported; download the file first")
