"""Checks for suspicious data: samples in two splits, a folder one level too high."""

from __future__ import annotations

import functools
import hashlib
import logging
import os
from collections.abc import Hashable, Iterable, Iterator, Mapping
from pathlib import Path

from videozoo.contracts.dataset import Dataset
from videozoo.contracts.record import ClipRecord, Record
from videozoo.data.files import some_of

__all__ = ["folders_like_classes", "notes_of", "shared_samples"]

log = logging.getLogger(__name__)

MOST_COMPARED = 1_000_000  # samples of both splits; larger sets are not compared
MOST_OPENED = 20_000  # samples of both splits whose files are compared by content as well
END_BYTES = 16_384  # read from the start and from the end of files of equal size

Place = tuple[Hashable, ...]


def notes_of(train: Dataset[Record], val: Dataset[Record] | None = None) -> dict[str, list[str]]:
    """Returns the notes on a run's data by split; samples that both splits share are logged and noted."""
    notes = {"train": list(train.notes), "val": [] if val is None else list(val.notes)}
    if val is not None and (shared := shared_samples(train, val)):
        note = f"{len(shared)} of {len(val)} validation samples are also training samples: {some_of(shared)}"
        log.warning("%s: %s; their scores say nothing about new videos", val.source, note)
        notes["val"].append(note)
    return {split: lines for split, lines in notes.items() if lines}


def shared_samples(train: Dataset[Record], val: Dataset[Record]) -> list[str]:
    """Returns the ids of the validation samples whose file, or a copy of it, is in the training data."""
    if len(train) + len(val) > MOST_COMPARED:
        return []
    ids = {place: record.id for record in val if (place := _place(record)) is not None}
    shared = {ids[place] for record in train if (place := _place(record)) in ids}
    if len(train) + len(val) <= MOST_OPENED:
        rest = [record for record in val if record.id not in shared]
        shared |= {copy.id for copy in _copies(rest, of=train)}
    return [record.id for record in val if record.id in shared]


def folders_like_classes(records: Iterable[Record]) -> tuple[Path, list[str]] | None:
    """Returns the folder that holds all clips and its sub-folders with clips; None if there are fewer than two."""
    folders = [Path(record.path).parent for record in records if isinstance(record, ClipRecord)]
    if not folders:
        return None
    root = Path(os.path.commonpath(folders))
    names = {folder.relative_to(root).parts[:1] for folder in folders}
    return (root, sorted(name for (name,) in names)) if len(names) > 1 and () not in names else None


def _place(record: Record) -> Place | None:
    """Returns the origin of a sample's content, equal for equal samples; None if it is unknown."""
    if record.origin is None:
        return None
    path, part = record.origin
    return (_real(os.fspath(path)), *part)


@functools.lru_cache(maxsize=4096)
def _real(path: str) -> str:
    return os.path.realpath(path)


def _copies(records: Iterable[Record], *, of: Iterable[Record]) -> Iterator[ClipRecord]:
    """Returns the records whose video file is equal to one of `of`."""
    originals = _by_size(of)
    for size, copies in _by_size(records).items():
        known = {_ends(record) for record in originals.get(size, ())}
        yield from (record for record in copies if _ends(record) in known)


def _by_size(records: Iterable[Record]) -> Mapping[Place, list[ClipRecord]]:
    """Groups the video files by their size and by the stretch that is the sample."""
    found: dict[Place, list[ClipRecord]] = {}
    for record in records:
        if isinstance(record, ClipRecord) and record.num_frames is None:
            try:
                size_bytes = record.path.stat().st_size
            except OSError:  # a clip inside an archive, or a file that has gone
                continue
            if size_bytes:
                found.setdefault((size_bytes, record.start_s, record.end_s), []).append(record)
    return found


def _ends(record: ClipRecord) -> bytes:
    """Returns a digest of the beginning and the end of a file."""
    try:
        with record.path.open("rb") as file:
            ends = file.read(END_BYTES)
            file.seek(max(record.path.stat().st_size - END_BYTES, 0))
            return hashlib.sha256(ends + file.read(END_BYTES)).digest()
    except OSError:  # unreadable: training will name it
        return os.urandom(32)
