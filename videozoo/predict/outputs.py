"""The paths of the files for each video: unique names, checks that they can be written; and clips."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from videozoo.contracts.video import Span
from videozoo.errors import ConfigError, DataError
from videozoo.io.cut import copy_cut, cut
from videozoo.predict.frames import Video, open_source

__all__ = ["check_writable", "cut_spans", "is_folder", "plan_outputs", "slug"]


def is_folder(path: Path) -> bool:
    """Returns whether an output path is a folder; a missing path without an ending is one."""
    return path.is_dir() or not (path.suffix or path.exists())  # /dev/stdout is a file


def plan_outputs(videos: Sequence[Path], wanted: Path | None, *, ending: str) -> dict[Path, Path]:
    """Returns the output path for each video: the path itself for one, a name in that folder for several.

    Without an ending the paths are prefixes of file names, in a folder also for one video.

    Raises:
        ConfigError: the path cannot be written to; this is checked before the work.
    """
    if wanted is None:
        return {}
    check_writable(wanted)
    if len(videos) == 1 and ending and not is_folder(wanted):
        return {videos[0]: wanted}
    if wanted.is_file():
        raise ConfigError(f"{wanted}: is a file, but there are several to write; give a folder")
    outputs: dict[Path, Path] = {}
    for video in videos:
        name, number = f"{video.stem}{ending}", 1
        while wanted / name in outputs.values():
            number += 1
            name = f"{video.stem}-{number}{ending}"
        outputs[video] = wanted / name
    return outputs


def check_writable(path: Path) -> None:
    """Refuses a path that cannot be written to.

    Raises:
        ConfigError: a parent is a file, or the user has no permission.
    """
    above = next(place for place in (path.absolute(), *path.absolute().parents) if place.exists())
    if above != path.absolute() and not above.is_dir():
        raise ConfigError(f"{path}: cannot be written, {above} is a file; give a path in a folder")
    if not os.access(above, os.W_OK):
        raise ConfigError(f"{path}: cannot be written, no permission for {above}; give another path")


def cut_spans(
    video: Video, spans: Sequence[Span], stem: Path, *, fps: float | None = None, copy: bool = False
) -> list[Path]:
    """Writes each span as a clip named after `stem`: `match-001-moves_left.mp4`, ...; returns their paths.

    Args:
        fps: rate of a folder's or an array's frames.
        copy: copy the packets without encoding; see `io.cut.copy_cut`.

    Raises:
        DataError: frames have no packets to copy; also the errors of `io.cut.cut`.
    """
    stem.parent.mkdir(parents=True, exist_ok=True)
    clips = []
    with open_source(video, fps=fps) as reader:
        source = Path(reader.info.path)
        if copy and not (isinstance(video, str | os.PathLike) and not source.is_dir()):
            raise DataError(f"{source}: holds frames, which have no packets to copy; leave out --cut-copy")
        for number, span in enumerate(spans, start=1):
            clip = stem.with_name(f"{stem.name}-{number:03d}-{slug(span.label)}{source.suffix if copy else '.mp4'}")
            if copy:
                copy_cut(source, clip, start_s=span.start_s, end_s=span.end_s)
            else:
                cut(reader, clip, start_s=span.start_s, end_s=span.end_s)
            clips.append(clip)
    return clips


def slug(label: str) -> str:
    """Turns a label into a part of a file name."""
    words = "".join(c if c.isalnum() or c in "-_." else " " for c in label).split()
    return "_".join(words)[:60].strip(".") or "segment"
