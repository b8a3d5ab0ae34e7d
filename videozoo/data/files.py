"""Reading from disk for all formats: lines of text files, and the clips below a folder."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from videozoo.errors import DataError
from videozoo.io.clip_files import VIDEO_SUFFIXES, Clips, find_clips

__all__ = [
    "check_missing",
    "find_readable_clips",
    "find_stems",
    "some_of",
]


def find_readable_clips(folder: Path) -> Clips:
    """Finds the clips below `folder`; see `io.clip_files.find_clips`.

    Raises:
        DataError: a folder below it cannot be read; its clips would be missing.
    """
    clips = find_clips(folder)
    for place, reason in clips.unreadable.items():
        raise DataError(f"{place}: cannot be read ({reason}); give read permission, or move it out of {folder}")
    return clips


def find_stems(folder: Path) -> dict[str, list[Path]]:
    """Returns the videos anywhere below `folder` by their names without ending.

    Raises:
        DataError: there is no such folder, or no video in it.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: this folder of videos does not exist; correct the path")
    stems: dict[str, list[Path]] = defaultdict(list)
    for video in find_readable_clips(folder).videos:
        stems[video.stem].append(video)
    if not stems:
        raise DataError(f"{folder}: holds no videos; known endings are {' '.join(sorted(VIDEO_SUFFIXES))}")
    return dict(stems)


def check_missing(
    missing: Sequence[tuple[str, str]], total: int, *, searched: str, advice: str, skip: bool, noun: str = "video"
) -> list[str]:
    """Returns a note on the entries of a list whose file is missing, given as ("file:line", "no such file ...").

    Raises:
        DataError: files are missing and `skip` is not set, or all are missing.
    """
    if not missing:
        return []
    (where, problem), rest = missing[0], missing[1:]
    source = where.rpartition(":")[0]
    if skip and len(missing) < total:
        lines = some_of([w.rpartition(":")[2] for w, _ in missing])
        return [f"left out {len(missing)} of {total} entries without their {noun} ({searched}): lines {lines}"]
    also = f" (also lines {some_of([w.rpartition(':')[2] for w, _ in rest])})" if rest else ""
    if skip:
        raise DataError(f"{source}: all {total} entries lack their {noun} ({searched}); {advice}")
    raise DataError(
        f"{where}: {problem} ({searched}); {len(missing)} of {total} entries lack their {noun}{also}; "
        f"{advice}, or set missing=skip"
    )


def some_of(items: Sequence[object], num_shown: int = 5) -> str:
    """Returns the first items and the number of the others: `a, b, c and 7 more`."""
    shown = ", ".join(str(item) for item in items[:num_shown])
    return shown if len(items) <= num_shown else f"{shown} and {len(items) - num_shown} more"
