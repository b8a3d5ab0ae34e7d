"""Clips in tar archives: thousands in a file, in WebDataset's layout, with random access.

A sample is a run of members with the same name up to the first dot: `000017.mp4` with `000017.cls` or `000017.json`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import itertools
import json
import logging
import os
import re
import tarfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import FiniteFloat
from typing_extensions import TypedDict

from videozoo.contracts.dataset import Dataset
from videozoo.contracts.record import ClipRecord
from videozoo.data.dataset import ClipDataset
from videozoo.data.files import some_of
from videozoo.data.labels import ClassNames, class_index
from videozoo.data.registry import register_dataset
from videozoo.data.youtube8m import find_shards
from videozoo.errors import ConfigError, DataError, DecodeError, counted
from videozoo.io.clip_files import VIDEO_SUFFIXES
from videozoo.io.decode import probe
from videozoo.io.slice import FileSlice
from videozoo.io.whole_file import whole_file, write_whole_text
from videozoo.structured import checked, parse_json, read_json, reading, regular_file, shown

__all__ = ["Shard", "ShardedClips", "Shards", "read_shard", "shards", "write_shards"]

log = logging.getLogger(__name__)

INDEX_VERSION = 1
LABELS = ("labels", "label", "cls")
LONGEST_LABEL_BYTES = 16 << 20
NUM_READERS = 8  # shards whose headers are read in parallel
TAR_BLOCK = 512
NEEDS = "a sample is key.mp4 (or another video) with key.cls, a class number or name, or key.json with label or labels"


Labels = list[str | int] | str | int | None


@dataclasses.dataclass(frozen=True)
class ShardSample:
    """One sample of a shard: the position of its video, and its labels."""

    key: str
    name: str  # of the video's member
    offset: int
    size_bytes: int
    labels: tuple[str, ...]
    id: str | None = None
    start_s: float | None = None
    end_s: float | None = None


@dataclasses.dataclass(frozen=True)
class Shard:
    """The samples of one archive."""

    path: Path
    samples: tuple[ShardSample, ...]


class ShardedClips(Dataset[ClipRecord]):
    """The samples of many shards as records whose `path` is an address inside a shard; nothing is unpacked.

    Attributes:
        class_names: the name of label 0, 1, ...
        multi_label: a sample has any number of labels.
    """

    def __init__(
        self,
        shards: Sequence[Shard],
        class_names: Sequence[str],
        labels: Sequence[tuple[int, ...]],
        *,
        multi_label: bool = False,
        shuffle_shards: int | None = None,
        source: str = "shards",
    ):
        self.class_names, self.multi_label, self.source = tuple(class_names), multi_label, source
        self.shuffle_shards = shuffle_shards
        self._shards, self._labels = tuple(shards), labels
        self._ends = np.cumsum([len(shard.samples) for shard in shards])
        twice = [id_ for id_, count in Counter(record.id for record in self).items() if count > 1]
        if twice:
            raise DataError(
                f"{source}: {counted(len(twice), 'sample')} more than once ({some_of(twice)}); each counts once"
            )

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> ClipRecord:
        if not 0 <= index < len(self):
            raise IndexError(index)
        place = int(np.searchsorted(self._ends, index, side="right"))
        shard = self._shards[place]
        sample = shard.samples[index - int(self._ends[place])]
        address = FileSlice(shard.path, sample.offset, sample.size_bytes, sample.name).address
        return ClipRecord(
            id=sample.id or sample.key,
            path=Path(address),
            labels=self._labels[index],
            start_s=sample.start_s,
            end_s=sample.end_s,
        )

    def class_counts(self) -> list[int]:
        """Returns the number of samples with each label, in class order."""
        counts = Counter(label for labels in self._labels for label in labels)
        return [counts[label] for label in range(len(self.class_names))]

    def order(self, rng: np.random.Generator) -> np.ndarray:
        """Draws the order of an epoch: all samples shuffled, or those of `shuffle_shards` random shards at a time."""
        if self.shuffle_shards is None:
            return rng.permutation(len(self))
        parts = np.split(np.arange(len(self)), self._ends[:-1])
        places = rng.permutation(len(parts)).tolist()
        groups = [places[i : i + self.shuffle_shards] for i in range(0, len(places), self.shuffle_shards)]
        return np.concatenate([rng.permutation(np.concatenate([parts[i] for i in group])) for group in groups])


@register_dataset
def shards(
    path: str | Path,
    *,
    class_names: ClassNames = None,
    num_classes: int | None = None,
    multi_label: bool = False,
    shuffle_shards: int | None = None,
) -> ShardedClips:
    """Reads tar archives of clips, by folder, pattern or list, as `videozoo prepare shards` and WebDataset write them.

    The headers of each archive are read once and stored next to it (`x.tar.index.json`, if the folder is writable).
    Clips are decoded directly from the archive.

    Args:
        path: a folder with *.tar, a pattern (`train-*.tar` or `train-{000..146}.tar`, quoted in a shell), one file, or
            a .list or .txt file with one a line.
        class_names: the classes in order, or a file with one a line; by default a classes.txt in their folder, else the
            names in the shards, else "0", "1", ...
        num_classes: how many classes there are, when nothing names them and the shards may lack the last ones.
        multi_label: a clip has any number of labels.
        shuffle_shards: number of shards that are shuffled together, for disks with slow random access; None shuffles
            all clips.

    Raises:
        DataError: no shards, a file that is cut short or not a tar archive, or a sample without a video or a label.
    """
    if shuffle_shards is not None and shuffle_shards < 1:
        raise ConfigError(f"shards.shuffle_shards: is {shuffle_shards}; give a whole number of 1 or more, or null")
    paths = list(itertools.chain.from_iterable(find_shards(one, ("*.tar",)) for one in _expand(str(path))))
    with ThreadPoolExecutor(NUM_READERS) as pool:
        found = list(pool.map(read_shard, paths))
    for shard in found:
        for sample in shard.samples:
            if len(sample.labels) != 1 and not multi_label:
                raise DataError(
                    f"{shard.path}: sample '{sample.key}' has {len(sample.labels)} labels; single-label data has one "
                    "each, or set multi_label=true"
                )
    named = [(f"{s.path}: sample '{x.key}'", x.labels) for s in found for x in s.samples]
    classes = class_index(
        class_names,
        num_classes=num_classes,
        folder=paths[0].parent,
        samples=named,
    )
    labels = [tuple(classes.index(label, where=where) for label in labels) for where, labels in named]
    return ShardedClips(
        found, classes.names, labels, multi_label=multi_label, shuffle_shards=shuffle_shards, source=str(path)
    )


def read_shard(path: Path) -> Shard:
    """Reads the samples of an archive, from its headers or from the index that an earlier reader stored next to it.

    Raises:
        DataError: it is cut short or not a tar archive, or a sample lacks its video or its label.
    """
    stat = regular_file(path, kind="shard").stat()
    stamp = {"version": INDEX_VERSION, "size_bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns}
    index = path.with_name(f"{path.name}.index.json")
    with contextlib.suppress(DataError):  # missing, damaged, or of an older version
        kept = checked(read_json(index, kind="index"), _Index, where=index, advice="remove it")
        inside = all(0 <= s.offset <= s.offset + s.size_bytes <= stat.st_size for s in kept["samples"])
        if kept["stamp"] == stamp and inside:
            return Shard(path, tuple(kept["samples"]))
    shard = Shard(path, tuple(_walk(path, size_bytes=stat.st_size)))
    text = json.dumps({"stamp": stamp, "samples": [dataclasses.asdict(sample) for sample in shard.samples]})
    try:
        write_whole_text(index, text)
    except DataError as error:  # a read-only folder: the headers are read again next time
        log.info("no index is stored; %s", error)
    return shard


class _Index(TypedDict):
    """The content of an archive's index file."""

    stamp: dict[str, int]
    samples: list[ShardSample]


class _About(TypedDict, total=False):
    """The JSON of a sample."""

    id: str | int | None
    start_s: FiniteFloat | None
    end_s: FiniteFloat | None
    labels: Labels
    label: Labels
    cls: Labels


def _expand(pattern: str) -> list[str]:
    """Expands `train-{000..002}.tar` to its three names; returns other patterns unchanged."""
    match = re.fullmatch(r"(.*)\{(\d+)\.\.(\d+)\}(.*)", pattern)
    if match is None:
        return [pattern]
    before, first, last, after = match.groups()
    return [f"{before}{number:0{len(first)}}{after}" for number in range(int(first), int(last) + 1)]


def _walk(path: Path, *, size_bytes: int) -> list[ShardSample]:
    again = "write it again, or fetch it again"
    groups: list[tuple[str, dict[str, tarfile.TarInfo]]] = []
    contents: dict[str, dict[str, bytes]] = {}
    end = 0
    with reading(path, advice=again):
        try:
            with tarfile.open(path, "r:") as tar:
                for member in tar:
                    # a negative size would loop for ever; a sparse member is stored only in parts
                    if member.size < 0 or member.offset < end or member.issparse():
                        raise DataError(
                            f"{path}: {shown(member.name)} is not stored completely after byte {end}; {again}"
                        )
                    end = member.offset_data + -(-member.size // TAR_BLOCK) * TAR_BLOCK
                    key, extension = _split_name(member.name)
                    if not member.isfile() or key is None:
                        continue
                    if not groups or groups[-1][0] != key or extension in groups[-1][1]:
                        groups.append((key, {}))
                    groups[-1][1][extension] = member
                    if extension in ("cls", "json"):
                        if member.size > LONGEST_LABEL_BYTES:
                            raise DataError(f"{path}: {shown(member.name)} has {member.size:,} bytes; {NEEDS}")
                        file = tar.extractfile(member)
                        contents.setdefault(key, {})[extension] = b"" if file is None else file.read()
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror or error}); check the path") from error
        except tarfile.ReadError as error:
            fault = "is cut short" if end else "is not a tar archive"
            raise DataError(f"{path}: {fault} ({error}); {again}") from error
    if end >= size_bytes:
        raise DataError(f"{path}: is cut short (it has no end mark after byte {end}); {again}")
    if not groups:
        raise DataError(f"{path}: holds no samples; {NEEDS}")
    return [_sample(path, key, members, contents.get(key, {})) for key, members in groups]


def _split_name(name: str) -> tuple[str | None, str]:
    """Splits "folder/000017.mp4" into ("folder/000017", "mp4") at the first dot of the last part, like WebDataset."""
    folder, _, last = name.removeprefix("./").rpartition("/")
    stem, dot, extension = last.partition(".")
    if not stem or not dot:
        return None, ""
    return f"{folder}/{stem}" if folder else stem, extension.lower()


def _sample(path: Path, key: str, members: Mapping[str, tarfile.TarInfo], contents: Mapping[str, bytes]) -> ShardSample:
    where = f"{path}: sample '{key}'"
    videos = [m for ext, m in members.items() if f".{ext.rpartition('.')[2]}" in VIDEO_SUFFIXES]
    if len(videos) != 1:
        raise DataError(f"{where} has {len(videos)} videos among the members {', '.join(sorted(members))}; {NEEDS}")
    about: _About = {}
    if "json" in contents:
        read = parse_json(contents["json"], where=where, advice=NEEDS)
        about = checked(read if isinstance(read, dict) else {"label": read}, _About, where=where, advice=NEEDS)
    labels = next((found for name in LABELS if (found := about.get(name)) is not None), None)
    if labels is None and "cls" in contents:
        with reading(where, advice=NEEDS):
            labels = contents["cls"].decode().strip() or None
    if labels is None:
        raise DataError(f"{where} has no label; {NEEDS}")
    video = videos[0]
    return ShardSample(
        key=key,
        name=video.name,
        offset=video.offset_data,
        size_bytes=video.size,
        labels=tuple(map(str, labels if isinstance(labels, list) else [labels])),
        id=str(about["id"]) if about.get("id") is not None else None,
        start_s=about.get("start_s"),
        end_s=about.get("end_s"),
    )


@dataclasses.dataclass(frozen=True)
class Shards:
    """The result of `write_shards`; `failed` maps paths to the decoder's message."""

    paths: tuple[Path, ...]
    num_written: int
    num_kept: int
    failed: Mapping[str, str]


def write_shards(
    dataset: ClipDataset,
    out_dir: Path,
    name: str,
    *,
    shard_bytes: int = 500_000_000,
    num_workers: int = 1,
    on_done: Callable[[], None] = lambda: None,
) -> Shards:
    """Writes the videos of a data set, unchanged, into `out_dir/name-000000.tar`, ..., with their labels as JSON.

    The samples are shuffled once, always in the same way, so that a few shards are representative of all. A complete
    shard is kept, so running it again resumes. Videos whose first frame cannot be decoded are left out.

    Args:
        shard_bytes: approximate size of the videos in each shard.
        on_done: called after each video.

    Raises:
        DataError: a sample is not a video file, none can be decoded, or the disk is full.
    """
    folders = [record for record in dataset if record.num_frames is not None]
    if folders:
        raise DataError(
            f"{folders[0].path}: is a folder of frames; shards hold video files; make them from the videos themselves"
        )
    failed: dict[str, str] = {}

    def check(path: Path) -> None:
        try:
            probe(path)
        except DecodeError as error:
            failed[str(path)] = error.reason
        on_done()

    with ThreadPoolExecutor(num_workers) as pool:
        list(pool.map(check, dict.fromkeys(record.path for record in dataset)))
    order = np.random.default_rng(0).permutation(len(dataset)).tolist()
    samples = [(f"{i:08}", dataset[i]) for i in order if str(dataset[i].path) not in failed]
    if not samples:
        first, reason = next(iter(failed.items()))
        raise DataError(f"{dataset.source}: none of its videos can be decoded ({first}: {reason}); fetch them again")
    paths, num_kept = [], 0
    for number, part in enumerate(_parts(samples, shard_bytes)):
        path = out_dir / f"{name}-{number:06}.tar"
        paths.append(path)
        if _holds(path, part):
            num_kept += 1
        else:
            _write_shard(path, part)
    return Shards(tuple(paths), len(paths) - num_kept, num_kept, dict(sorted(failed.items())))


def _parts(samples: Sequence[tuple[str, ClipRecord]], shard_bytes: int) -> list[list[tuple[str, ClipRecord]]]:
    parts: list[list[tuple[str, ClipRecord]]] = [[]]
    room = shard_bytes
    for key, record in samples:
        if parts[-1] and room <= 0:
            parts.append([])
            room = shard_bytes
        parts[-1].append((key, record))
        room -= record.path.stat().st_size
    return parts


def _holds(path: Path, part: Sequence[tuple[str, ClipRecord]]) -> bool:
    if not path.is_file():
        return False
    try:
        found = read_shard(path).samples
    except DataError:
        return False
    wanted = [(key, record.id, record.path.stat().st_size) for key, record in part]
    return [(sample.key, sample.id, sample.size_bytes) for sample in found] == wanted


def _write_shard(path: Path, part: Sequence[tuple[str, ClipRecord]]) -> None:
    with whole_file(path) as unfinished, tarfile.open(unfinished, "w", format=tarfile.USTAR_FORMAT) as tar:
        for key, record in part:
            about: dict[str, Any] = {"id": record.id, "labels": list(record.labels)}
            about |= {n: t for n, t in (("start_s", record.start_s), ("end_s", record.end_s)) if t is not None}
            text = json.dumps(about, ensure_ascii=False).encode("utf-8", "backslashreplace")
            with record.path.open("rb") as video:
                size_bytes = os.fstat(video.fileno()).st_size
                tar.addfile(_member(f"{key}{record.path.suffix.lower()}", size_bytes), video)
            tar.addfile(_member(f"{key}.json", len(text)), io.BytesIO(text))


def _member(name: str, size_bytes: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)  # without a date or an owner, so that equal input gives equal bytes
    member.size = size_bytes
    return member
