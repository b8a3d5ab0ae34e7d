"""The data set that every format of clip data gives: checked records with class names."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal, TypeVar

from videozoo.contracts.dataset import Dataset
from videozoo.contracts.record import ClipRecord, Record
from videozoo.data.check import folders_like_classes
from videozoo.data.files import some_of
from videozoo.errors import ConfigError, DataError, counted

__all__ = ["ClipDataset", "LabeledDataset", "Subset", "assemble", "check_val_share", "half_of"]

R = TypeVar("R", bound=Record, covariant=True)
LR = TypeVar("LR", bound=Record)

Subset = Literal["train", "val"]

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class LabeledDataset(Dataset[R]):
    """Records with labels, class names and notes. Nothing is decoded.

    Attributes:
        class_names: the name of label 0, 1, ...
        records: one a sample, with ids that are unique.
        multi_label: a sample has any number of labels; otherwise one, or none if the truth is unknown.
        source: the file or folder it was read from.
        notes: samples that were left out or look odd, one sentence each.

    Raises:
        DataError: no records, an id or a class name given twice, a label without a class, too many labels.
    """

    class_names: tuple[str, ...]
    records: list[R] = dataclasses.field(repr=False)
    multi_label: bool = False
    source: str = "data set"
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.records:
            raise DataError(f"{self.source}: holds no samples; a data set needs at least one")
        for kind, names in (("class name", self.class_names), ("id", (r.id for r in self.records))):
            twice = [name for name, count in Counter(names).items() if count > 1]
            if twice:
                raise DataError(f"{self.source}: {kind} '{twice[0]}' appears more than once; each must be unique")
        for record in self.records:
            labels = record.labels or ()
            if len(labels) > 1 and not self.multi_label:
                raise DataError(
                    f"{self.source}: '{record.id}' has {len(labels)} labels; "
                    "single-label data has one each, or set multi_label=true"
                )
            if len(set(labels)) < len(labels):
                raise DataError(f"{self.source}: '{record.id}' has a label twice {labels}; name each class once")
            for label in labels:
                if not 0 <= label < len(self.class_names):
                    raise DataError(
                        f"{self.source}: label {label} of '{record.id}' is outside "
                        f"0..{len(self.class_names) - 1}; there are {len(self.class_names)} class names"
                    )

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> R:
        return self.records[index]

    def __iter__(self) -> Iterator[R]:
        return iter(self.records)

    def class_counts(self) -> list[int]:
        """Returns the number of samples of each label, in class order."""
        counts = Counter(label for record in self.records for label in record.labels or ())
        return [counts[label] for label in range(len(self.class_names))]


@dataclasses.dataclass(frozen=True)
class ClipDataset(LabeledDataset[ClipRecord]):
    """A data set of clips; see `LabeledDataset` for its attributes and errors."""


D = TypeVar("D", bound=LabeledDataset[Any])


def assemble(
    records: Iterable[LR],
    class_names: Sequence[str],
    *,
    source: str,
    multi_label: bool = False,
    notes: Sequence[str] = (),
    make: Callable[..., D] = ClipDataset,  # type: ignore[assignment]
) -> D:
    """Builds the data set of `records` and logs its notes as warnings.

    A repeated sample is kept as often as it is listed (some lists repeat samples on purpose), as `id#2`, `id#3`.
    Repeats, classes without samples and a single class whose sub-folders look like classes are noted.

    Args:
        make: builds the data set from the fields of `LabeledDataset`.

    Raises:
        DataError: see `LabeledDataset`.
    """
    records, notes = list(records), list(notes)
    unique, repeated = _unique_ids(records)
    if repeated:
        again = counted(sum(repeated.values()), "sample")
        notes.append(f"{again} listed again, counted as often: {some_of(list(repeated))}")
        notes += _differing(records)
    dataset = make(tuple(class_names), unique, multi_label, source)
    notes += _odd_classes(dataset)
    for note in notes:
        log.warning("%s: %s", source, note)
    return dataclasses.replace(dataset, notes=tuple(notes))


def check_val_share(val_share: float, *, where: str) -> None:
    """Refuses a share that leaves one half empty.

    Raises:
        ConfigError: the share is not between 0 and 1.
    """
    if not 0 < val_share < 1:
        raise ConfigError(f"{where}: val_share should be between 0 and 1; got {val_share}")


def half_of(records: Sequence[LR], subset: Subset, *, val_share: float, where: str) -> list[LR]:
    """Returns the training or the validation half of samples, split by the hash of their ids within each class.

    Args:
        val_share: approximate share of each class that is held out: at least one of two samples or more, never all.

    Raises:
        DataError: no class has two samples.
    """
    by_class: dict[tuple[int, ...], set[str]] = defaultdict(set)
    for record in records:
        labels = record.labels or ()
        by_class[labels if len(labels) == 1 else ()].add(record.id)
    held_out: set[str] = set()
    for ids in by_class.values():
        num_held_out = min(max(round(val_share * len(ids)), 1), len(ids) - 1)
        held_out.update(sorted(ids, key=_hash)[:num_held_out])
    half = [record for record in records if (record.id in held_out) == (subset == "val")]
    if not half:
        raise DataError(f"{where}: no class has two videos, so none can be held out; add videos, or leave out subset")
    return half


def _hash(name: str) -> str:
    return hashlib.sha256(os.fsencode(name)).hexdigest()


def _differing(records: Sequence[Record]) -> list[str]:
    """Returns a note on samples that are listed with different labels, if there are any."""
    labels: dict[str, set[tuple[int, ...]]] = {}
    for record in records:
        labels.setdefault(record.id, set()).add(tuple(sorted(record.labels or ())))
    differing = [name for name, own in labels.items() if len(own) > 1]
    return [f"{counted(len(differing), 'sample')} listed with different labels: {some_of(differing)}"] * bool(differing)


def _odd_classes(dataset: LabeledDataset[Any]) -> list[str]:
    """Returns notes on classes without samples, labels that count from 1, and a folder one level too high."""
    names, counts = dataset.class_names, dataset.class_counts()
    notes = []
    empty = [name for name, count in zip(names, counts, strict=True) if not count]
    if empty and any(counts):
        from_1 = len(names) > 2 and names == tuple(map(str, range(len(names)))) and empty == ["0"]
        hint = "; the labels start at 1, but must start at 0" if from_1 else ""
        notes.append(f"{len(empty)} of {len(names)} classes without samples: {some_of(empty)}{hint}")
    if len(names) == 1 and (found := folders_like_classes(dataset)) is not None:
        root, folders = found
        notes.append(f"the folders in {root} look like classes ({some_of(folders)}); give {root} as the path")
    return notes


def _unique_ids(records: Iterable[LR]) -> tuple[list[LR], Counter[str]]:
    """Numbers repeated ids; returns the records and how often each id was repeated."""
    seen: Counter[str] = Counter()
    unique = []
    for record in records:
        seen[record.id] += 1
        if seen[record.id] > 1:
            record = dataclasses.replace(record, id=f"{record.id}#{seen[record.id]}")  # type: ignore[type-var]
        unique.append(record)
    return unique, Counter({name: count - 1 for name, count in seen.items() if count > 1})
