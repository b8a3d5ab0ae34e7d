"""Reads and writes the stored features of videos: values, their times, and the recipe of their extraction."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from typing_extensions import Self

from videozoo.contracts.features import FeatureRecipe, Features
from videozoo.errors import DataError
from videozoo.io import feature_files
from videozoo.io.feature_files import Parts
from videozoo.io.feature_sources import FeatureSources
from videozoo.io.tfrecord import encode_sequence_example, write_tfrecord
from videozoo.io.whole_file import whole_file

__all__ = [
    "EXTRACTOR_FILE",
    "QUANTIZED_RANGE",
    "FeatureStore",
    "FeatureWriter",
    "dequantize",
    "from_parts",
    "is_feature_file",
    "quantize",
    "read_features",
    "side_by_side",
    "sidecar_recipe",
    "to_parts",
    "write_features",
]

T = TypeVar("T")
EXTRACTOR_FILE = "extractor.safetensors"
MOST_OPENED = 100  # videos tried when looking for the width of the features
QUANTIZED_RANGE = 4.0  # YouTube-8M: bytes represent -2..2


def to_parts(features: Features) -> tuple[Parts, dict[str, Any]]:
    """Returns (arrays and values of one video, values that hold for all videos)for `feature_files`."""
    arrays = {"values": features.values, "scores": features.scores, "audio": features.audio}
    meta = {"stride_s": features.stride_s, "offset_s": features.offset_s, "duration_s": features.duration_s}
    shared: dict[str, Any] = {"recipe": features.recipe.to_dict() if features.recipe is not None else None}
    shared["class_names"] = list(features.class_names)
    return Parts({name: array for name, array in arrays.items() if array is not None}, meta), shared


def from_parts(parts: Parts, *, where: str, tables: Sequence[str] = ()) -> Features:
    """Returns the features from the result of `to_parts`, or from another project's file.

    Args:
        tables: names of the arrays that lie side by side in the features; see `FeatureStore`.

    Raises:
        DataError: there is no table of numbers, a value is not finite, or lengths do not agree.
    """
    if tables:
        aligned = side_by_side([_as_table(parts.arrays[name], where) for name in tables])
        return _named(Features, where, values=np.concatenate(aligned, axis=1))
    return _single_table(parts, where=where)


def side_by_side(tables: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Returns tables `[t d]` of one video with the rows of the first; another length takes its nearest rows in time."""
    num_rows = len(tables[0])
    middles = (np.arange(num_rows) + 0.5) / num_rows
    return [table if len(table) == num_rows else table[(middles * len(table)).astype(int)] for table in tables]


def _single_table(parts: Parts, *, where: str) -> Features:
    arrays, meta = parts
    tables = {name: _as_table(arrays[name], where) for name in ("values", "scores", "audio") if name in arrays}
    if "values" not in tables:
        raise DataError(f"{where}: holds no values; features are floats [t d]")
    stored = meta.get("recipe")
    recipe = FeatureRecipe.from_dict(stored, where=where) if stored is not None else None
    stride_s, offset_s = meta.get("stride_s"), meta.get("offset_s")
    return _named(
        Features,
        where,
        **tables,
        stride_s=stride_s,
        offset_s=offset_s,
        duration_s=meta.get("duration_s"),
        class_names=tuple(meta.get("class_names") or ()) if "scores" in tables else (),
        recipe=recipe,
    )


def _named(make: Callable[..., Features], where: str, **values: Any) -> Features:
    """Builds features; errors begin with `where`."""
    try:
        return make(**values)
    except DataError as error:
        raise DataError(f"{where}: {str(error).removeprefix('features: ')}") from error


class FeatureStore:
    """The stored features of many videos, read on demand; picklable for loader workers.

    Args:
        path: a folder with one file per video (or one packed file), or a packed parquet, HDF5 or npz file. An id is
            the file's path below the folder without its ending, or the key in the packed file.
        tables: names of several arrays in each npz file or HDF5 group; their rows lie side by side in the features.

    Attributes:
        ids: ids of the videos, in order.
        form: file format: npz, npy, csv (one file per video), parquet, h5, or "packed npz".
        recipe: the common recipe of the features; None for other projects' files.
        extractor: the weight file in the folder of the features, which extracts equal features of new videos, or None.

    Raises:
        DataError: there are no features, or they cannot be read.
        MissingPackageError: the package for parquet or HDF5 is not installed.
    """

    def __init__(self, path: str | os.PathLike[str], tables: Sequence[str] = ()):
        self.path, self.tables = Path(path), tuple(tables)
        self._file = feature_files.open_features(self.path, self.tables)
        self.ids = self._file.ids
        self.form = self._file.form
        self._known = frozenset(self.ids)
        folder = self.path if self.path.is_dir() else self.path.parent
        self._sources = FeatureSources(folder)
        self.extractor = folder / EXTRACTOR_FILE if (folder / EXTRACTOR_FILE).is_file() else None

    @functools.cached_property
    def recipe(self) -> FeatureRecipe | None:
        if self.tables:
            return None
        stored = self._file.shared.get("recipe")
        if stored is not None:
            return FeatureRecipe.from_dict(stored, where=str(self.path))
        if "recipe" in self._file.shared or not self.ids:
            return None
        return self._first_features().recipe

    @functools.cached_property
    def dim(self) -> int:
        """Width of a row, equal in all files."""
        return self.recipe.dim if self.recipe is not None else self._first_features().dim

    @functools.cached_property
    def widths(self) -> tuple[int, ...]:
        """Width of each of `tables`, equal in all files; without tables the width of a row."""
        if not self.tables:
            return (self.dim,)
        arrays = self._first_readable(lambda id_: self._file.read(id_).arrays)
        return tuple(np.atleast_2d(arrays[name]).shape[-1] for name in self.tables)

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, id_: object) -> bool:
        return id_ in self._known

    def has(self, video: Path) -> bool:
        """Returns whether this very video file has features; one of the same name does not count."""
        return self._sources.find(video, self._named_like(video)) is not None

    def id_of(self, video: Path) -> str:
        """Returns the id of a video file's features.

        Raises:
            DataError: it has none; the message names the source of features with the same name.
        """
        named_like = self._named_like(video)
        found = self._sources.find(video, named_like)
        if found is None and named_like and (source := self._sources.source(named_like[0])) is not None:
            raise DataError(
                f"{self.path}: no features of {video}; '{named_like[0]}' belongs to {source.path} as of its "
                "extraction; extract them again"
            )
        return video.stem if found is None else found

    def _named_like(self, video: Path) -> list[str]:
        return [name for name in (video.stem, video.name, video.with_suffix("").as_posix()) if name in self]

    def place(self, id_: str) -> str:
        """Returns the file of a video's features, for messages."""
        return self._file.place(id_)

    def read(self, id_: str) -> Features:
        """Returns the features of the video `id_`.

        Raises:
            DataError: they are missing or damaged, or their width or recipe differs from the rest.
        """
        features = self._features(id_)
        place = self.place(id_)
        if self.recipe is not None and features.recipe is not None:
            self.recipe.check_same(features.recipe, where=place)
        if features.dim != self.dim:
            raise DataError(f"{place}: has width {features.dim}, the others {self.dim}; extract it again")
        return features

    def split(self, values: np.ndarray) -> list[np.ndarray]:
        """Splits rows `[t dim]` into the tables that they consist of."""
        return np.split(values, np.cumsum(self.widths)[:-1], axis=1)

    def source_of(self, id_: str) -> Path | None:
        """Returns the video file that the features of `id_` were extracted from, if it is recorded."""
        source = self._sources.source(id_)
        return Path(source.path) if source is not None else None

    def _first_features(self) -> Features:
        return self._first_readable(self._features)

    def _first_readable(self, read: Callable[[str], T]) -> T:
        """Returns the result for the first video that can be read.

        Raises:
            DataError: none can be read; the error is the first video's.
        """
        first: DataError | None = None
        for id_ in self.ids[:MOST_OPENED]:
            try:
                return read(id_)
            except DataError as error:
                first = first or error
        raise first or DataError(f"{self.path}: holds no features; run `videozoo extract`")

    def _features(self, id_: str) -> Features:
        if id_ not in self._known:
            near = f" (there are {len(self.ids)}, e.g. '{self.ids[0]}')" if self.ids else ""
            advice = "extract them, or skip such videos (data.train.missing=skip)"
            raise DataError(f"{self.path}: no features of video '{id_}'{near}; {advice}")
        return from_parts(self._file.read(id_), where=self.place(id_), tables=self.tables)


def is_feature_file(path: object) -> bool:
    """Returns whether a path has the name of a feature file, as opposed to a video."""
    return isinstance(path, str | os.PathLike) and Path(path).suffix.lower() in feature_files.FILE_SUFFIXES


def read_features(path: str | os.PathLike[str], tables: Sequence[str] = ()) -> Features:
    """Reads the features in a file of one video; `tables` as in `FeatureStore`.

    Raises:
        DataError: the file does not exist, cannot be read, or holds several videos.
    """
    store = FeatureStore(path, tables)
    if len(store.ids) != 1:
        raise DataError(f"{path}: holds the features of {len(store.ids)} videos; give a file with one")
    return store.read(store.ids[0])


def write_features(path: str | os.PathLike[str], id_: str, features: Features, *, suffix: str = ".npz") -> Path:
    """Writes one video's features to a folder as `<id>.npz`, or to a file; returns the path of the file.

    The npy and csv files of a folder hold only the values; its features.json holds the metadata. A parquet or HDF5 file
    then holds this one video; `FeatureWriter` packs several.

    Raises:
        DataError: the file cannot be written, or the format is unknown.
    """
    path = Path(path)
    file = path if path.suffix in feature_files.FILE_SUFFIXES and not path.is_dir() else path / f"{id_}{suffix}"
    if file.suffix not in feature_files.SUFFIXES:
        with FeatureWriter(file) as writer:
            writer.write(id_, features)
        return file
    parts, shared = to_parts(features)
    if file.suffix == ".npz":
        feature_files.write_single(file, Parts(parts.arrays, {**parts.meta, **shared}))
    else:
        feature_files.write_single(file, parts)
        feature_files.write_sidecar(path if file != path else path.parent, shared, {id_: parts.meta})
    return file


def sidecar_recipe(folder: str | os.PathLike[str]) -> FeatureRecipe | None:
    """Returns the recipe in features.json of a folder, or None without one."""
    stored = feature_files.read_sidecar(Path(folder)).get("recipe")
    return FeatureRecipe.from_dict(stored, where=str(folder)) if stored is not None else None


class FeatureWriter:
    """Packs the features of many videos into one parquet, HDF5, npz or tfrecord file, written atomically.

        with FeatureWriter("features.parquet") as writer:
            writer.write("a", features)

    A tfrecord shard has YouTube-8M's format (rgb, and audio if there is any, as bytes that represent -2..2); it stays
    in memory until the end.

    Raises:
        DataError: a recipe or width differs from the first video's, an id occurs twice, or the format is unknown.
        MissingPackageError: parquet or HDF5 without their package.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path)
        self._first: Features | None = None
        self._ids: set[str] = set()
        self._packed: feature_files.Packed | None = None
        self._records: list[bytes] = []

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self._partial = stack.enter_context(whole_file(self.path))
            stack.push(self._close)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    def write(self, id_: str, features: Features) -> None:
        """Adds one video."""
        if id_ in self._ids:
            raise DataError(f"{self.path}: features of '{id_}' were given twice; give each id once")
        parts, shared = to_parts(features)
        if self._first is None:
            self._first = features
            if self.path.suffix != ".tfrecord":
                self._packed = feature_files.new_packed(self._partial, self.path.suffix, shared)
        else:
            self._check_like_first(id_, features)
        self._ids.add(id_)
        if self._packed is not None:
            self._packed.add(id_, parts)
        else:
            self._records.append(_youtube8m_record(id_, features))

    def _close(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._packed is not None:
            self._packed.close()
        elif kind is None and not self._records:
            raise DataError(f"{self.path}: there are no features to write; give at least one video")
        elif kind is None:
            write_tfrecord(self._partial, self._records)

    def _check_like_first(self, id_: str, features: Features) -> None:
        first = self._first
        assert first is not None
        where = f"{self.path}:{id_}"
        if first.recipe is not None and features.recipe is not None:
            first.recipe.check_same(features.recipe, where=where)
        if features.dim != first.dim or (features.recipe is None) != (first.recipe is None):
            raise DataError(f"{where}: has width {features.dim}, the first {first.dim}; pack features of one recipe")


def _youtube8m_record(id_: str, features: Features) -> bytes:
    lists = {"rgb": features.values}
    if features.audio is not None:
        lists["audio"] = features.audio
    return encode_sequence_example(
        {"id": [id_.encode()], "labels": np.zeros(0, np.int64)},
        {name: [[row.tobytes()] for row in quantize(values)] for name, values in lists.items()},
    )


def quantize(values: np.ndarray) -> np.ndarray:
    """Quantizes values in -2..2 to bytes by YouTube-8M's rule; clips larger ones."""
    half = QUANTIZED_RANGE / 2
    return np.clip((values + half) * (255 / QUANTIZED_RANGE), 0, 255).astype(np.uint8)


def dequantize(data: np.ndarray) -> np.ndarray:
    """Returns the center of the interval that each byte of `quantize` represents."""
    half = QUANTIZED_RANGE / 2
    values: np.ndarray = data * np.float32(QUANTIZED_RANGE / 255) + np.float32(QUANTIZED_RANGE / 512 - half)
    return values.astype(np.float32)


def _as_table(array: np.ndarray, where: str) -> np.ndarray:
    """Returns `array` as float32 `[t d]`, a vector as one row; errors begin with `where`."""
    if array.dtype.kind not in "fiu":
        raise DataError(f"{where}: holds {array.dtype}, not numbers; features are floats [t d]")
    if array.ndim == 1:
        array = array[None]
    if array.ndim != 2:
        raise DataError(f"{where}: has the shape {array.shape}; features are [t d], one row per time")
    return np.ascontiguousarray(array, dtype=np.float32)
