"""What every format of clip data gives: records with class names, checked alike."""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from videozoo.data.files import some_of
from videozoo.errors import DataError, counted
from videozoo.types import ClipRecord

__all__ = ["ClipDataset", "assemble"]

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class ClipDataset:
    """The samples of a data set, nothing decoded, and what their label indices are called.

    Attributes:
        class_names: the name of label 0, 1, ...
        records: one a sample, with ids that are unique.
        multi_label: a sample has any number of labels; otherwise one, or none when the answer is not known.
        source: the file or folder it was read from.
        notes: what was left out or looks odd, one sentence each.

    Raises:
        DataError: no records, an id or a class name given twice, a label without a class, too many labels.
    """

    class_names: tuple[str, ...]
    records: list[ClipRecord] = dataclasses.field(repr=False)
    multi_label: bool = False
    source: str = "data set"
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.records:
            raise DataError(f"{self.source}: holds no samples; a data set needs at least one")
        for kind, names in (("class name", self.class_names), ("id", (r.id for r in self.records))):
            twice = [name for name, count in Counter(names).items() if count > 1]
            if twice:
                raise DataError(f"{self.source}: {kind} '{twice[0]}' stands more than once; each must be unique")
        for record in self.records:
            if len(record.labels) > 1 and not self.multi_label:
                raise DataError(
                    f"{self.source}: '{record.id}' has {len(record.labels)} labels; "
                    "single-label data has one each, or set multi_label=true"
                )
            for label in record.labels:
                if not 0 <= label < len(self.class_names):
                    raise DataError(
                        f"{self.source}: label {label} of '{record.id}' is outside "
                        f"0..{len(self.class_names) - 1}; there are {len(self.class_names)} class names"
                    )

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> ClipRecord:
        return self.records[index]

    def __iter__(self) -> Iterator[ClipRecord]:
        return iter(self.records)

    def class_counts(self) -> list[int]:
        """How many samples carry each label, in class order."""
        counts = Counter(label for record in self.records for label in record.labels)
        return [counts[label] for label in range(len(self.class_names))]


def assemble(
    records: Iterable[ClipRecord],
    class_names: Sequence[str],
    *,
    source: str,
    multi_label: bool = False,
    notes: Sequence[str] = (),
) -> ClipDataset:
    """The data set of `records`; what was noted on the way is logged as warnings.

    A sample that is listed more than once is kept as often (some lists repeat samples on purpose), as `id#2`,
    `id#3`. Repeats and classes without samples are counted and noted.

    Raises:
        DataError: see `ClipDataset`.
    """
    unique, repeated = _unique_ids(records)
    notes = list(notes)
    if repeated:
        again = counted(sum(repeated.values()), "sample")
        notes.append(f"{again} listed again, counted as often: {some_of(list(repeated))}")
    dataset = ClipDataset(tuple(class_names), unique, multi_label, source)
    empty = [name for name, count in zip(class_names, dataset.class_counts(), strict=True) if not count]
    if empty and any(record.labels for record in unique):
        notes.append(f"{len(empty)} of {len(class_names)} classes without samples: {some_of(empty)}")
    for note in notes:
        log.warning("%s: %s", source, note)
    return dataclasses.replace(dataset, notes=tuple(notes))


def _unique_ids(records: Iterable[ClipRecord]) -> tuple[list[ClipRecord], Counter[str]]:
    """The records with repeated ids numbered, and how often each of those came again."""
    seen: Counter[str] = Counter()
    unique = []
    for record in records:
        seen[record.id] += 1
        if seen[record.id] > 1:
            record = dataclasses.replace(record, id=f"{record.id}#{seen[record.id]}")
        unique.append(record)
    return unique, Counter({name: count - 1 for name, count in seen.items() if count > 1})
