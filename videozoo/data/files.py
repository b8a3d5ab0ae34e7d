"""What the formats read from disk: lines of text files, and the clips below a folder."""

from __future__ import annotations

import dataclasses
import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from videozoo.errors import DataError
from videozoo.io.frame_folder import IMAGE_SUFFIXES

__all__ = [
    "VIDEO_SUFFIXES",
    "Clips",
    "check_missing",
    "find_clips",
    "find_stems",
    "read_lines",
    "read_text",
    "some_of",
]

# fmt: off
VIDEO_SUFFIXES = frozenset({
    ".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4",
    ".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".vob", ".webm", ".wmv",
})
# fmt: on


@dataclasses.dataclass(frozen=True)
class Clips:
    """What lies below a folder, each kind sorted by path."""

    videos: list[Path]
    frame_folders: list[tuple[Path, int]]  # with their numbers of frames
    others: list[Path]


def find_clips(folder: Path) -> Clips:
    """The videos below `folder`, and the sub-folders with images and no video; hidden names are skipped."""
    found = Clips([], [], [])
    visited: set[str] = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in visited:  # links may lead in a circle
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        files = [Path(place, name) for name in sorted(names) if not name.startswith(".")]
        videos = [file for file in files if file.suffix.lower() in VIDEO_SUFFIXES]
        images = [file for file in files if file.suffix.lower() in IMAGE_SUFFIXES]
        found.videos.extend(videos)
        if images and not videos and Path(place) != folder:
            found.frame_folders.append((Path(place), len(images)))
            files = [file for file in files if file.suffix.lower() not in IMAGE_SUFFIXES]
        found.others.extend(file for file in files if file.suffix.lower() not in VIDEO_SUFFIXES)
    return Clips(sorted(found.videos), sorted(found.frame_folders), sorted(found.others))


def find_stems(folder: Path) -> dict[str, list[Path]]:
    """The videos anywhere below `folder` by their names without ending.

    Raises:
        DataError: there is no such folder, or no video in it.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder of videos; correct the path")
    stems: dict[str, list[Path]] = defaultdict(list)
    for video in find_clips(folder).videos:
        stems[video.stem].append(video)
    if not stems:
        raise DataError(f"{folder}: holds no videos; known endings are {' '.join(sorted(VIDEO_SUFFIXES))}")
    return dict(stems)


def read_text(path: Path, *, what: str) -> str:
    """The text of a file, in UTF-8 with or without a byte order mark.

    Raises:
        DataError: there is no such file, or it is not text.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such {what}; correct the path") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise DataError(f"{path}:{line}: is not UTF-8 text ({error.reason}); save the {what} as UTF-8") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); give the path of a {what}") from error


def read_lines(path: Path, *, what: str) -> list[tuple[str, str]]:
    """`("file:line", text)` of each line, stripped, without blank lines and those that begin with `#`."""
    lines = ((f"{path}:{n}", line.strip()) for n, line in enumerate(read_text(path, what=what).split("\n"), 1))
    return [(where, line) for where, line in lines if line and not line.startswith("#")]


def check_missing(
    missing: Sequence[tuple[str, str]], total: int, *, searched: str, advice: str, skip: bool
) -> list[str]:
    """The note on entries of a list without a file, given as ("file:line", "no such file ..."), if any.

    Raises:
        DataError: there are some and `skip` is not set, or none but these.
    """
    if not missing:
        return []
    (where, problem), rest = missing[0], missing[1:]
    source = where.rpartition(":")[0]
    if skip and len(missing) < total:
        lines = some_of([w.rpartition(":")[2] for w, _ in missing])
        return [f"left out {len(missing)} of {total} entries whose video is missing ({searched}): lines {lines}"]
    also = f" (also lines {some_of([w.rpartition(':')[2] for w, _ in rest])})" if rest else ""
    if skip:
        raise DataError(f"{source}: all {total} entries lack their video ({searched}); {advice}")
    raise DataError(
        f"{where}: {problem} ({searched}); {len(missing)} of {total} entries lack their video{also}; "
        f"{advice}, or set missing=skip"
    )


def some_of(items: Sequence[object], num_shown: int = 5) -> str:
    """`a, b, c and 7 more`."""
    shown = ", ".join(str(item) for item in items[:num_shown])
    return shown if len(items) <= num_shown else f"{shown} and {len(items) - num_shown} more"
