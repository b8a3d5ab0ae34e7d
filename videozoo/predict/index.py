"""The embedded windows of many videos, so that a search over all of them is one matrix product."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from typing_extensions import Self, TypedDict

from videozoo.errors import DataError, require
from videozoo.io.whole_file import whole_file
from videozoo.structured import checked, parse_json, reading, regular_file

__all__ = ["IndexedVideo", "RunMark", "VideoIndex"]

FORMAT = "videozoo index"
VERSION = 1
AGAIN = "make it again with `videozoo index`"
COLUMNS = ("video", "size_bytes", "modified_ns", "duration_s", "start_s", "end_s", "embedding")


@dataclasses.dataclass(frozen=True)
class RunMark:
    """The run that made an index: its path, and the SHA-256 of its weights."""

    path: str
    sha256: str

    def __str__(self) -> str:
        return f"{self.path} (weights {self.sha256[:8]})"


@dataclasses.dataclass(frozen=True)
class IndexedVideo:
    """One indexed video: its windows `[n 2]` in seconds and their embeddings `[n e]`; size and date identify the file.

    `damaged_frames` counts the frames whose pixels the decoder guessed; the index does not store it.
    """

    path: str
    size_bytes: int
    modified_ns: int
    duration_s: float
    times_s: np.ndarray = dataclasses.field(repr=False)
    embedded: np.ndarray = dataclasses.field(repr=False)
    damaged_frames: int = 0

    def state(self) -> str:
        """Returns the file's state: "same", "changed" or "gone"."""
        try:
            found = Path(self.path).stat()
        except OSError:
            return "gone"
        return "same" if (found.st_size, found.st_mtime_ns) == (self.size_bytes, self.modified_ns) else "changed"


@dataclasses.dataclass(frozen=True)
class VideoIndex:
    """The embedded windows of videos, made by one run; each video once, by path.

    On disk it is one parquet file with a row per window, which other programs can read, too.

    Attributes:
        run: the run that made the embeddings; queries need the same weights.
        videos: in the order in which they were added.
    """

    run: RunMark
    videos: tuple[IndexedVideo, ...] = ()

    def __len__(self) -> int:
        return sum(len(video.times_s) for video in self.videos)

    @functools.cached_property
    def windows(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The windows of all videos: index of the video `[n]`, times `[n 2]`, embeddings `[n e]`; n may be 0."""
        if not self.videos:
            return np.zeros(0, np.int64), np.zeros((0, 2)), np.zeros((0, 1), np.float32)
        of_video = np.repeat(np.arange(len(self.videos)), [len(video.times_s) for video in self.videos])
        times_s = np.concatenate([video.times_s for video in self.videos])
        return of_video, times_s, np.concatenate([video.embedded for video in self.videos])

    def check_run(self, run: RunMark, *, where: str) -> None:
        """Refuses any run but the one that made the index.

        Raises:
            DataError: the run is a different one; the message names both.
        """
        if run.sha256 != self.run.sha256:
            raise DataError(
                f"{where}: is the index of {self.run}, not of {run}; use that run, or make a new index with this one"
            )

    def with_videos(self, videos: Iterable[IndexedVideo]) -> Self:
        """Returns an index with `videos` added; they replace videos of the same path."""
        by_path = {video.path: video for video in self.videos}
        by_path |= {video.path: video for video in videos}
        return dataclasses.replace(self, videos=tuple(by_path.values()))

    def without(self, paths: Iterable[str]) -> Self:
        """Returns an index without the videos at `paths`."""
        gone = set(paths)
        return dataclasses.replace(self, videos=tuple(v for v in self.videos if v.path not in gone))

    def write(self, path: str | os.PathLike[str]) -> None:
        """Writes the parquet file, completely or not at all.

        Raises:
            MissingPackageError: pyarrow is not installed.
            DataError: the file cannot be written.
        """
        arrow, parquet = _packages()
        of_video, times_s, embedded = self.windows

        def each(values: Sequence[Any], kind: Any) -> Any:
            return arrow.array(np.array(values)[of_video], kind) if values else arrow.array([], kind)

        names = [video.path.encode("utf-8", "backslashreplace").decode() for video in self.videos]
        paths = arrow.array(names, arrow.string())
        table = arrow.table(
            [
                arrow.DictionaryArray.from_arrays(of_video.astype(np.int32), paths),
                each([video.size_bytes for video in self.videos], arrow.int64()),
                each([video.modified_ns for video in self.videos], arrow.int64()),
                each([video.duration_s for video in self.videos], arrow.float64()),
                arrow.array(times_s[:, 0]),
                arrow.array(times_s[:, 1]),
                arrow.FixedSizeListArray.from_arrays(arrow.array(embedded.reshape(-1)), embedded.shape[1]),
            ],
            names=COLUMNS,
        )
        described = {"format": FORMAT, "version": VERSION, "run": dataclasses.asdict(self.run)}
        as_bytes = {n: os.fsencode(v.path).hex() for n, v in zip(names, self.videos, strict=True) if n != v.path}
        described |= {"not_utf8": as_bytes} if as_bytes else {}
        table = table.replace_schema_metadata({"videozoo": json.dumps(described)})
        plain = [name for name in COLUMNS if name != "embedding"]
        with whole_file(path, writer_errors=(arrow.ArrowException,)) as part:
            parquet.write_table(table, part, use_dictionary=plain)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Self:
        """Reads an index from a file.

        Raises:
            DataError: there is no such file, or it is damaged.
            MissingPackageError: pyarrow is not installed.
        """
        path = Path(path)
        if not os.path.exists(path):  # noqa: PTH110 (False for names that no file can have)
            raise DataError(f"{path}: there is no such index; make one: `videozoo index VIDEOS --run RUN --out {path}`")
        arrow, parquet = _packages()
        with reading(regular_file(path, kind="index"), advice=AGAIN):
            table = parquet.read_table(path, use_threads=False)
            metadata = (table.schema.metadata or {}).get(b"videozoo", b"{}")
        described = checked(parse_json(metadata, where=path, advice=AGAIN), _Description, where=path, advice=AGAIN)
        if described.get("format") != FORMAT or tuple(table.column_names) != COLUMNS:
            raise DataError(f"{path}: is a parquet file, but not an index of videos; make one with `videozoo index`")
        if described.get("version", VERSION) > VERSION:
            raise DataError(f"{path}: has version {described['version']}, this videozoo reads {VERSION}; upgrade it")
        with reading(path, advice=f"the index is incomplete: {AGAIN}"):
            as_bytes = described.get("not_utf8", {})
            videos = _videos(table, arrow.types)
            return cls(
                RunMark(**described["run"]), tuple(_at_bytes(video, as_bytes.get(video.path)) for video in videos)
            )


def _at_bytes(video: IndexedVideo, path: str | None) -> IndexedVideo:
    """Returns the video with its true path, which the metadata hold in hexadecimal where it is not UTF-8."""
    return video if path is None else dataclasses.replace(video, path=os.fsdecode(bytes.fromhex(path)))


class _Run(TypedDict):
    path: str
    sha256: str


class _Description(TypedDict, total=False):
    """The metadata of an index."""

    format: str
    version: int
    run: _Run
    not_utf8: dict[str, str]  # bytes of paths in hexadecimal, by the escaped path in the table


def _videos(table: Any, types: Any) -> tuple[IndexedVideo, ...]:
    """Returns the videos of a table of windows; raises exceptions of any class for an invalid table."""
    if not len(table):
        return ()
    names, *numbers, embeddings = (table.column(name).combine_chunks() for name in COLUMNS)
    if names.null_count or embeddings.null_count:
        raise TypeError("a video or an embedding is missing")
    kinds = (types.is_integer, types.is_integer, *(types.is_floating,) * 4)
    for is_kind, column in zip(kinds, [*numbers, embeddings.flatten()], strict=True):
        if not is_kind(column.type) or column.null_count:
            raise TypeError(f"a column holds {column.type}, {column.null_count} of them missing")
    sizes, modified, durations, starts, ends = (column.to_numpy(zero_copy_only=False) for column in numbers)
    times_s = np.stack([starts, ends], axis=1)
    embedded = embeddings.flatten().to_numpy().reshape(len(times_s), -1)
    if not (np.isfinite(times_s).all() and np.isfinite(durations).all() and np.isfinite(embedded).all()):
        raise ValueError("it holds numbers that are not finite")
    which = names.indices.to_numpy()
    paths = [os.fspath(path) for path in names.dictionary.to_pylist()]
    first = np.flatnonzero(np.diff(which, prepend=-1))
    last = [*first[1:], len(which)]
    return tuple(
        IndexedVideo(
            path=paths[which[a]],
            size_bytes=int(sizes[a]),
            modified_ns=int(modified[a]),
            duration_s=float(durations[a]),
            times_s=times_s[a:b],
            embedded=embedded[a:b],
        )
        for a, b in zip(first, last, strict=True)
    )


def _packages() -> tuple[Any, Any]:
    arrow = require("pyarrow", extra="features", purpose="index of videos")
    return arrow, require("pyarrow.parquet", extra="features", purpose="index of videos")
