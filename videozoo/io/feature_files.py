"""File formats of stored features: one file per video, or many videos packed in one file.

This module handles arrays by name with metadata; `io.features` interprets them. Files may come from any source, so
nothing is unpickled.
"""

from __future__ import annotations

import contextlib
import csv
import functools
import io
import json
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from pydantic import FiniteFloat
from typing_extensions import TypedDict

from videozoo.errors import DataError, require
from videozoo.io.npz import load_arrays
from videozoo.io.whole_file import whole_file
from videozoo.structured import checked, parse_json, read_json, reading, regular_file, shown

__all__ = [
    "FILE_SUFFIXES",
    "PACKED_NAMES",
    "SIDECAR",
    "SUFFIXES",
    "FeatureFile",
    "Parts",
    "new_packed",
    "open_features",
    "read_sidecar",
    "write_sidecar",
    "write_single",
]

SUFFIXES = (".npz", ".npy", ".csv")  # of the file of one video, as this package writes it
HDF5_SUFFIXES = (".h5", ".hdf5")
FILE_SUFFIXES = (*SUFFIXES, ".parquet", *HDF5_SUFFIXES)  # of every file with features
PACKED_NAMES = ("features.parquet", "features.h5", "features.hdf5")  # packed files that a folder may hold
SIDECAR = "features.json"  # metadata of formats that store only numbers
OPEN_FILES = 16
MOST_GROUPS_DEEP = 16  # nesting of HDF5 groups
MOST_ARRAY_BYTES = 4 << 30  # a day at 25 rows a second, 512 wide; an HDF5 file can state any size without storing it
ROW_GROUP_BYTES = 8 << 20  # of parquet; a row group is read at once
ADVICE = "remove it or make it again"


class Meta(TypedDict, total=False):
    """The metadata of one video, or of all videos."""

    recipe: dict[str, Any] | None
    class_names: list[str] | None
    stride_s: FiniteFloat | None
    offset_s: FiniteFloat | None
    duration_s: FiniteFloat | None


class Sidecar(Meta, total=False):
    """The content of features.json."""

    videos: dict[str, Meta]
    num_shards: int  # number of existing tfrecord shards


class Parts(NamedTuple):
    """One video's arrays by name, including `values`, and its metadata."""

    arrays: dict[str, np.ndarray]
    meta: dict[str, Any]


class FeatureFile(Protocol):
    """A file or folder with the features of videos.

    Attributes:
        ids: ids of the videos, in order.
        shared: metadata common to all videos (recipe, class_names).
        form: npz, npy, csv, parquet, h5 or "packed npz".
    """

    form: str
    ids: tuple[str, ...]
    shared: dict[str, Any]

    def place(self, id_: str) -> str:
        """Returns the location of a video's features, for messages."""

    def read(self, id_: str) -> Parts:
        """Reads the features of a video; raises DataError if they are damaged."""


def open_features(path: Path, tables: Sequence[str] = ()) -> FeatureFile:
    """Opens the features in a folder or a file; reads only names.

    Args:
        tables: names of the arrays to read from each npz file or HDF5 group; none reads its only table.

    Raises:
        DataError: there are no features, or their format is unknown, or it holds one table for each video.
    """
    if os.path.isdir(path):  # noqa: PTH112 (False for invalid names)
        packed = [path / name for name in PACKED_NAMES if (path / name).is_file()]
        return open_features(packed[0], tables) if packed else Folder(path, tables)
    if not os.path.exists(path):  # noqa: PTH110 (False for invalid names)
        raise DataError(f"{path}: there is no such file or folder of features; create it with `videozoo extract`")
    regular_file(path, kind="file of features")
    if path.suffix in HDF5_SUFFIXES:
        return HDF5(path, tables)
    if path.suffix == ".npz":
        packed_npz = PackedNpz(path)
        if packed_npz.is_single or set(tables) & set(packed_npz.ids):
            return Single(path, tables)
    if path.suffix in FILE_SUFFIXES and tables:
        raise DataError(f"{path}: holds one table for each video, not {', '.join(tables)}; leave modalities out")
    if path.suffix == ".npz":
        return packed_npz
    if path.suffix == ".parquet":
        return Parquet(path) if _is_packed(path) else Single(path)
    if path.suffix in SUFFIXES:
        return Single(path)
    raise DataError(f"{path}: '{path.suffix}' is not a format of features; use npz, npy, csv, parquet or h5")


# ---- one file a video --------------------------------------------------------------------------------------


class Folder:
    """A folder with one file per video; an id is the path below the folder without suffix."""

    def __init__(self, path: Path, tables: Sequence[str] = ()):
        self.path, self.tables = path, tables
        self.shared = read_sidecar(path)
        self._meta: dict[str, dict[str, Any]] = self.shared.pop("videos", {})
        self._files: dict[str, Path] = {}
        for file in sorted(path.rglob("*")):
            below = file.relative_to(path)
            if file.suffix not in FILE_SUFFIXES or any(part.startswith(".") for part in below.parts):
                continue
            id_ = below.with_suffix("").as_posix() if below.suffix else below.as_posix()
            if id_ in self._files:
                raise DataError(f"{file}: '{id_}' also has features in {self._files[id_].name}; remove one of them")
            self._files[id_] = file
        if not self._files:
            hint = "; read its .tfrecord files as data set youtube8m" if any(path.glob("*.tfrecord*")) else ""
            raise DataError(
                f"{path}: holds no features (npz, npy, csv, parquet, h5){hint or '; run `videozoo extract`'}"
            )
        self.ids = tuple(self._files)
        self.form = self._files[self.ids[0]].suffix[1:]

    def place(self, id_: str) -> str:
        return str(self._files.get(id_, self.path))

    def read(self, id_: str) -> Parts:
        arrays, meta = read_single(self._files[id_], self.tables)
        return Parts(arrays, {**self.shared, **self._meta.get(id_, {}), **meta})


class Single:
    """The file of one video; its id is the file's name."""

    def __init__(self, path: Path, tables: Sequence[str] = ()):
        self.path, self.form, self.tables = path, path.suffix[1:], tables
        self.ids: tuple[str, ...] = (path.stem,)
        self.shared = {} if path.suffix == ".npz" else read_sidecar(path.parent)
        self._meta: dict[str, Any] = self.shared.pop("videos", {}).get(path.stem, {})

    def place(self, id_: str) -> str:
        return str(self.path)

    def read(self, id_: str) -> Parts:
        arrays, meta = read_single(self.path, self.tables)
        return Parts(arrays, {**self.shared, **self._meta, **meta})


def read_single(path: Path, tables: Sequence[str] = ()) -> Parts:
    """Reads the features in the file of one video.

    Raises:
        DataError: the file is missing or damaged, holds objects other than numbers, or several videos.
    """
    if path.suffix in HDF5_SUFFIXES:
        packed = HDF5(path, tables)
        return packed.read_root() if tables else _only_video(packed, path)
    if tables and path.suffix != ".npz":
        raise DataError(f"{path}: holds one table, not {', '.join(tables)}; leave modalities out")
    if path.suffix == ".parquet":
        return _only_video(Parquet(path), path) if _is_packed(path) else Parts({"values": _read_parquet(path)}, {})
    if path.suffix == ".csv":
        return Parts({"values": _read_csv(path)}, {})
    with _damage(path):
        found = load_arrays(regular_file(path, kind="file of features"))
        if path.suffix == ".npy":
            return Parts({"values": _as_array(found)}, {})
        with found as file:
            arrays = {name: np.asarray(file[name]) for name in file.files}
    meta = _parse(arrays.pop("meta", None), str(path))
    return Parts(_chosen(arrays, tables, str(path)), meta)


def _only_video(file: FeatureFile, path: Path) -> Parts:
    if len(file.ids) != 1:
        raise DataError(f"{path}: holds {len(file.ids)} videos; a file in a folder holds one, so give the file itself")
    return file.read(file.ids[0])


def write_single(path: Path, parts: Parts) -> None:
    """Writes one video's features atomically; npy and csv hold only the values."""
    with whole_file(path) as partial, partial.open("wb") as file:
        if path.suffix == ".npz":
            np.savez(file, **parts.arrays, meta=np.array(json.dumps(parts.meta)))  # type: ignore[arg-type]
        elif path.suffix == ".npy":
            np.save(file, parts.arrays["values"], allow_pickle=False)
        elif path.suffix == ".csv":
            values = parts.arrays["values"]
            header = ",".join(f"f{i}" for i in range(values.shape[1]))
            np.savetxt(file, values, fmt="%.9g", delimiter=",", header=header, comments="")
        else:
            raise DataError(f"{path}: '{path.suffix}' is not a format for one video's features; use npz, npy or csv")


def _read_csv(path: Path) -> np.ndarray:
    """Reads the rows of a csv file, with or without a header; the first line of numbers is the first row."""
    regular_file(path, kind="table of numbers")
    with reading(path, advice=f"it is not a table of numbers: {ADVICE}"), path.open(encoding="utf-8-sig") as file:
        first = next(csv.reader(file), None)
        if first is None:
            raise DataError(f"{path}: is empty; {ADVICE}")
        file.seek(0)
        return np.loadtxt(file, np.float32, delimiter=",", skiprows=int(_is_header(first)), ndmin=2)


def _is_packed(path: Path) -> bool:
    """Returns whether a parquet file holds one row per video, as opposed to the rows of one video."""
    with _damage(path):
        names = set(_handle(path, _open_parquet).schema_arrow.names)
    return "id" in names or "values" in names


def _read_parquet(path: Path) -> np.ndarray:
    """Reads the columns of numbers of a parquet file with the rows of one video."""
    with _damage(path):
        table = _handle(path, _open_parquet).read()
        columns = {name: table[name].to_numpy() for name in table.column_names}
    if text := [name for name, column in columns.items() if column.dtype.kind not in "fiu"]:
        raise DataError(f"{path}: column {shown(text[0])} holds no numbers; features are columns of numbers")
    return np.stack(list(columns.values()), axis=1).astype(np.float32)


def _is_header(cells: list[str]) -> bool:
    try:
        numbers = [float(cell) for cell in cells]
    except ValueError:
        return True
    return len(numbers) > 1 and numbers == list(range(len(numbers)))  # pandas names its columns by numbers


def read_sidecar(folder: Path) -> dict[str, Any]:
    """Reads features.json of a folder: recipe, class_names, and stride, offset and duration by video id."""
    path = folder / SIDECAR
    if not path.exists():
        return {}
    found = read_json(path, kind="description of features", advice=ADVICE)
    return {**checked(found, Sidecar, where=path, advice=ADVICE)}


def write_sidecar(folder: Path, shared: Mapping[str, Any], videos: Mapping[str, Any]) -> None:
    """Writes features.json; keeps its entries of other videos."""
    known = read_sidecar(folder).get("videos", {})
    with whole_file(folder / SIDECAR) as partial:
        text = json.dumps({**shared, "videos": {**known, **videos}}, ensure_ascii=False)
        partial.write_text(text + "\n", encoding="utf-8")


# ---- many videos in one file -------------------------------------------------------------------------------


class PackedNpz:
    """An npz file with one array per video, and `<id>#scores`, `<id>#meta` and `#shared` if this package wrote it."""

    form = "packed npz"

    def __init__(self, path: Path):
        self.path = path
        with _damage(path), load_arrays(path) as file:
            names = list(file.files)
            shared = file["#shared"] if "#shared" in names else None
        self.shared = _parse(shared, str(path))
        self.ids = tuple(name for name in names if "#" not in name)
        self.is_single = "values" in names or ("#shared" not in names and len(names) == 1)
        if not names:
            raise DataError(f"{path}: holds no arrays; {ADVICE}")

    def place(self, id_: str) -> str:
        return f"{self.path}:{id_}"

    def read(self, id_: str) -> Parts:
        with _damage(self.path, id_):
            file = _handle(self.path, _open_npz)
            beside = [name for name in file.files if name.startswith(f"{id_}#")]
            arrays = {name.removeprefix(f"{id_}#"): np.asarray(file[name]) for name in beside}
            arrays["values"] = np.asarray(file[id_])
        meta = _parse(arrays.pop("meta", None), self.place(id_))
        return Parts(arrays, {**self.shared, **meta})


class Parquet:
    """A parquet file with one row per video; several rows form a row group, which is read at once."""

    form = "parquet"

    def __init__(self, path: Path):
        self.path = path
        with _damage(path):
            file = _handle(path, _open_parquet)
            schema = file.schema_arrow
            if not {"id", "dim", "values"} <= set(schema.names):
                columns = ", ".join(schema.names)
                raise DataError(f"{path}: has the columns {columns}; features have id, dim and values")
            self.shared = _parse((schema.metadata or {}).get(b"videozoo"), str(path))
            groups = [file.read_row_group(i, ["id"])["id"].to_pylist() for i in range(file.num_row_groups)]
        checked(groups, list[list[str]], where=path, advice="ids are text; create it again")
        self._places = {id_: (i, k) for i, group in enumerate(groups) for k, id_ in enumerate(group)}
        self.ids = tuple(self._places)

    def place(self, id_: str) -> str:
        return f"{self.path}:{id_}"

    def read(self, id_: str) -> Parts:
        group, row = self._places[id_]
        with _damage(self.path, id_):
            table = _row_group(_handle(self.path, _open_parquet), group)
            found = {name: table[name][row].as_py() for name in table.column_names if name in PARQUET_PLAIN}
            arrays = {}
            for name in ARRAYS:
                if name in table.column_names and table[name][row].is_valid:
                    flat = table[name][row].values.to_numpy(zero_copy_only=False)
                    arrays[name] = flat.reshape(found["num_rows"], -1).astype(np.float32, copy=False)
        own = {key: found[key] for key in PARQUET_TIMES if found.get(key) is not None}
        return Parts(arrays, {**self.shared, **checked(own, Meta, where=self.place(id_), advice=ADVICE)})


ARRAYS = ("values", "scores", "audio")
PARQUET_TIMES = ("stride_s", "offset_s", "duration_s")
PARQUET_PLAIN = ("num_rows", "dim", *PARQUET_TIMES)


class HDF5:
    """An HDF5 file with a data set per video id, or a group per id with `values` (or a single data set).

    Only data stored in the file itself is read: links and external or virtual data sets could refer to any file of the
    machine.
    """

    form = "h5"

    def __init__(self, path: Path, tables: Sequence[str] = ()):
        self.path, self.tables = path, tables
        with _damage(path):
            file = _handle(path, _open_hdf5)
            self.shared = _parse(file.attrs.get("videozoo"), str(path))
            self._names = dict.fromkeys(_walk_hdf5(file, "", str(path), set()))
        self.ids = tuple(self._names)
        if not self.ids:
            raise DataError(f"{path}: holds no data sets; {ADVICE}")

    def place(self, id_: str) -> str:
        return f"{self.path}:{id_}"

    def read(self, id_: str) -> Parts:
        place = self.place(id_)
        with _damage(self.path, id_):
            node = _handle(self.path, _open_hdf5)
            for name in id_.split("/"):
                node = _own_node(node, name, place)
            return self._read(node, place)

    def read_root(self) -> Parts:
        """Reads the data sets at the root as the tables of one video."""
        with _damage(self.path):
            return self._read(_handle(self.path, _open_hdf5), str(self.path))

    def _read(self, node: Any, place: str) -> Parts:
        children = [(name, _own_node(node, name, place)) for name in ([] if _is_data_set(node) else node)]
        found = {name: child for name, child in children if _is_data_set(child)}
        found = {"values": node} if _is_data_set(node) else _chosen(found, self.tables, place)
        names = [name for name in (*ARRAYS, *self.tables) if name in found]
        arrays = {name: _as_stored(found[name], f"{place}/{name}") for name in names}
        return Parts(arrays, {**self.shared, **_parse(node.attrs.get("videozoo"), place)})


def _walk_hdf5(group: Any, prefix: str, where: str, seen: set[Any]) -> Iterator[str]:
    """Yields the name of every video: of each data set, and of each group of data sets."""
    if group.id in seen or prefix.count("/") > MOST_GROUPS_DEEP:
        raise DataError(f"{where}: group {shown(prefix)} is nested too deeply or occurs twice; {ADVICE}")
    seen.add(group.id)
    for name in group:
        path = f"{prefix}{name}"
        node = _own_node(group, name, where)
        if _is_data_set(node) or any(_is_data_set(_own_node(node, child, where)) for child in node):
            yield path
        else:
            yield from _walk_hdf5(node, f"{path}/", where, seen)


def _own_node(group: Any, name: str, where: str) -> Any:
    """Returns the member of a group, if it is stored in the file.

    Raises:
        DataError: it is a link, or its data is stored in another file.
    """
    kind = type(group.get(name, getlink=True)).__name__
    if kind != "HardLink":
        raise DataError(f"{where}: {shown(name)} is refused: it is a {kind}, not data; store the numbers in this file")
    node = group[name]
    if not (_is_data_set(node) or hasattr(node, "keys")):
        raise DataError(f"{where}: {shown(name)} is a {type(node).__name__}, not a data set; {ADVICE}")
    if _is_data_set(node) and (node.external is not None or node.is_virtual):
        raise DataError(f"{where}: {shown(name)} is refused: its numbers are in other files; store them in this one")
    return node


def _is_data_set(node: Any) -> bool:
    return hasattr(node, "shape")


def _as_stored(data: Any, place: str) -> np.ndarray:
    """Reads the numbers of a data set; refuses text, references and excessive sizes."""
    if data.dtype.kind not in "fiu":
        raise DataError(f"{place}: holds {data.dtype}, not numbers; features are floats [t d]")
    if data.size * data.dtype.itemsize > MOST_ARRAY_BYTES:
        raise DataError(f"{place}: has the shape {data.shape}, more than {MOST_ARRAY_BYTES >> 30} GB; {ADVICE}")
    return np.asarray(data)


class Packed(Protocol):
    """A packed file in the process of writing."""

    def add(self, id_: str, parts: Parts) -> None: ...

    def close(self) -> None: ...


def new_packed(path: Path, suffix: str, shared: Mapping[str, Any]) -> Packed:
    """Creates a packed file in the format of `suffix`."""
    if suffix == ".parquet":
        return _NewParquet(path, shared)
    if suffix in HDF5_SUFFIXES:
        return _NewHDF5(path, shared)
    if suffix == ".npz":
        return _NewNpz(path, shared)
    raise DataError(f"{path}: '{suffix}' is not a format of packed features; use parquet, h5 or npz")


class _NewNpz:
    def __init__(self, path: Path, shared: Mapping[str, Any]):
        self._zip = zipfile.ZipFile(path, "w")
        self._put("#shared", np.array(json.dumps(shared)))

    def add(self, id_: str, parts: Parts) -> None:
        if "#" in id_:
            raise DataError(f"{id_}: ids in a packed npz cannot contain '#'; use parquet or h5")
        self._put(id_, parts.arrays["values"])
        for name, array in parts.arrays.items():
            if name != "values":
                self._put(f"{id_}#{name}", array)
        self._put(f"{id_}#meta", np.array(json.dumps(parts.meta)))

    def close(self) -> None:
        self._zip.close()

    def _put(self, name: str, array: np.ndarray) -> None:
        data = io.BytesIO()
        np.save(data, array, allow_pickle=False)
        self._zip.writestr(f"{name}.npy", data.getvalue())


class _NewHDF5:
    def __init__(self, path: Path, shared: Mapping[str, Any]):
        h5py = require("h5py", extra="features", purpose=f"{path}: features in HDF5")
        self._file = h5py.File(path, "w")
        self._file.attrs["videozoo"] = json.dumps(shared)

    def add(self, id_: str, parts: Parts) -> None:
        group = self._file.create_group(id_)
        for name, array in parts.arrays.items():
            group.create_dataset(name, data=array)
        group.attrs["videozoo"] = json.dumps(parts.meta)

    def close(self) -> None:
        self._file.close()


class _NewParquet:
    def __init__(self, path: Path, shared: Mapping[str, Any]):
        self._arrow = pa = require("pyarrow", extra="features", purpose=f"{path}: features in parquet")
        parquet = require("pyarrow.parquet", extra="features", purpose=f"{path}: features in parquet")
        fields = [("id", pa.string()), ("num_rows", pa.int64()), ("dim", pa.int64())]
        fields += [(name, pa.list_(pa.float32())) for name in ARRAYS]
        fields += [(name, pa.float64()) for name in PARQUET_TIMES]
        self._schema = pa.schema(fields, metadata={"videozoo": json.dumps(shared)})
        self._writer = parquet.ParquetWriter(path, self._schema, use_dictionary=False)
        self._rows: list[dict[str, Any]] = []
        self._held_bytes = 0

    def add(self, id_: str, parts: Parts) -> None:
        values = parts.arrays["values"]
        row = {"id": id_, "num_rows": len(values), "dim": values.shape[1]}
        row |= {name: parts.arrays[name].ravel() if name in parts.arrays else None for name in ARRAYS}
        row |= {name: parts.meta.get(name) for name in PARQUET_TIMES}
        self._rows.append(row)
        self._held_bytes += sum(array.nbytes for array in parts.arrays.values())
        if self._held_bytes >= ROW_GROUP_BYTES:
            self._flush()

    def close(self) -> None:
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        if self._rows:
            columns = {name: [row[name] for row in self._rows] for name in self._schema.names}
            self._writer.write_table(self._arrow.table(columns, schema=self._schema))
        self._rows, self._held_bytes = [], 0


# ---- opening and damage ------------------------------------------------------------------------------------


def _handle(path: Path, opener: Callable[[Path], Any]) -> Any:
    """Returns the open file; cached per process (handles do not survive a fork) and until the file changes."""
    return _open(path, os.getpid(), path.stat().st_mtime_ns, opener)


@functools.lru_cache(maxsize=OPEN_FILES)
def _open(path: Path, process: int, changed_ns: int, opener: Callable[[Path], Any]) -> Any:
    return opener(path)


def _open_npz(path: Path) -> Any:
    return load_arrays(path)


def _open_parquet(path: Path) -> Any:
    return require("pyarrow.parquet", extra="features", purpose=f"{path}: features in parquet").ParquetFile(path)


def _open_hdf5(path: Path) -> Any:
    return require("h5py", extra="features", purpose=f"{path}: features in HDF5").File(path, "r")


@functools.lru_cache(maxsize=2)
def _row_group(file: Any, group: int) -> Any:
    return file.read_row_group(group)


@contextlib.contextmanager
def _damage(path: Path, id_: str = "") -> Iterator[None]:
    """Turns every exception of a reader into one line."""
    with reading(f"{path}:{id_}" if id_ else path, advice=ADVICE):
        try:
            yield
        except ValueError as error:
            if str(error).startswith("Object arrays"):
                raise ValueError("refused, it holds pickled objects; store plain arrays of numbers") from error
            if "pickled data" in str(error):  # numpy's message for an unknown format
                raise ValueError("it is not a file of numpy") from error
            raise


def _as_array(found: Any) -> np.ndarray:
    if not isinstance(found, np.ndarray):
        raise ValueError("it is not an npy file")
    return found


def _chosen(arrays: dict[str, np.ndarray], names: Sequence[str], place: str) -> dict[str, np.ndarray]:
    """Returns the arrays with these names; without names see `_with_values`."""
    if missing := [name for name in names if name not in arrays]:
        raise DataError(
            f"{place}: has no array {shown(missing[0])}, only {', '.join(arrays) or 'none'}; correct modalities"
        )
    return {name: arrays[name] for name in names} if names else _with_values(arrays, place)


def _with_values(arrays: dict[str, np.ndarray], place: str) -> dict[str, np.ndarray]:
    """Returns `arrays` with the key `values`: their own, or the only table of another project's file."""
    if "values" in arrays:
        return arrays
    tables = [name for name, array in arrays.items() if array.ndim == 2]
    tables = tables or [name for name, array in arrays.items() if array.ndim == 1]
    if len(tables) != 1:
        has = ", ".join(f"{name} {array.shape}" for name, array in arrays.items()) or "nothing"
        raise DataError(f"{place}: holds {has}; features are one array 'values' [t d]")
    return {"values": arrays[tables[0]]}


def _parse(text: Any, place: str) -> dict[str, Any]:
    """Parses the metadata stored as JSON with the arrays."""
    if text is None:
        return {}
    if isinstance(text, np.ndarray) and text.ndim == 0:
        text = text.item()
    if not isinstance(text, str | bytes):
        raise DataError(f"{place}: its metadata is {shown(text)}, not JSON; {ADVICE}")
    return {**checked(parse_json(text, where=place, advice=ADVICE), Meta, where=place, advice=ADVICE)}
