"""A list file with one clip a line: `path label`."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from videozoo.contracts.record import ClipRecord
from videozoo.data.dataset import ClipDataset, Subset, assemble, check_val_share, half_of
from videozoo.data.files import check_missing
from videozoo.data.labels import ClassIndex, ClassNames, class_index
from videozoo.data.list_lines import GAP, check_one_label, refuse_header, split_labels, split_path
from videozoo.data.registry import register_dataset
from videozoo.errors import DataError
from videozoo.io.clip_files import VIDEO_SUFFIXES
from videozoo.structured import read_lines

__all__ = ["clip_list", "list_line"]

FORMS = {
    False: "a line is 'path label', or 'path num_frames label' for a folder of frames",
    True: "a line is 'path label label ...', or 'path num_frames label ...' for a folder of frames",
}


@register_dataset
def clip_list(
    path: str | Path,
    *,
    root: str | Path | None = None,
    class_names: ClassNames = None,
    num_classes: int | None = None,
    multi_label: bool = False,
    missing: Literal["error", "skip"] = "error",
    fps: float | None = None,
    subset: Subset | None = None,
    val_share: float = 0.2,
) -> ClipDataset:
    """Reads a list file: `path label`, `path label label ...`, or `path num_frames label` for a folder of frames.

    Fields are separated by spaces, tabs, commas or semicolons; labels are numbers from 0 or class names. A path may
    hold spaces; it needs quotes only if its end is ambiguous. Blank lines and lines that begin with # are
    skipped.

    Args:
        root: where relative paths start; the list's own folder by default.
        class_names: the classes in order, or a file with one a line; by default a classes.txt or labels.txt
            in the list's folder, else the names in the list, else "0", "1", ...
        num_classes: how many classes there are, when nothing names them and the list may lack the last ones.
        multi_label: a clip has any number of labels.
        missing: "skip" leaves out paths that do not exist, with a warning; "error" refuses them.
        fps: the frame rate of folders of frames, for an input that counts time.
        subset: half of the list, split by the hash of the paths within each class, the same on every machine.
        val_share: share of each class that this split holds out.

    Raises:
        DataError: no such list, an empty one, a malformed line, an unknown label, or a missing path.
    """
    file = Path(path)
    check_val_share(val_share, where=str(file))
    start = file.parent if root is None else Path(root)
    texts = read_lines(file, kind="list file")
    refuse_header(texts, start=start, noun="a clip")
    lines = [_parse(line, where=where, start=start, multi_label=multi_label) for where, line in texts]
    if not lines:
        raise DataError(f"{file}: the list is empty; {FORMS[multi_label]}")
    notes = check_missing(
        [(line.where, f"no such file '{line.path}'") for line in lines if not line.exists],
        len(lines),
        searched=f"root: {start}",
        advice="correct the paths or the root",
        skip=missing == "skip",
    )
    classes = class_index(
        class_names,
        num_classes=num_classes,
        folder=file.parent,
        samples=[(line.where, line.labels) for line in lines],
    )
    records = _records(lines, classes, fps=fps)
    if subset is not None:
        records = half_of(records, subset, val_share=val_share, where=str(file))
    source = f"{file} ({subset})" if subset else str(file)
    return assemble(records, classes.names, source=source, multi_label=multi_label, notes=notes)


def _records(lines: Sequence[_Line], classes: ClassIndex, *, fps: float | None) -> list[ClipRecord]:
    records = []
    for line in lines:
        labels = tuple(classes.index(label, where=line.where) for label in line.labels)
        extra = {"fps": fps} if fps is not None and line.num_frames is not None else {}
        if line.exists:
            records.append(ClipRecord(line.path, line.place, labels, line.num_frames, extra=extra))
    return records


def list_line(path: str, labels: tuple[int, ...], *, num_frames: int | None = None) -> str:
    """Returns the line that `clip_list` reads as this clip."""
    if re.search(r"[\s,;]|^[#\"']", path):
        quote = "'" if '"' in path else '"'
        path = f"{quote}{path}{quote}"
    return " ".join([path, *([] if num_frames is None else [str(num_frames)]), *map(str, labels)])


COUNTED = re.compile(rf"(\d+)(?:{GAP}(.*))?")


class _Line(NamedTuple):
    where: str
    path: str  # as written
    place: Path
    exists: bool
    num_frames: int | None
    labels: list[str]


def _parse(line: str, *, where: str, start: Path, multi_label: bool) -> _Line:
    path, rest = split_path(line, multi_label=multi_label, suffixes=VIDEO_SUFFIXES)
    place = _place(start, path)
    is_file = os.path.isfile(place)  # noqa: PTH113 (False for names that no file can have)
    is_folder = os.path.isdir(place)  # noqa: PTH112 (False for names that no file can have)
    if not is_file and not is_folder:
        _refuse_label_first(line, where=where, start=start)
    counted = COUNTED.fullmatch(rest)
    num_frames = None
    if is_folder and (counted is None or int(counted[1]) < 1):
        raise DataError(f"{where}: '{path}' is a folder without a number of frames; {FORMS[multi_label]}")
    if counted and (is_folder or (not is_file and counted[2] and place.suffix.lower() not in VIDEO_SUFFIXES)):
        num_frames, rest = int(counted[1]), counted[2] or ""
    if not multi_label:
        check_one_label(path, rest, line=line, where=where, form=FORMS[False])
    labels = split_labels(rest, multi_label=multi_label)
    return _Line(where, path, place, is_file or is_folder, num_frames, labels)


def _place(start: Path, path: str) -> Path:
    """Returns the path of the clip; Windows' separators are accepted on every system."""
    place = start / path
    if "\\" in path and not os.path.exists(place):  # noqa: PTH110 (False for names that no file can have)
        return start / path.replace("\\", "/")
    return place


def _refuse_label_first(line: str, *, where: str, start: Path) -> None:
    """Refuses a line with its label before its path.

    Raises:
        DataError: the path comes last.
    """
    label, *fields = re.split(GAP, line, maxsplit=1)
    if fields and os.path.exists(_place(start, path := fields[0].strip("\"'"))):  # noqa: PTH110 (False for names that no file can have)
        raise DataError(f"{where}: label '{label}' stands before '{path}'; {FORMS[False]}")
