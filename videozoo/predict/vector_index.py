"""The vectors of stretches of many videos in a folder, and the stretches nearest to a query.

The folder holds `index.json` (its description), `videos.jsonl` (a line for each video), `vectors.f16` and `times.f32`
(a row for each stretch), and for a fast search `components.f32`. A video counts once its line is written, so an
interrupted index continues with the next video. Arrays are mapped into memory: a search needs little of it.
"""

from __future__ import annotations

import bisect
import concurrent.futures
import dataclasses
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from typing_extensions import TypedDict

from videozoo.contracts.ranking import best_first
from videozoo.errors import DataError
from videozoo.io.whole_file import whole_file, write_whole_text
from videozoo.predict.index import RunMark
from videozoo.structured import checked, parse_json, read_json, read_text, reading

__all__ = ["Found", "StoredVideo", "VectorIndex", "is_vector_index"]

FORMAT, VERSION = "videozoo vectors", 1
AGAIN = "make it again with `videozoo index`"
DESCRIPTION, VIDEOS, VECTORS, TIMES = "index.json", "videos.jsonl", "vectors.f16", "times.f32"
BASIS, PARTS = "basis.npy", "components.f32"
ROWS_AT_ONCE = 16_384
EXACT_ROWS = 20_000  # with more rows, principal components choose the candidates
COMPONENTS = 96
CANDIDATES = 4_096  # compared exactly
SAMPLE = 4_096  # rows from which the spread of the scores is estimated
FEWEST = 30  # rows; with fewer, nothing can be said about the spread
MARGIN = 1.0  # standard deviations above the best of as many scores without a match
THREADS = 2


@dataclasses.dataclass(frozen=True)
class StoredVideo:
    """A video of an index: its file and the rows of its stretches."""

    path: str
    size_bytes: int
    modified_ns: int
    duration_s: float
    first: int
    count: int


@dataclasses.dataclass(frozen=True)
class Found:
    """The stretches nearest to a query, best first, as (video, start, end, score).

    Attributes:
        deviations: distance of the best score from the median of all, in robust standard deviations; None if there are
            too few stretches to tell.
        needed: the distance from which on the best score stands out.
    """

    hits: tuple[tuple[StoredVideo, float, float, float], ...]
    deviations: float | None = None
    needed: float = 0.0

    @property
    def stands_out(self) -> bool:
        """Whether the best score lies outside the usual spread; True if there are too few stretches to tell."""
        return self.deviations is None or self.deviations >= self.needed


def is_vector_index(path: Path) -> bool:
    return (path / DESCRIPTION).is_file()


class _Run(TypedDict):
    path: str
    sha256: str


class _Description(TypedDict):
    format: str
    version: int
    run: _Run
    dim: int
    window_s: float
    stride_s: float


class _Video(TypedDict):
    path: str
    size_bytes: int
    modified_ns: int
    duration_s: float
    first: int
    count: int


class _Entry(TypedDict):
    """A line of `videos.jsonl`: a video that was added, or the path of one that was taken out."""

    added: _Video | None
    gone: str | None


class VectorIndex:
    """An index of vectors, opened for reading and for adding; one process at a time adds.

    Attributes:
        run: the run whose network made the vectors.
        dim: their width.
        window_s, stride_s: the length of a stretch, and the time from one to the next.
        videos: by path.
    """

    def __init__(
        self,
        folder: Path,
        description: _Description,
        videos: dict[str, StoredVideo],
        *,
        num_rows: int = 0,
        noted_bytes: int = 0,
    ):
        self.folder = folder
        self.run = RunMark(**description["run"])
        self.dim, self.window_s, self.stride_s = description["dim"], description["window_s"], description["stride_s"]
        self.videos, self.num_rows, self._noted_bytes = videos, num_rows, noted_bytes

    def __len__(self) -> int:
        """The number of stretches of the videos."""
        return sum(video.count for video in self.videos.values())

    @classmethod
    def create(cls, folder: Path, run: RunMark, *, dim: int, window_s: float, stride_s: float) -> VectorIndex:
        """Makes an empty index."""
        folder.mkdir(parents=True, exist_ok=True)
        described: _Description = {
            "format": FORMAT,
            "version": VERSION,
            "run": {"path": run.path, "sha256": run.sha256},
            "dim": dim,
            "window_s": window_s,
            "stride_s": stride_s,
        }
        for name in (VIDEOS, VECTORS, TIMES):
            (folder / name).write_bytes(b"")
        write_whole_text(folder / DESCRIPTION, json.dumps(described, indent=1) + "\n")
        return cls(folder, described, {})

    @classmethod
    def open(cls, folder: Path) -> VectorIndex:
        """Reads an index; rows after the last complete video, of an interrupted run, are ignored.

        Raises:
            DataError: it is damaged, of a newer version, or the files of its rows are too short.
        """
        where = folder / DESCRIPTION
        found = checked(read_json(where, kind="index"), _Description, where=where, advice=AGAIN)
        if found["format"] != FORMAT or found["version"] > VERSION or found["dim"] < 1:
            raise DataError(f"{where}: is not an index of vectors of version {VERSION}; {AGAIN}, or upgrade videozoo")
        videos: dict[str, StoredVideo] = {}
        num_rows = 0
        *lines, _ = read_text(folder / VIDEOS, kind="list of videos").split("\n")  # the last one may be unfinished
        for number, line in enumerate(lines, start=1):
            place = f"{folder / VIDEOS}:{number}"
            entry = checked(parse_json(line, where=place, advice=AGAIN), _Entry, where=place, advice=AGAIN)
            if entry["gone"] is not None:
                videos.pop(entry["gone"], None)
            if entry["added"] is None:
                continue
            video = StoredVideo(**entry["added"])
            if video.first != num_rows or video.count < 0:
                raise DataError(f"{place}: its rows {video.first} do not follow the ones before; {AGAIN}")
            videos[video.path] = video
            num_rows += video.count
        for name, row_bytes in ((VECTORS, 2 * found["dim"]), (TIMES, 8)):
            if (folder / name).stat().st_size < num_rows * row_bytes:
                raise DataError(f"{folder / name}: is shorter than {num_rows} rows; {AGAIN}")
        noted_bytes = sum(len(line.encode()) + 1 for line in lines)
        return cls(folder, found, videos, num_rows=num_rows, noted_bytes=noted_bytes)

    def check_run(self, run: RunMark) -> None:
        """Refuses any run but the one that made the index.

        Raises:
            DataError: the run is a different one; the message names both.
        """
        if run.sha256 != self.run.sha256:
            raise DataError(
                f"{self.folder}: is the index of {self.run}, not of {run}; use that run, or make a new index with this "
                "one"
            )

    def state_of(self, path: Path) -> str:
        """Returns "new", "same", "changed" or "gone" for a file."""
        video = self.videos.get(str(path.resolve()))
        try:
            found = path.stat()
        except OSError:
            return "gone"
        if video is None:
            return "new"
        return "same" if (found.st_size, found.st_mtime_ns) == (video.size_bytes, video.modified_ns) else "changed"

    def add(self, path: Path, duration_s: float, times_s: np.ndarray, vectors: np.ndarray) -> None:
        """Adds the stretches `[n 2]` of a video with their vectors `[n dim]`; they replace those of the same path."""
        self._append(VECTORS, np.ascontiguousarray(vectors, np.float16), 2 * self.dim)
        self._append(TIMES, np.ascontiguousarray(times_s, np.float32), 8)
        stat = path.stat()
        video = StoredVideo(
            str(path.resolve()), stat.st_size, stat.st_mtime_ns, duration_s, self.num_rows, len(vectors)
        )
        self._note(added=dataclasses.asdict(video), gone=None)
        self.videos[video.path] = video
        self.num_rows += video.count

    def remove(self, path: str) -> None:
        """Takes a video out; its rows stay in the files and are never found."""
        self._note(added=None, gone=path)
        self.videos.pop(path, None)

    def write_components(self) -> None:
        """Writes the leading principal components of all vectors, which make a search fast; call it after `add`."""
        if self.num_rows <= EXACT_ROWS:
            return
        sample = self._sample()
        _, directions = np.linalg.eigh(np.cov(sample, rowvar=False))
        basis = directions[:, ::-1][:, :COMPONENTS].astype(np.float32)
        np.save(self.folder / BASIS, np.ascontiguousarray(basis))
        with whole_file(self.folder / PARTS) as part, part.open("wb") as file:
            for first in range(0, self.num_rows, ROWS_AT_ONCE):
                file.write((self.vectors[first : first + ROWS_AT_ONCE].astype(np.float32) @ basis).tobytes())

    def nearest(self, query: np.ndarray, *, top: int = 5) -> Found:
        """Returns the stretches whose vectors have the largest products with the query `[dim]`.

        Of stretches of one video that overlap, only the best is returned.
        """
        if not self.num_rows or not self.videos:
            return Found(())
        query = np.asarray(query, np.float32)
        rows = self._candidates(query)
        scores = np.concatenate([self.vectors[part].astype(np.float32) @ query for part in _parts(rows)])
        videos = sorted(self.videos.values(), key=lambda video: video.first)
        firsts = [video.first for video in videos]
        hits: list[tuple[StoredVideo, float, float, float]] = []
        for place in best_first(scores):
            row = int(rows[place])
            video = videos[max(bisect.bisect_right(firsts, row) - 1, 0)]
            if not video.first <= row < video.first + video.count:  # a video that was taken out
                continue
            start_s, end_s = self._times[row].tolist()
            if all(other is not video or start_s >= end or end_s <= start for other, start, end, _ in hits):
                hits.append((video, start_s, end_s, float(scores[place])))
            if len(hits) == top:
                break
        return self._judged(tuple(hits), query)

    def _judged(self, hits: tuple[tuple[StoredVideo, float, float, float], ...], query: np.ndarray) -> Found:
        """Compares the best score with the spread of the scores of all stretches."""
        if self.num_rows < FEWEST or not hits:
            return Found(hits)
        scores = self._sample() @ query
        middle = float(np.median(scores))
        spread = 1.4826 * float(np.median(np.abs(scores - middle)))
        expected = math.sqrt(2 * math.log(self.num_rows))  # of the best of as many normally distributed scores
        return Found(hits, (hits[0][3] - middle) / max(spread, 1e-9), expected + MARGIN)

    def _candidates(self, query: np.ndarray) -> np.ndarray:
        """Returns the rows to compare in full: all of few, else the best by their leading components."""
        basis_path, path = self.folder / BASIS, self.folder / PARTS
        width = min(COMPONENTS, self.dim)
        if self.num_rows <= EXACT_ROWS or not path.is_file() or path.stat().st_size != 4 * self.num_rows * width:
            return np.arange(self.num_rows)
        with reading(basis_path, advice=AGAIN):
            own = query @ np.load(basis_path, allow_pickle=False)
        parts = np.memmap(path, np.float32, mode="r", shape=(self.num_rows, width))
        starts = range(0, self.num_rows, ROWS_AT_ONCE)
        with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
            scores = np.concatenate(list(pool.map(lambda first: parts[first : first + ROWS_AT_ONCE] @ own, starts)))
        best = np.argpartition(scores, -min(CANDIDATES, len(scores)))[-CANDIDATES:]
        return np.sort(best)

    def _sample(self) -> np.ndarray:
        """Returns up to SAMPLE vectors, evenly spread over the rows."""
        rows = np.unique(np.linspace(0, self.num_rows - 1, min(SAMPLE, self.num_rows)).astype(np.int64))
        sample: np.ndarray = self.vectors[rows].astype(np.float32)
        return sample

    @property
    def vectors(self) -> np.ndarray:
        """The vectors of all rows `[n dim]`, also of videos that were taken out; mapped into memory."""
        mapped: np.ndarray = np.memmap(self.folder / VECTORS, np.float16, mode="r", shape=(self.num_rows, self.dim))
        return mapped

    @property
    def _times(self) -> np.ndarray:
        mapped: np.ndarray = np.memmap(self.folder / TIMES, np.float32, mode="r", shape=(self.num_rows, 2))
        return mapped

    def _append(self, name: str, rows: np.ndarray, row_bytes: int) -> None:
        with (self.folder / name).open("r+b") as file:
            file.truncate(self.num_rows * row_bytes)  # without the rows of an interrupted video
            file.seek(0, os.SEEK_END)
            file.write(rows.tobytes())
            file.flush()
            os.fsync(file.fileno())

    def _note(self, **entry: Any) -> None:
        with (self.folder / VIDEOS).open("r+b") as file:
            file.truncate(self._noted_bytes)  # without the line of an interrupted run
            file.seek(0, os.SEEK_END)
            self._noted_bytes += file.write(json.dumps(entry).encode() + b"\n")


def _parts(rows: np.ndarray) -> Iterator[np.ndarray]:
    return (rows[first : first + ROWS_AT_ONCE] for first in range(0, len(rows), ROWS_AT_ONCE))
