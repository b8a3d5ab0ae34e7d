"""YouTube-8M: TFRecord shards of frame-level or video-level features, read in place."""

from __future__ import annotations

import dataclasses
import functools
import glob
import logging
import os
from collections import Counter
from collections.abc import Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from videozoo.contracts.dataset import Dataset
from videozoo.contracts.record import FeatureRecord, Holds, Modalities
from videozoo.data.files import some_of
from videozoo.data.labels import ClassNames, is_number, read_class_names
from videozoo.data.registry import register_dataset
from videozoo.errors import DataError
from videozoo.io.features import EXTRACTOR_FILE, sidecar_recipe
from videozoo.io.tfrecord import TFRecordFile, parse_example
from videozoo.structured import read_lines, read_rows, reason, shown

__all__ = [
    "NUM_CLASSES",
    "FeatureShards",
    "ShardRecord",
    "find_shards",
    "read_vocabulary",
    "vocabulary_names",
    "youtube8m",
]

log = logging.getLogger(__name__)

NUM_CLASSES = 3862
OPEN_SHARDS = 16  # of each process
WALKERS = 8  # threads: reading headers mostly waits for the disk


@dataclasses.dataclass(frozen=True)
class ShardRecord(FeatureRecord):
    """One video of a shard, at a byte of its file."""

    id: str
    path: Path
    offset: int
    names: tuple[str, ...]

    @property
    def origin(self) -> tuple[Path, tuple[Hashable, ...]]:
        return self.path, (self.offset,)

    def read(self, *, with_sound: bool = False) -> Modalities:
        data = _open_shard(self.path).at(self.offset)
        try:
            context, lists = parse_example(data)
            return _read(context, lists, self.names)
        except DataError as error:
            raise DataError(f"{self.id}: {error}") from error
        except (ValueError, OverflowError) as error:  # an id that is not text, labels that are not numbers
            raise DataError(f"{self.id}: is not a YouTube-8M record ({reason(error)}); fetch the file again") from error


class FeatureShards(Dataset[ShardRecord]):
    """The videos of many shards; memory holds one number for each video.

    Attributes:
        class_names: the name of label 0, 1, ...
        multi_label: always.
        notes: shards and records that were left out, one sentence each.
    """

    holds: ClassVar[Holds] = "features"
    multi_label = True

    def __init__(
        self,
        paths: Sequence[Path],
        class_names: Sequence[str],
        *,
        names: tuple[str, ...] | None = None,
        shuffle_shards: int | None = None,
    ):
        self.class_names = tuple(class_names)
        self.paths = tuple(paths)
        self.shuffle_shards = shuffle_shards
        self.names = names or _modalities(self.paths)
        _open_shard.cache_clear()  # the file may have changed since the last data set read it
        with ThreadPoolExecutor(WALKERS) as pool:
            walks = list(pool.map(_walk, self.paths))
        self._offsets = np.concatenate([offsets for offsets, _ in walks])
        self._ends = np.cumsum([len(offsets) for offsets, _ in walks])
        self.notes = tuple(problem for _, problem in walks if problem)
        if not len(self):
            raise DataError(self.notes[0])
        for note in self.notes:
            log.warning("%s", note)

    def __len__(self) -> int:
        return len(self._offsets)

    def __getitem__(self, index: int) -> ShardRecord:
        if not 0 <= index < len(self):
            raise IndexError(index)
        shard = int(np.searchsorted(self._ends, index, side="right"))
        path, offset = self.paths[shard], int(self._offsets[index])
        return ShardRecord(f"{path} at byte {offset}", path, offset, self.names)

    @functools.cached_property
    def feature_recipe(self) -> dict[str, Any] | None:
        """How the features were made, if `videozoo extract` made them."""
        recipe = sidecar_recipe(self.paths[0].parent)
        return recipe.to_dict() if recipe is not None else None

    @property
    def extractor(self) -> Path | None:
        """The weight file that makes such features of other videos, if it is stored with them."""
        path = self.paths[0].parent / EXTRACTOR_FILE
        return path if os.path.isfile(path) else None  # noqa: PTH113 (False for names that no file can have)

    def order(self, rng: np.random.Generator) -> np.ndarray:
        """Draws the order of an epoch: all videos shuffled, or those of `shuffle_shards` random shards at a time."""
        if self.shuffle_shards is None:
            return rng.permutation(len(self))
        starts = np.concatenate([[0], self._ends[:-1]])
        shards = rng.permutation(len(self.paths))
        groups = [shards[i : i + self.shuffle_shards] for i in range(0, len(shards), self.shuffle_shards)]
        return np.concatenate(
            [rng.permutation(np.concatenate([np.arange(starts[s], self._ends[s]) for s in group])) for group in groups]
        )


@register_dataset
def youtube8m(
    path: str | Path,
    *,
    class_names: ClassNames = None,
    num_classes: int = NUM_CLASSES,
    vocabulary: str | Path | None = None,
    features: tuple[str, ...] | None = None,
    shuffle_shards: int | None = None,
) -> FeatureShards:
    """Reads YouTube-8M's files in place: TFRecord shards, compressed or not, by folder, pattern or list.

    Frame-level files hold `rgb` and `audio` as bytes a frame; video-level ones `mean_rgb` and `mean_audio`, which
    read as videos of one frame. The headers of each shard are read once. A shard with a damaged end is used up to the
    damage, and noted; a record with a damaged body is counted and listed by the run.

    Args:
        path: a folder with *.tfrecord or *.tfrecord.gz, a pattern (quoted in a shell), one file, or a .list or .txt
            file with one a line, relative to its own folder.
        class_names: the classes in order, or a file with one a line.
        num_classes: number of classes, if nothing names them.
        vocabulary: YouTube-8M's vocabulary.csv, whose columns Index and Name give the names.
        features: names of the modalities in the files; by default those of the first record.
        shuffle_shards: number of shards that are shuffled together, for disks with slow random access and for
            compressed shards, which are held in memory; None shuffles all records.

    Raises:
        DataError: no shards, a file that is empty or not a TFRecord, or records without known features.
    """
    paths = find_shards(path, ("*.tfrecord", "*.tfrecord.gz"))
    names = vocabulary_names(class_names, vocabulary, num_classes)
    return FeatureShards(paths, names, names=features, shuffle_shards=shuffle_shards)


def find_shards(path: str | Path, patterns: Sequence[str]) -> list[Path]:
    """Returns the files of a folder, a pattern, a list file or a single file, in the order of their names.

    Raises:
        DataError: there are no files, or a list contains one twice.
    """
    place = Path(path)
    if os.path.isdir(place):  # noqa: PTH112 (False for names that no file can have)
        found = sorted(p for pattern in patterns for p in place.glob(pattern))
        missing = f"holds no {' or '.join(patterns)}"
    elif os.path.isfile(place) and place.suffix in (".list", ".txt"):  # noqa: PTH113
        found = [place.parent / line for _, line in read_lines(place, kind="list file")]
        gone = [str(p) for p in found if not os.path.isfile(p)]  # noqa: PTH113
        if gone:
            raise DataError(
                f"{place}: {len(gone)} of {len(found)} files are missing: {some_of(gone)}; correct the list"
            )
        twice = [str(p) for p, count in Counter(found).items() if count > 1]
        if twice:
            raise DataError(f"{place}: '{twice[0]}' appears more than once; list each shard once")
        missing = "the list is empty"
    else:
        found = [place] if os.path.isfile(place) else sorted(map(Path, glob.glob(str(path), recursive=True)))  # noqa: PTH113, PTH207
        missing = "there is no such file, folder or pattern"
    if not found:
        raise DataError(f"{path}: {missing}; give a folder, a pattern or a list of shards")
    return found


def read_vocabulary(path: str | Path, num_classes: int = NUM_CLASSES) -> tuple[str, ...]:
    """Reads class names from YouTube-8M's vocabulary.csv; a class that it lacks is named by its number.

    Names of two classes get the class number in brackets.

    Raises:
        DataError: no such file, no columns Index and Name, or an index out of range.
    """
    path = Path(path)
    names = [str(i) for i in range(num_classes)]
    for where, row in read_rows(path, kind="vocabulary", columns=("Index", "Name")):
        index = row["Index"]
        if not is_number(index) or not 0 <= int(index) < num_classes:
            raise DataError(f"{where}: index {shown(index)} is outside 0..{num_classes - 1}; correct num_classes")
        names[int(index)] = row["Name"] or index
    often = Counter(names)
    return tuple(f"{name} ({i})" if often[name] > 1 else name for i, name in enumerate(names))


def vocabulary_names(class_names: ClassNames, vocabulary: str | Path | None, num_classes: int) -> tuple[str, ...]:
    """Returns the names of the classes: the given ones, those of a vocabulary, or else their numbers."""
    if class_names is not None:
        return tuple(read_class_names(Path(class_names)) if isinstance(class_names, str | Path) else class_names)
    if vocabulary is not None:
        return read_vocabulary(vocabulary, num_classes)
    return tuple(str(i) for i in range(num_classes))


LEVELS = (("rgb", "audio"), ("mean_rgb", "mean_audio"))


def _walk(path: Path) -> tuple[np.ndarray, str | None]:
    file = TFRecordFile(path)
    return file.offsets, file.problem


def _modalities(paths: Sequence[Path]) -> tuple[str, ...]:
    """Returns the names of the features in the first complete record."""
    where, data = _first_record(paths)
    try:
        context, lists = parse_example(data)
    except DataError as error:
        raise DataError(f"{where}: {error}") from error
    for level in LEVELS:
        found = tuple(name for name in level if name in lists or name in context)
        if found:
            return found
    has = ", ".join(sorted([*context, *lists])) or "nothing"
    raise DataError(f"{where}: the record has {has}; needs rgb and audio, or mean_rgb and mean_audio")


def _first_record(paths: Sequence[Path]) -> tuple[str, memoryview]:
    damaged: DataError | None = None
    for path in paths:
        file = TFRecordFile(path)
        for offset in file.offsets.tolist():
            try:
                return f"{path} at byte {offset}", file.at(offset)
            except DataError as error:
                damaged = damaged or error
        if file.problem is not None:
            damaged = damaged or DataError(file.problem)
    raise damaged or DataError("youtube8m: no shards were given; name at least one")


def _read(context: dict[str, Any], lists: dict[str, Any], names: Sequence[str]) -> Modalities:
    id_ = context.get("id", context.get("video_id"))
    if not (isinstance(id_, list) and len(id_) == 1):
        raise DataError("has no id; every YouTube-8M record has one")
    parts = []
    for name in names:
        if name in lists:
            part = lists[name]
            if not isinstance(part, np.ndarray):
                raise DataError(f"the frames of '{name}' have different widths; fetch the file again")
        elif name in context and isinstance(context[name], np.ndarray) and context[name].dtype.kind == "f":
            part = context[name][None]
        else:
            has = ", ".join(sorted([*context, *lists]))
            raise DataError(f"has no '{name}', only {has}; do not mix frame-level and video-level shards")
        parts.append(part)
    if len({part.dtype for part in parts}) > 1:
        raise DataError("mixes bytes and floats; all features must have the same type")
    if "labels" not in context:
        return Modalities(id_[0].decode(), parts, None)
    return Modalities(id_[0].decode(), parts, tuple(int(label) for label in context["labels"]))


@functools.lru_cache(maxsize=OPEN_SHARDS)
def _open_shard(path: Path) -> TFRecordFile:
    return TFRecordFile(path)
