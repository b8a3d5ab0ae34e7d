"""UCF101 and its three official splits."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Literal

from videozoo.contracts.record import ClipRecord
from videozoo.data.dataset import ClipDataset, assemble
from videozoo.data.files import check_missing, find_stems
from videozoo.data.labels import ClassIndex, ClassNames, given_names, is_number, read_class_names
from videozoo.data.registry import register_dataset
from videozoo.errors import DataError, counted
from videozoo.structured import read_lines

__all__ = ["ucf101"]


@register_dataset
def ucf101(
    path: str | Path,
    split_dir: str | Path,
    *,
    split: Literal[1, 2, 3] = 1,
    subset: Literal["train", "test"] = "train",
    class_names: ClassNames = None,
    missing: Literal["error", "skip"] = "error",
) -> ClipDataset:
    """Reads UCF101, http://arxiv.org/abs/1212.0402, by the lists of its authors.

    Reads classInd.txt and trainlist0<split>.txt or testlist0<split>.txt from `split_dir`. A line's video is
    found by its name anywhere below `path`, with any video ending, so re-encoded copies and flat folders work.

    Args:
        class_names: the classes in order, or a file with one a line, instead of classInd.txt.

    Raises:
        DataError: a missing list, a malformed line, an unknown class, a label of a different class, a missing video.
    """
    lists = Path(split_dir)
    class_file = lists / "classInd.txt"
    names = read_class_names(class_file)
    official = ClassIndex(names, f"{class_file} names {counted(len(names), 'class')}")
    classes = given_names(class_names) or official
    file = lists / f"{subset}list{split:02d}.txt"
    lines = read_lines(file, kind="UCF101 split")
    if not lines:
        raise DataError(f"{file}: the list is empty; fetch the splits again")
    stems = find_stems(Path(path))
    absent: list[tuple[str, str]] = []
    records: list[ClipRecord] = []
    for where, line in lines:
        name, *numbers = line.split()
        clip = PurePosixPath(name)
        if len(clip.parts) != 2 or len(numbers) > 1 or not all(map(is_number, numbers)):
            raise DataError(f"{where}: '{line}' is malformed; a line is 'Class/v_Class_g01_c01.avi label'")
        number = official.index_of_name(clip.parts[0], where=where, noun="class folder") + 1
        if numbers and int(numbers[0]) != number:
            raise DataError(f"{where}: label {numbers[0]} is not {clip.parts[0]}'s; {class_file} gives it {number}")
        label = classes.index_of_name(clip.parts[0], where=where, noun="class folder")
        if clip.stem not in stems:
            absent.append((where, f"no video '{name}'"))
            continue
        records.append(ClipRecord(name, stems[clip.stem][0], (label,)))
    notes = check_missing(
        absent,
        len(lines),
        searched=f"below {path}",
        advice="fetch the videos or correct the path",
        skip=missing == "skip",
    )
    return assemble(records, classes.names, source=str(file), notes=notes)
