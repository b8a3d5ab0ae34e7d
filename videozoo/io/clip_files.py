"""Finds the videos below a folder, by the same rules for training, prediction, extraction and index."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from videozoo.io.frame_folder import IMAGE_SUFFIXES
from videozoo.io.whole_file import is_unfinished

__all__ = ["VIDEO_SUFFIXES", "Clips", "find_clips", "is_passed_over"]

# fmt: off
VIDEO_SUFFIXES = frozenset({
    ".3gp", ".asf", ".avi", ".flv", ".gif", ".h264", ".hevc", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4",
    ".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".ts", ".vob", ".webm", ".wmv",
})
# fmt: on


@dataclasses.dataclass(frozen=True)
class Clips:
    """The files below a folder by kind, each sorted by path.

    Attributes:
        videos: files and links with a video suffix; a broken link fails when it is opened.
        frame_folders: subfolders with images and no video, with their numbers of images.
        others: the other files.
        unreadable: folders without read permission and broken links to folders, each with the reason.
    """

    videos: list[Path]
    frame_folders: list[tuple[Path, int]]
    others: list[Path]
    unreadable: dict[Path, str]


def find_clips(folder: Path) -> Clips:
    """Finds the videos below `folder`, and the subfolders with images and no video.

    Links to folders are followed, each folder once. Hidden names (`.x`) and unfinished files (`x.part.mp4`) are
    skipped.
    """
    videos: list[Path] = []
    frame_folders: list[tuple[Path, int]] = []
    others: list[Path] = []
    unreadable: dict[Path, str] = {}

    def note(error: OSError) -> None:
        unreadable[Path(error.filename)] = (error.strerror or str(error)).lower()

    visited: set[str] = set()
    for place, folders, names in os.walk(folder, followlinks=True, onerror=note):
        real = os.path.realpath(place)
        if real in visited:  # links may form a cycle
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(name for name in folders if not is_passed_over(name))
        files = [Path(place, name) for name in names if not is_passed_over(name)]
        here = [file for file in files if file.suffix.lower() in VIDEO_SUFFIXES]
        images = [file for file in files if file.suffix.lower() in IMAGE_SUFFIXES]
        videos += here
        if images and not here and Path(place) != folder:
            frame_folders.append((Path(place), len(images)))
            files = [file for file in files if file.suffix.lower() not in IMAGE_SUFFIXES]
        for file in files:
            if file.suffix.lower() in VIDEO_SUFFIXES:
                continue
            if not file.suffix and file.is_symlink() and not os.path.exists(file):  # noqa: PTH110 (never raises)
                unreadable[file] = f"it is a link to {os.readlink(file)}, which does not exist"  # noqa: PTH115
            else:
                others.append(file)
    return Clips(sorted(videos), sorted(frame_folders), sorted(others), dict(sorted(unreadable.items())))


def is_passed_over(name: str) -> bool:
    """Returns whether a file or folder is hidden or unfinished, and therefore skipped when a folder is searched."""
    return name.startswith(".") or is_unfinished(name)
