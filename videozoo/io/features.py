"""What a network saw of videos over time, stored: values, the times they are about, and how they were made."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import math
import os
from collections.abc import Mapping
from numbers import Real
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from typing_extensions import Self

from videozoo.errors import DataError
from videozoo.io import feature_files
from videozoo.io.feature_files import Parts
from videozoo.io.feature_sources import FeatureSources
from videozoo.io.tfrecord import encode_sequence_example, write_tfrecord
from videozoo.io.whole_file import whole_file
from videozoo.structured import checked, shown

__all__ = [
    "EXTRACTOR_FILE",
    "QUANTISED_RANGE",
    "FeatureRecipe",
    "FeatureStore",
    "FeatureWriter",
    "Features",
    "Output",
    "dequantised",
    "is_feature_file",
    "quantised",
    "read_features",
    "sidecar_recipe",
    "write_features",
]

EXTRACTOR_FILE = "extractor.safetensors"
Output = Literal["features", "scores"]
FILE_SUFFIXES = (*feature_files.SUFFIXES, ".parquet", *feature_files.HDF5_SUFFIXES)
ADVICE = "is no feature recipe; extract the features again"
QUANTISED_RANGE = 4.0  # YouTube-8M: bytes stand for -2..2


@dataclasses.dataclass(frozen=True)
class FeatureRecipe:
    """How features were made; a model takes only features of the recipe that it was trained on.

    Attributes:
        extractor: name of the network.
        sha256: of its weights; see `weights.checkpoint.fingerprint`.
        output: "features" are what its classifier sees, "scores" its class probabilities.
        window_s, stride_s: what a row has seen of the video, and how far it is to the next.
        input: the input spec, without what only training does.
        dim: width of a row.
        pca: SHA-256 of the projection that came after, or None.
        audio: whether 128 numbers of the sound stand beside each row.
        quantised: whether the values went through YouTube-8M's bytes.
    """

    extractor: str
    sha256: str
    output: Output
    window_s: float
    stride_s: float
    input: Mapping[str, Any]
    dim: int
    pca: str | None = None
    audio: bool = False
    quantised: bool = False

    def __post_init__(self) -> None:
        if self.output not in get_args(Output):
            raise DataError(f"feature recipe: output is {shown(self.output)}; it is features or scores")
        if not (self.window_s > 0 and self.stride_s > 0 and self.dim > 0):
            raise DataError(
                f"feature recipe: needs window_s, stride_s and dim above 0, got {self.window_s}, {self.stride_s}, "
                f"{self.dim}"
            )
        object.__setattr__(self, "input", json.loads(json.dumps(dict(self.input))))  # as it comes back from a file

    def to_dict(self) -> dict[str, Any]:
        """The recipe as plain values; `from_dict` takes them back."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], *, where: str = "feature recipe") -> Self:
        """The recipe of plain values.

        Raises:
            DataError: a value is missing, unknown or out of range.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        if unknown := sorted(set(checked(values, dict[str, Any], where=where, advice=ADVICE)) - known):
            raise DataError(f"{where}: has {shown(', '.join(unknown))}, unknown to this videozoo; upgrade it")
        return checked(values, cls, where=where, advice=ADVICE)

    def describe(self) -> str:
        """The recipe in a line, for messages."""
        more = f", PCA {self.pca[:8]}" if self.pca else ""
        more += ", with sound" if self.audio else ""
        more += ", quantised" if self.quantised else ""
        return (
            f"{self.output} of {self.extractor} (weights {self.sha256[:8]}), {self.dim} wide, "
            f"{self.window_s:g} s every {self.stride_s:g} s{more}"
        )

    def check_same(self, other: FeatureRecipe, *, where: str) -> None:
        """Refuses `other`, the recipe of what lies at `where`, when it is not this one.

        Raises:
            DataError: they differ; the message names both, and in what.
        """
        if self == other:
            return
        ours, theirs = self.to_dict(), other.to_dict()
        differing = ", ".join(key for key in ours if ours[key] != theirs[key])
        raise DataError(
            f"{where}: {other.describe()}; expected {self.describe()} (differing: {differing}); "
            "extract with the same weights and options"
        )


@dataclasses.dataclass(frozen=True)
class Features:
    """One video's features over time.

    Attributes:
        values: float32 `[t d]`.
        stride_s, offset_s: row k is about the window with its middle at `offset_s + k * stride_s`; the last window
            may lie less than a stride nearer, against the video's end. None where nobody knows: the rows are then
            spread evenly over the video.
        duration_s: of the video, if known.
        scores: class probabilities `[t k]` of the extractor, if stored, and
        class_names: what they are called.
        audio: `[t 128]`, if stored: what was heard around each row; see `transforms.sound`.
        recipe: how they were made; None for other projects' files.
    """

    values: np.ndarray
    stride_s: float | None = None
    offset_s: float | None = None
    duration_s: float | None = None
    scores: np.ndarray | None = None
    class_names: tuple[str, ...] = ()
    audio: np.ndarray | None = None
    recipe: FeatureRecipe | None = None

    def __post_init__(self) -> None:
        for name in ("values", "scores", "audio"):
            array = getattr(self, name)
            if array is not None:
                _check_table(array, name, num_rows=len(self.values) if name != "values" else None)
        if self.scores is not None and self.scores.shape[1] != len(self.class_names):
            raise DataError(f"features: {self.scores.shape[1]} scores for {len(self.class_names)} class names")
        for name in ("stride_s", "offset_s", "duration_s"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, Real) and math.isfinite(value)):
                raise DataError(f"features: {name} is {shown(value)}; needs seconds")
        if (self.stride_s is not None and self.stride_s <= 0) or (self.duration_s is not None and self.duration_s < 0):
            raise DataError(f"features: {self.stride_s=} and {self.duration_s=}; needs seconds above 0")
        if (self.stride_s is None) != (self.offset_s is None):
            raise DataError(f"features: {self.stride_s=} and {self.offset_s=}; give both or neither")
        if self.recipe is not None and self.recipe.dim != self.values.shape[1]:
            raise DataError(f"features: are {self.values.shape[1]} wide, their recipe says {self.recipe.dim}")

    def __len__(self) -> int:
        return len(self.values)

    @property
    def dim(self) -> int:
        return int(self.values.shape[1])

    def times_s(self, duration_s: float | None = None, *, where: str = "features") -> np.ndarray:
        """The middle of each row's window `[t]`, in seconds of the video.

        Args:
            duration_s: of the video, for files that do not say it.
            where: begins the error message, such as the id of the video.

        Raises:
            DataError: neither the rows' places nor the duration are known.
        """
        rows = np.arange(len(self.values))
        if self.stride_s is not None and self.offset_s is not None:
            return self.offset_s + rows * self.stride_s
        length_s = self.duration_s if self.duration_s is not None else duration_s
        if length_s is None:
            raise DataError(
                f"{where}: the times of the feature rows are unknown; give the video's duration, or stride_s"
            )
        return (rows + 0.5) * length_s / len(rows)

    def between(self, start_s: float, end_s: float) -> Self:
        """The rows whose middle lies in there, or the nearest one, as those of a video of its own."""
        times_s = self.times_s()
        rows = np.flatnonzero((times_s >= start_s) & (times_s < end_s))
        if not rows.size:
            rows = np.array([np.abs(times_s - (start_s + end_s) / 2).argmin()])
        part = slice(int(rows[0]), int(rows[-1]) + 1)
        return dataclasses.replace(
            self,
            values=self.values[part],
            scores=self.scores[part] if self.scores is not None else None,
            audio=self.audio[part] if self.audio is not None else None,
            stride_s=self.stride_s,
            offset_s=float(times_s[rows[0]]) - start_s if self.stride_s is not None else None,
            duration_s=end_s - start_s,
        )

    def to_parts(self) -> tuple[Parts, dict[str, Any]]:
        """(arrays and values of this video, values that hold for all videos), as `feature_files` stores them."""
        arrays = {name: getattr(self, name) for name in ("values", "scores", "audio")}
        meta = {name: getattr(self, name) for name in ("stride_s", "offset_s", "duration_s")}
        shared: dict[str, Any] = {"recipe": self.recipe.to_dict() if self.recipe is not None else None}
        shared["class_names"] = list(self.class_names)
        return Parts({k: a for k, a in arrays.items() if a is not None}, meta), shared

    @classmethod
    def from_parts(cls, parts: Parts, *, where: str) -> Self:
        """What `to_parts` gave, or what another project's file holds.

        Raises:
            DataError: no table of numbers, values that are not finite, or what does not fit together.
        """
        arrays, meta = parts
        tables = {name: _as_table(arrays[name], where) for name in ("values", "scores", "audio") if name in arrays}
        if "values" not in tables:
            raise DataError(f"{where}: holds no values; features are floats [t d]")
        told = meta.get("recipe")
        recipe = FeatureRecipe.from_dict(told, where=where) if told is not None else None
        stride_s, offset_s = meta.get("stride_s"), meta.get("offset_s")
        try:
            return cls(
                **tables,
                stride_s=stride_s,
                offset_s=offset_s,
                duration_s=meta.get("duration_s"),
                class_names=tuple(meta.get("class_names") or ()) if "scores" in tables else (),
                recipe=recipe,
            )
        except DataError as error:
            raise DataError(f"{where}: {str(error).removeprefix('features: ')}") from error


class FeatureStore:
    """The features of many videos, read when asked for; picklable, so that loader workers can have it.

    Args:
        path: a folder with one npz, npy or csv file a video (or one packed file), or a packed parquet, HDF5 or npz
            file. An id is the file's path below the folder without its ending, or the key in the packed file.

    Attributes:
        ids: of the videos, in order.
        form: how they are stored: npz, npy, csv (one file a video), parquet, h5, or "packed npz".
        recipe: how the features were made, the same for all; None for other projects' files.
        extractor: the weight file that lies beside the features, which makes the same of new videos, or None.

    Raises:
        DataError: no features there, or not readable.
        MissingPackageError: parquet or HDF5 without their package.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path)
        self._file = feature_files.open_features(self.path)
        self.ids = self._file.ids
        self.form = self._file.form
        self._known = frozenset(self.ids)
        folder = self.path if self.path.is_dir() else self.path.parent
        self._sources = FeatureSources(folder)
        self.extractor = folder / EXTRACTOR_FILE if (folder / EXTRACTOR_FILE).is_file() else None

    @functools.cached_property
    def recipe(self) -> FeatureRecipe | None:
        told = self._file.shared.get("recipe")
        if told is not None:
            return FeatureRecipe.from_dict(told, where=str(self.path))
        if "recipe" in self._file.shared or not self.ids:
            return None
        return self._features(self.ids[0]).recipe

    @functools.cached_property
    def dim(self) -> int:
        """Width of a row, in all files."""
        return self.recipe.dim if self.recipe is not None else self._features(self.ids[0]).dim

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, id_: object) -> bool:
        return id_ in self._known

    def has(self, video: Path) -> bool:
        """Whether there are features of a video file: of this one, not of another with its name."""
        return self._sources.find(video, self._named_like(video)) is not None

    def id_of(self, video: Path) -> str:
        """Returns the id of a video file's features.

        Raises:
            DataError: there are none of it; the message says where others of its name are from.
        """
        named_like = self._named_like(video)
        found = self._sources.find(video, named_like)
        if found is None and named_like and (source := self._sources.source(named_like[0])) is not None:
            raise DataError(
                f"{self.path}: no features of {video}; '{named_like[0]}' is of {source.path} as it was when they were "
                "made; extract them again"
            )
        return video.stem if found is None else found

    def _named_like(self, video: Path) -> list[str]:
        return [name for name in (video.stem, video.name, video.with_suffix("").as_posix()) if name in self]

    def place(self, id_: str) -> str:
        """The file of a video's features, for messages."""
        return self._file.place(id_)

    def read(self, id_: str) -> Features:
        """The features of the video `id_`.

        Raises:
            DataError: there are none of it, they are damaged, of another width or another recipe than the rest.
        """
        features = self._features(id_)
        place = self.place(id_)
        if self.recipe is not None and features.recipe is not None:
            self.recipe.check_same(features.recipe, where=place)
        if features.dim != self.dim:
            raise DataError(f"{place}: is {features.dim} wide, the others {self.dim}; extract it again like them")
        return features

    def _features(self, id_: str) -> Features:
        if id_ not in self._known:
            near = f" (there are {len(self.ids)}, e.g. '{self.ids[0]}')" if self.ids else ""
            advice = "extract them, or leave such videos out (data.train.missing=skip)"
            raise DataError(f"{self.path}: no features of video '{id_}'{near}; {advice}")
        return Features.from_parts(self._file.read(id_), where=self.place(id_))


def is_feature_file(path: object) -> bool:
    """Whether that is the name of a file with features, to tell it from a video's."""
    return isinstance(path, str | os.PathLike) and Path(path).suffix.lower() in FILE_SUFFIXES


def read_features(path: str | os.PathLike[str]) -> Features:
    """The features in a file of one video.

    Raises:
        DataError: no such file, not readable, or with several videos.
    """
    store = FeatureStore(path)
    if len(store.ids) != 1:
        raise DataError(f"{path}: holds the features of {len(store.ids)} videos; give the file of one")
    return store.read(store.ids[0])


def write_features(path: str | os.PathLike[str], id_: str, features: Features, *, suffix: str = ".npz") -> Path:
    """Writes one video's features and says where: into a folder as `<id>.npz`, or to the very file.

    Folders of npy and csv hold the values alone; their features.json says the rest. A parquet or HDF5 file is written
    with this one video; `FeatureWriter` packs several.

    Raises:
        DataError: it cannot be written, or not in this form.
    """
    path = Path(path)
    file = path if path.suffix in FILE_SUFFIXES and not path.is_dir() else path / f"{id_}{suffix}"
    if file.suffix not in feature_files.SUFFIXES:
        with FeatureWriter(file) as writer:
            writer.write(id_, features)
        return file
    parts, shared = features.to_parts()
    if file.suffix == ".npz":
        feature_files.write_single(file, Parts(parts.arrays, {**parts.meta, **shared}))
    else:
        feature_files.write_single(file, parts)
        feature_files.write_sidecar(path if file != path else path.parent, shared, {id_: parts.meta})
    return file


def sidecar_recipe(folder: str | os.PathLike[str]) -> FeatureRecipe | None:
    """The recipe that features.json of a folder tells, where there is one."""
    told = feature_files.read_sidecar(Path(folder)).get("recipe")
    return FeatureRecipe.from_dict(told, where=str(folder)) if told is not None else None


class FeatureWriter:
    """Packs the features of many videos into one parquet, HDF5, npz or tfrecord file, which appears when all is well.

        with FeatureWriter("features.parquet") as writer:
            writer.write("a", features)

    A tfrecord shard is YouTube-8M's (rgb, and audio where there is some, as bytes that stand for -2..2) and is held in
    memory until the end.

    Raises:
        DataError: another recipe or width than the first video's, an id that comes twice, or no such format.
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
            raise DataError(f"{self.path}: features of '{id_}' came twice; an id stands once")
        parts, shared = features.to_parts()
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
            raise DataError(f"{self.path}: no features were given to write")
        elif kind is None:
            write_tfrecord(self._partial, self._records)

    def _check_like_first(self, id_: str, features: Features) -> None:
        first = self._first
        assert first is not None
        where = f"{self.path}:{id_}"
        if first.recipe is not None and features.recipe is not None:
            first.recipe.check_same(features.recipe, where=where)
        if features.dim != first.dim or (features.recipe is None) != (first.recipe is None):
            raise DataError(f"{where}: is {features.dim} wide, the first {first.dim}; pack features of one recipe")


def _youtube8m_record(id_: str, features: Features) -> bytes:
    lists = {"rgb": features.values}
    if features.audio is not None:
        lists["audio"] = features.audio
    return encode_sequence_example(
        {"id": [id_.encode()], "labels": np.zeros(0, np.int64)},
        {name: [[row.tobytes()] for row in quantised(values)] for name, values in lists.items()},
    )


def quantised(values: np.ndarray) -> np.ndarray:
    """Bytes that stand for -2..2, by YouTube-8M's rule; what lies beyond is cut."""
    half = QUANTISED_RANGE / 2
    return np.clip((values + half) * (255 / QUANTISED_RANGE), 0, 255).astype(np.uint8)


def dequantised(data: np.ndarray) -> np.ndarray:
    """The middle of what each byte of `quantised` stands for."""
    half = QUANTISED_RANGE / 2
    return (data * np.float32(QUANTISED_RANGE / 255) + np.float32(QUANTISED_RANGE / 512 - half)).astype(np.float32)


def _as_table(array: np.ndarray, where: str) -> np.ndarray:
    """`array` as float32 `[t d]`, with the place in what is wrong with it."""
    if array.dtype.kind not in "fiu":
        raise DataError(f"{where}: holds {array.dtype}, not numbers; features are floats [t d]")
    if array.ndim != 2:
        raise DataError(f"{where}: has the shape {array.shape}; features are [t d], one row a time")
    return np.ascontiguousarray(array, dtype=np.float32)


def _check_table(array: np.ndarray, name: str, *, num_rows: int | None) -> None:
    if array.ndim != 2 or array.dtype != np.float32:
        raise DataError(f"features: {name} are {array.dtype} {array.shape}; needs float32 [t d]")
    if not array.size:
        raise DataError(f"features: {name} are empty {array.shape}; a video has at least one row")
    if num_rows is not None and len(array) != num_rows:
        raise DataError(f"features: {len(array)} rows of {name} for {num_rows} of values; they go together")
    if not np.isfinite(array).all():
        row = int(np.argmin(np.isfinite(array).all(axis=1)))
        raise DataError(f"features: {name} of row {row} are not finite; extract them again")
