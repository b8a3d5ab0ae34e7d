"""Maps labels of a list to class indices, and finds the class names."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from videozoo.errors import ConfigError, DataError, counted, did_you_mean
from videozoo.structured import read_lines, shown

__all__ = [
    "CLASS_FILES",
    "ClassIndex",
    "ClassNames",
    "class_index",
    "columns_message",
    "given_names",
    "is_number",
    "one_column_a_class",
    "read_class_names",
]

CLASS_FILES = ("classes.txt", "labels.txt")
ClassNames = Sequence[str] | Path | None
MOST_CLASSES = 1_000_000
MOST_DIGITS = 18  # more digits make a name: no such number can count classes
MOST_LABELS_OF_ONE = 20  # with so many samples, labels that are all different are taken for ids


@dataclasses.dataclass(frozen=True)
class ClassIndex:
    """The classes of a data set; `named_by` names their source in error messages."""

    names: tuple[str, ...]
    named_by: str
    numbering: ClassIndex | None = None  # the order that the list's numbers refer to, if it differs from `names`

    @functools.cached_property
    def indices(self) -> dict[str, int]:
        """Maps each name to its index."""
        return {name: i for i, name in enumerate(self.names)}

    def index(self, label: str, *, where: str) -> int:
        """Returns the index of a label: a whole number is the index itself, any other text a class name.

        Raises:
            DataError: the number is out of range, or no class has the name.
        """
        if is_number(label) and self.numbering is not None:
            name = self.numbering.names[self.numbering.index(label, where=where)]
            return self.index_of_name(name, where=where, noun=f"label {label},")
        if is_number(label):
            if not 0 <= int(label) < len(self.names):
                raise DataError(f"{where}: label {label} is outside 0..{len(self.names) - 1}; {self.named_by}")
            return int(label)
        return self.index_of_name(label, where=where)

    def index_of_name(self, name: str, *, where: str, noun: str = "label") -> int:
        """Returns the index of a class name, even if the name is a number.

        Raises:
            DataError: no class has the name.
        """
        if name not in self.indices:
            raise DataError(
                f"{where}: {noun} {shown(name)} is not a class, {self.named_by}{_nearest(name, self.names)}"
            )
        return self.indices[name]


def class_index(
    class_names: ClassNames, *, num_classes: int | None, folder: Path, samples: Sequence[tuple[str, Sequence[str]]]
) -> ClassIndex:
    """Returns the classes from the first of these sources that exists.

    1. `class_names`, a sequence or the path of a file with one name a line; numbers in the list still refer
       to a classes.txt in its folder, and are matched to a sequence by name;
    2. classes.txt or labels.txt in `folder`;
    3. the labels of the list: sorted when they are names; when they are numbers, "0", "1", ... up to `num_classes` or
       the largest.

    Args:
        samples: ("file:line", its labels) of each sample.

    Raises:
        ConfigError: the number of names is not `num_classes`.
        DataError: there is no such file, numbers and names are mixed, or the labels do not look like classes.
    """
    if num_classes is not None and not 1 <= num_classes <= MOST_CLASSES:
        raise ConfigError(f"num_classes: should be from 1 to {MOST_CLASSES}; got {num_classes}")
    _check_samples(samples)
    labels = [(where, label) for where, own in samples for label in own]
    stored = next((folder / name for name in CLASS_FILES if (folder / name).is_file()), None)
    found = given_names(stored if class_names is None else class_names)
    if found is None:
        found = _from_labels(labels, num_classes)
    elif stored is not None and class_names is not None and not isinstance(class_names, str | Path):
        counted = given_names(stored)  # the list's numbers refer to it, whatever the order of the model's classes
        if counted is not None and counted.names != found.names:
            found = dataclasses.replace(found, numbering=counted)
    numbers = [int(label) for _, label in labels if is_number(label)]
    if numbers and found.numbering is None and min(numbers) > 0 and max(numbers) == len(found.names):
        counted_from_1 = f"labels count from 0, but the labels of this list run from {min(numbers)} to {max(numbers)}"
        found = dataclasses.replace(found, named_by=f"{found.named_by}; {counted_from_1}")
    if num_classes is not None and len(found.names) != num_classes:
        raise ConfigError(
            f"num_classes: the recipe says {num_classes}, but {found.named_by}; correct one of them or leave one out"
        )
    return found


def given_names(class_names: ClassNames) -> ClassIndex | None:
    """Returns the classes named by a recipe, a file or the training data; None if `class_names` is None."""
    if class_names is None:
        return None
    if isinstance(class_names, str | Path):
        names = read_class_names(Path(class_names))
        return ClassIndex(names, f"{class_names} names {counted(len(names), 'class')}")
    if not class_names:
        raise ConfigError("class_names: is empty; name the classes or leave it out")
    return ClassIndex(tuple(class_names), f"the recipe or the training data names {counted(len(class_names), 'class')}")


def read_class_names(path: Path) -> tuple[str, ...]:
    """Reads the names in a file: one a line in order, or with their indices, `name index` or `index name`.

    Indices count from 0 or 1, without gaps and in any order.

    Raises:
        DataError: there is no such file, it is empty, or a name appears twice.
    """
    lines = read_lines(path, kind="file of class names")
    if not lines:
        raise DataError(f"{path}: holds no class names; write one a line")
    texts = [line for _, line in lines]
    fields = [line.replace("\t", " ").replace(",", " ").split() for line in texts]
    names = texts
    for place in (0, -1):
        if all(len(f) > 1 and is_number(f[place]) for f in fields):
            numbers = [int(f[place]) for f in fields]
            first = min(numbers)
            cut = [_without(text, f[place], place) for text, f in zip(texts, fields, strict=True)]
            is_counted = first in (0, 1) and sorted(numbers) == list(range(first, first + len(numbers)))
            if is_counted and len(set(cut)) == len(cut):  # "level 1", "level 2" are names
                names = [name for _, name in sorted(zip(numbers, cut, strict=True))]
                break
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise DataError(f"{path}: class name '{name}' appears more than once; each class needs its own name")
        seen.add(name)
    return tuple(names)


def is_number(label: str) -> bool:
    """Returns whether a label is a whole number, with or without a sign, of at most 18 ASCII digits."""
    digits = label.removeprefix("-")
    return digits.isascii() and digits.isdigit() and len(digits) <= MOST_DIGITS


def one_column_a_class(labels: Sequence[str]) -> bool:
    """Returns whether the labels can be a 0 or 1 for each class, a common format for multi-label data."""
    return len(labels) > 1 and all(label in ("0", "1", "0.0", "1.0") for label in labels)


def _check_samples(samples: Sequence[tuple[str, Sequence[str]]]) -> None:
    """Refuses labels in a format that lists do not have.

    Raises:
        DataError: every sample has the same number of zeros and ones, or a sample has a label twice.
    """
    labeled = [(where, labels) for where, labels in samples if labels]
    if len({len(labels) for _, labels in labeled}) == 1 and all(one_column_a_class(labels) for _, labels in labeled):
        where, labels = labeled[0]
        raise DataError(columns_message(where, labels))
    for where, labels in labeled:
        if len(set(labels)) < len(labels):
            twice = next(label for label in labels if labels.count(label) > 1)
            raise DataError(f"{where}: label {shown(twice)} appears twice; name each class of a sample once")


def columns_message(where: str, labels: Sequence[str]) -> str:
    """Returns the error message for labels with one column for each class."""
    present = [str(i) for i, label in enumerate(labels) if float(label)]
    return (
        f"{where}: {shown(' '.join(labels))} looks like one column for each class; write the numbers of the columns "
        f"that are 1 ({' '.join(present) or 'none'}), or the names of those classes"
    )


_NO_LABEL = re.compile(r"-?\d+\.\d*|-?\.\d+|-?\d+(\.\d*)?e[+-]?\d+|\d+(:\d\d)+(\.\d+)?", re.IGNORECASE)


def _from_labels(labels: Sequence[tuple[str, str]], num_classes: int | None) -> ClassIndex:
    numbers = [(where, label) for where, label in labels if is_number(label)]
    names = [(where, label) for where, label in labels if not is_number(label)]
    for where, label in names:
        if _NO_LABEL.fullmatch(label):
            raise DataError(
                f"{where}: label {shown(label)} is a time or a number with a fraction; "
                "a label is a whole number from 0 or the name of a class"
            )
    if numbers and names:
        raise DataError(
            f"{names[0][0]}: label {shown(names[0][1])} is a name, but {numbers[0][0]} has {numbers[0][1]}; "
            "write all labels alike, or name the classes in class_names or in a classes.txt in the list's folder"
        )
    if names:
        _refuse_ids(names)
        distinct = tuple(sorted({label for _, label in names}))
        return ClassIndex(distinct, f"the list names {counted(len(distinct), 'class')}")
    if num_classes is not None:
        return ClassIndex(tuple(map(str, range(num_classes))), f"the recipe says num_classes={num_classes}")
    return ClassIndex(tuple(map(str, range(_num_classes(numbers)))), "labels count from 0")


def _num_classes(numbers: Sequence[tuple[str, str]]) -> int:
    """Returns the largest label plus one, unless it is far beyond the number of samples.

    Raises:
        DataError: a label is negative, or most classes would have no sample.
    """
    if not numbers:
        return 1
    where, top = max(((where, int(label)) for where, label in numbers), key=lambda pair: pair[1])
    negative = next(((where, label) for where, label in numbers if int(label) < 0), None)
    if negative is not None:
        raise DataError(f"{negative[0]}: label {negative[1]} is negative; labels count from 0")
    num_used = len({int(label) for _, label in numbers})
    num_empty = top + 1 - num_used
    if num_empty > num_used:
        raise DataError(
            f"{where}: label {top} makes {top + 1} classes, {num_empty} of them without a sample; correct the label "
            "(it may be a number of frames, a time or an id), or set num_classes or class_names if there are that many"
        )
    _refuse_ids(numbers)
    return top + 1


def _refuse_ids(labels: Sequence[tuple[str, str]]) -> None:
    """Refuses labels that differ for every sample.

    Raises:
        DataError: no two samples share a label.
    """
    if len(labels) >= MOST_LABELS_OF_ONE and len({label for _, label in labels}) == len(labels):
        where, label = labels[0]
        raise DataError(
            f"{where}: every label appears once, like an id (e.g. {shown(label)}): {len(labels)} classes of one "
            "sample each; give the column with the classes, or set class_names"
        )


def _without(text: str, number: str, place: int) -> str:
    cut = text.removeprefix(number) if place == 0 else text.removesuffix(number)
    return cut.strip(" \t,")


def _nearest(name: str, names: Iterable[str]) -> str:
    """Returns a hint like `did_you_mean`, but without listing hundreds of classes."""
    names = list(names)
    if len(names) <= 20:
        return did_you_mean(name, names)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    return f"; did you mean {' or '.join(repr(n) for n in near)}?" if near else "; correct the label"
