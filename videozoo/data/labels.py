"""From what a list calls a class to its index, and where the class names come from."""

from __future__ import annotations

import dataclasses
import difflib
import functools
from collections.abc import Iterable, Sequence
from pathlib import Path

from videozoo.data.files import read_lines
from videozoo.errors import ConfigError, DataError, counted, did_you_mean

__all__ = [
    "CLASS_FILES",
    "ClassIndex",
    "ClassNames",
    "class_index",
    "given_names",
    "is_number",
    "read_class_names",
]

CLASS_FILES = ("classes.txt", "labels.txt")
ClassNames = Sequence[str] | Path | None


@dataclasses.dataclass(frozen=True)
class ClassIndex:
    """The classes of a data set; `said_by` tells in an error message who says so."""

    names: tuple[str, ...]
    said_by: str
    numbering: ClassIndex | None = None  # what the list's numbers count, where that is another order of classes

    @functools.cached_property
    def indices(self) -> dict[str, int]:
        """The index of each name."""
        return {name: i for i, name in enumerate(self.names)}

    def index(self, label: str, *, where: str) -> int:
        """The index that a label means: a whole number is the index itself, anything else a class name.

        Raises:
            DataError: the number is out of range, or no class has the name.
        """
        if is_number(label) and self.numbering is not None:
            name = self.numbering.names[self.numbering.index(label, where=where)]
            return self.index_of_name(name, where=where, what=f"label {label},")
        if is_number(label):
            if not 0 <= int(label) < len(self.names):
                raise DataError(f"{where}: label {label} is outside 0..{len(self.names) - 1}; {self.said_by}")
            return int(label)
        return self.index_of_name(label, where=where)

    def index_of_name(self, name: str, *, where: str, what: str = "label") -> int:
        """The index of a class name, also when that is a number.

        Raises:
            DataError: no class has the name.
        """
        if name not in self.indices:
            raise DataError(f"{where}: {what} '{name}' is no class, {self.said_by}{_nearest(name, self.names)}")
        return self.indices[name]


def class_index(
    class_names: ClassNames, *, num_classes: int | None, folder: Path, labels: Sequence[tuple[str, str]]
) -> ClassIndex:
    """The classes by the first of these that says them.

    1. `class_names`, a sequence or the path of a file with one name a line; numbers in the list still count the
       names of a classes.txt beside it, and are matched to a sequence by name;
    2. classes.txt or labels.txt in `folder`;
    3. the labels of the list, as ("file:line", label): sorted when they are names; when they are numbers,
       "0", "1", ... up to `num_classes` or the largest.

    Raises:
        ConfigError: the number of names is not `num_classes`.
        DataError: there is no such file, or numbers and names are mixed.
    """
    if num_classes is not None and num_classes < 1:
        raise ConfigError(f"num_classes: should be at least 1; got {num_classes}")
    beside = next((folder / name for name in CLASS_FILES if (folder / name).is_file()), None)
    found = given_names(beside if class_names is None else class_names)
    if found is None:
        found = _from_labels(labels, num_classes)
    elif beside is not None and class_names is not None and not isinstance(class_names, str | Path):
        counted = given_names(beside)  # the list was numbered by it, whatever order the model's classes have
        if counted is not None and counted.names != found.names:
            found = dataclasses.replace(found, numbering=counted)
    if num_classes is not None and len(found.names) != num_classes:
        raise ConfigError(
            f"num_classes: the recipe says {num_classes}, but {found.said_by}; correct one of them or leave one out"
        )
    return found


def given_names(class_names: ClassNames) -> ClassIndex | None:
    """The classes that a recipe, a file or the training data names; None when nothing is given."""
    if class_names is None:
        return None
    if isinstance(class_names, str | Path):
        names = read_class_names(Path(class_names))
        return ClassIndex(names, f"{class_names} names {counted(len(names), 'class')}")
    if not class_names:
        raise ConfigError("class_names: is empty; name the classes or leave it out")
    return ClassIndex(tuple(class_names), f"the recipe or the training data names {counted(len(class_names), 'class')}")


def read_class_names(path: Path) -> tuple[str, ...]:
    """The names in a file: one a line in order, or with their indices, `name index` or `index name`.

    Indices count from 0 or 1, without gaps and in any order.

    Raises:
        DataError: there is no such file, it is empty, or a name stands twice.
    """
    lines = read_lines(path, what="file of class names")
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
            raise DataError(f"{path}: class name '{name}' stands more than once; each class needs its own name")
        seen.add(name)
    return tuple(names)


def is_number(label: str) -> bool:
    """Whether a label is a whole number, with or without a sign, in ASCII digits."""
    digits = label.removeprefix("-")
    return digits.isascii() and digits.isdigit()


def _from_labels(labels: Sequence[tuple[str, str]], num_classes: int | None) -> ClassIndex:
    numbers = [(where, label) for where, label in labels if is_number(label)]
    names = [(where, label) for where, label in labels if not is_number(label)]
    if numbers and names:
        raise DataError(
            f"{names[0][0]}: label '{names[0][1]}' is a name, but {numbers[0][0]} has {numbers[0][1]}; "
            "write all labels alike, or name the classes in class_names or in a classes.txt beside the list"
        )
    if names:
        distinct = tuple(sorted({label for _, label in names}))
        return ClassIndex(distinct, f"the list names {counted(len(distinct), 'class')}")
    if num_classes is not None:
        return ClassIndex(tuple(map(str, range(num_classes))), f"the recipe says num_classes={num_classes}")
    top = max((int(label) for _, label in numbers), default=0)
    return ClassIndex(tuple(map(str, range(max(top, 0) + 1))), "labels count from 0")


def _without(text: str, number: str, place: int) -> str:
    cut = text.removeprefix(number) if place == 0 else text.removesuffix(number)
    return cut.strip(" \t,")


def _nearest(name: str, names: Iterable[str]) -> str:
    """As `did_you_mean`, but without listing hundreds of classes."""
    names = list(names)
    if len(names) <= 20:
        return did_you_mean(name, names)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    return f"; did you mean {' or '.join(repr(n) for n in near)}?" if near else "; correct the label"
