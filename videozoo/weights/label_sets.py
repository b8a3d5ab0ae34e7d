"""Class names of public data sets, in the order of published classifiers; `labels/SOURCES.md` names their sources."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from importlib.resources import files

from videozoo.errors import WeightsError, did_you_mean

__all__ = ["LABEL_SETS", "LabelSet", "label_set"]

LABEL_SETS = (
    "diving48",
    "hmdb51",
    "kinetics400",
    "kinetics600",
    "kinetics700",
    "kinetics710_videomae2",
    "ssv2",
    "ucf101",
)
LARGER_SETS = {"kinetics400": "kinetics710_videomae2"}


@dataclasses.dataclass(frozen=True)
class LabelSet:
    """The classes of a data set.

    rows: for classifiers of a larger set that contains this one, by their number of classes, the output of each class.
    """

    name: str
    class_names: tuple[str, ...]
    rows: tuple[tuple[int, tuple[int, ...]], ...] = ()

    def rows_of(self, num_classes: int) -> Sequence[int] | None:
        """Returns the outputs of a classifier of `num_classes` that are this set's classes; None if all are, in order.

        Raises:
            WeightsError: no known classifier of these classes has so many outputs.
        """
        if num_classes == len(self.class_names):
            return None
        for count, rows in self.rows:
            if count == num_classes:
                return rows
        raise WeightsError(
            f"labels {self.name}: has {len(self.class_names)} classes, but the weights have {num_classes}; give the "
            "set or the file of names that belongs to them"
        )


@functools.cache
def label_set(name: str) -> LabelSet:
    """Returns the label set `name`.

    Raises:
        WeightsError: there is no such set; the nearest name is suggested.
    """
    if name not in LABEL_SETS:
        raise WeightsError(f"labels '{name}': there is no such file and no such set{did_you_mean(name, LABEL_SETS)}")
    larger = LARGER_SETS.get(name)
    if larger is None:
        return LabelSet(name, _lines(name))
    numbers = tuple(int(line) for line in _lines(f"{larger}_to_{name}"))
    return LabelSet(name, _lines(name), ((len(_lines(larger)), numbers),))


def _lines(name: str) -> tuple[str, ...]:
    return tuple((files("videozoo.weights") / "labels" / f"{name}.txt").read_text(encoding="utf-8").splitlines())
