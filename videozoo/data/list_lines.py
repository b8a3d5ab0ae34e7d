"""The lines of list files: a path, then its labels."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Collection, Sequence
from pathlib import Path

from videozoo.data.labels import columns_message, is_number, one_column_a_class
from videozoo.errors import DataError

__all__ = ["GAP", "check_one_label", "refuse_header", "split_labels", "split_path"]

GAP = r"[\s,;]+"
SEPARATORS = " \t,;"
# fmt: off
HEADINGS = frozenset({
    "action", "category", "class", "class_id", "class_index", "class_name", "classes", "clip", "clip_name", "clip_path",
    "end", "file", "file_name", "file_path", "filename", "filepath", "frame_dir", "frames", "id", "index", "label",
    "label_id", "labels", "name", "num_frames", "path", "split", "start", "subset", "target", "total_frames", "video",
    "video_id", "video_name", "video_path", "videos",
})
# fmt: on


def refuse_header(lines: Sequence[tuple[str, str]], *, start: Path, noun: str) -> None:
    """Refuses a first line that names columns.

    Args:
        start: where relative paths start.
        noun: a sample, for the message.

    Raises:
        DataError: the first line is a header.
    """
    for where, line in lines[:1]:
        headings = [field.strip("\"'").lower() for field in re.split(GAP, line) if field]
        if len(headings) > 1 and HEADINGS.issuperset(headings) and not os.path.exists(start / headings[0]):  # noqa: PTH110 (False for names that no file can have)
            raise DataError(f"{where}: '{line}' is a header, not {noun}; remove it, or begin the line with #")


def check_one_label(path: str, rest: str, *, line: str, where: str, form: str) -> None:
    """Refuses the part of a line after its path if it is not one label.

    Args:
        form: the form of a line, for the message.

    Raises:
        DataError: no label, several labels, or several columns.
    """
    numbers = re.split(GAP, rest)
    if not rest:
        raise DataError(f"{where}: '{line}' has no label; {form}")
    if one_column_a_class(numbers):
        raise DataError(columns_message(where, numbers))
    if len(numbers) > 1 and all(map(is_number, numbers)):
        raise DataError(
            f"{where}: '{path}' has {len(numbers)} labels ({rest}); {form}, and several labels need multi_label=true"
        )
    columns = [field.strip() for field in re.split(r"[\t,;]", rest)]
    if len(columns) > 1 and any(map(is_number, columns)):
        raise DataError(f"{where}: '{path}' is followed by {len(columns)} columns ({rest}); {form}")


_QUOTED = re.compile(rf"""(["'])(.+?)\1(?:{GAP}(.*))?""")
_TAB = re.compile(r"([^\t]+)\t(.*)")
_NUMBERS = {
    False: re.compile(rf"(.+?){GAP}(-?\d+(?:{GAP}-?\d+)?)"),  # two at most: the path may end with a number
    True: re.compile(rf"(.+?){GAP}(-?\d+(?:{GAP}-?\d+)*)"),
}
_FIRST_GAP = re.compile(rf"(.+?){GAP}(.*)")


def split_path(line: str, *, multi_label: bool, suffixes: Collection[str]) -> tuple[str, str]:
    """Splits off the path: up to its closing quote, a tab, one of `suffixes`, the last numbers or the first gap."""
    if quoted := _QUOTED.fullmatch(line):
        return quoted[2], (quoted[3] or "").strip(SEPARATORS)
    for form in (_TAB, _ending(tuple(sorted(suffixes))), _NUMBERS[multi_label], _FIRST_GAP):
        if match := form.fullmatch(line):
            return match[1].strip(), (match[2] or "").strip(SEPARATORS)
    return line, ""


@functools.cache
def _ending(suffixes: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(rf"(.*(?:{'|'.join(map(re.escape, suffixes))}))(?:{GAP}(.*))?", re.IGNORECASE)


def split_labels(text: str, *, multi_label: bool) -> list[str]:
    """Splits the labels of a multi-label line: numbers at any separator; names at commas or tabs, else at spaces."""
    fields = [text]
    if multi_label:
        fields = [field for field in re.split(GAP, text) if field]
        if not all(map(is_number, fields)) and re.search(r"[\t,;]", text):
            fields = [field.strip() for field in re.split(r"[\t,;]", text) if field.strip()]
    return [field.strip("\"'") for field in fields]
