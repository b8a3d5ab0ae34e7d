"""Reads and writes PaddleVideo's pickles of YouTube-8M, which its converter makes from the TFRecord shards."""

from __future__ import annotations

import dataclasses
import functools
import multiprocessing
import pickle
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from videozoo.contracts.dataset import Dataset
from videozoo.contracts.record import FeatureRecord, Holds, Modalities
from videozoo.data.labels import ClassNames
from videozoo.data.registry import register_dataset
from videozoo.data.youtube8m import NUM_CLASSES, FeatureShards, find_shards, vocabulary_names
from videozoo.errors import DataError, WeightsError, counted
from videozoo.io.unpickle import unpickle_arrays
from videozoo.io.whole_file import whole_file
from videozoo.structured import reading, shown

__all__ = ["PickledVideos", "write_pickle", "write_pickles", "youtube8m_pkl"]

FORM = "needs video, feature, audio, label and nframes"
MOST_FRAMES = 300  # the keys that readers of these files use


@dataclasses.dataclass(frozen=True)
class PickledRecord(FeatureRecord):
    """One video of a pickle."""

    id: str
    path: Path
    number: int

    @property
    def origin(self) -> tuple[Path, tuple[Hashable, ...]]:
        return self.path, (self.number,)

    def read(self, *, with_sound: bool = False) -> Modalities:
        item = _open_pickle(self.path)[self.number]
        with reading(self.id, advice=FORM):
            num_frames = int(item["nframes"])
            parts = [np.asarray(item[name])[:num_frames] for name in ("feature", "audio")]
            labels = tuple(int(label) for label in item["label"]) if "label" in item else None
            id_ = _text(item["video"])
        if any(part.ndim != 2 or part.dtype.kind not in "fiu" for part in parts):
            found = " and ".join(f"{part.dtype} {part.shape}" for part in parts)
            raise DataError(f"{self.id}: has features {found}; each must be numbers [t d]")
        return Modalities(id_, parts, labels)


class PickledVideos(Dataset[PickledRecord]):
    """The videos of many pickles; as `FeatureShards`."""

    holds: ClassVar[Holds] = "features"
    multi_label = True

    def __init__(self, paths: Sequence[Path], class_names: Sequence[str]):
        self.class_names = tuple(class_names)
        _open_pickle.cache_clear()  # the file may have changed since the last data set read it
        self._records = [
            PickledRecord(f"{path} item {i}", path, i) for path in paths for i in range(len(_open_pickle(path)))
        ]

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> PickledRecord:
        return self._records[index]


@register_dataset
def youtube8m_pkl(
    path: str | Path,
    *,
    class_names: ClassNames = None,
    num_classes: int = NUM_CLASSES,
    vocabulary: str | Path | None = None,
) -> PickledVideos:
    """Reads PaddleVideo's tf2pkl pickles of YouTube-8M, by folder, pattern or list; nothing in them is run.

    Each is opened once to count its videos. Arguments as for `youtube8m`.

    Raises:
        DataError: no such files, or one is not a pickle of videos.
    """
    return PickledVideos(find_shards(path, ("*.pkl",)), vocabulary_names(class_names, vocabulary, num_classes))


def write_pickles(
    shards: Sequence[Path], out_dir: Path, *, num_workers: int = 0
) -> Iterator[tuple[Path, int, list[str]]]:
    """Writes a pickle for each shard; yields the results of `write_pickle` in the order of the shards.

    Raises:
        DataError: two shards have the same name up to the first dot, or a file is not a shard.
    """
    names = Counter(_pickle_name(shard) for shard in shards)
    twice = [name for name, count in names.items() if count > 1]
    if twice:
        raise DataError(
            f"{out_dir}: '{twice[0]}' would hold {names[twice[0]]} shards; convert them to separate folders"
        )
    out_dir.mkdir(parents=True, exist_ok=True)
    write = functools.partial(write_pickle, out_dir=out_dir)
    if not num_workers:
        yield from map(write, shards)
        return
    with ProcessPoolExecutor(num_workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(write, shards)


def _pickle_name(shard: Path) -> str:
    return f"{shard.name.partition('.')[0]}.pkl"


def write_pickle(shard: Path, out_dir: Path) -> tuple[Path, int, list[str]]:
    """Writes one shard's videos as a pickle; returns its path, the number of videos and the unreadable records.

    Python 2 and 3 and every numpy read it: protocol 2, keys and names as bytes.

    Raises:
        DataError: the file is not a shard, or has no readable video.
    """
    items, bad = [], []
    shards = FeatureShards([shard], (), names=("rgb", "audio"))
    for record in shards:
        try:
            id_, (rgb, audio), labels = record.read()
        except DataError as error:
            bad.append(str(error))
            continue
        item = {"video": id_.encode(), "feature": rgb, "audio": audio, "nframes": min(len(rgb), MOST_FRAMES)}
        items.append({k.encode(): v for k, v in item.items()} | ({b"label": list(labels)} if labels else {}))
    if not items:
        raise DataError(f"{shard}: none of its {counted(len(shards), 'video')} can be read, the first since {bad[0]}")
    path = out_dir / _pickle_name(shard)
    with whole_file(path) as part, part.open("wb") as file:
        _Pickler(file, protocol=2).dump(items)
    return path, len(items), [*bad, *shards.notes]


class _Pickler(pickle.Pickler):
    """Pickles arrays under a name that every numpy has; numpy's own choice changed with version 2."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, np.ndarray):
            return np.ndarray, (obj.shape, obj.dtype.str, obj.tobytes())
        return NotImplemented


@functools.lru_cache(maxsize=2)
def _open_pickle(path: Path) -> list[Any]:
    try:
        found = unpickle_arrays(path)
    except WeightsError as error:
        raise DataError(str(error)) from error
    items = [found] if isinstance(found, dict) else found
    if not isinstance(items, list) or not items or not all(isinstance(item, dict) for item in items):
        raise DataError(f"{path}: holds no list of videos; give a file that PaddleVideo's tf2pkl wrote")
    with reading(path, advice=FORM):
        return [{_text(key): value for key, value in item.items()} for item in items]


def _text(value: Any) -> str:
    """Returns Python 2's strings, which are text or bytes, as text."""
    if not isinstance(value, str | bytes):
        raise TypeError(f"{shown(value)} is not text")
    return value if isinstance(value, str) else value.decode("latin1")
