"""TACoS as published by TALL's authors: a feature file for every window, and pickled sentence vectors."""

from __future__ import annotations

import dataclasses
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from videozoo.contracts.features import Features
from videozoo.contracts.record import FeatureRecord, Truth
from videozoo.data.feature_dataset import FeatureDataset
from videozoo.data.files import some_of
from videozoo.data.registry import register_dataset
from videozoo.errors import DataError, WidthError, counted
from videozoo.io.npz import load_arrays
from videozoo.sentences.vectors import read_vectors
from videozoo.structured import reading, regular_file

__all__ = ["Movie", "WindowDataset", "WindowQuery", "tall_tacos"]

FPS = 29.4


@dataclasses.dataclass(frozen=True)
class Movie:
    """The windows of one video: first and last frame `[n 2]` of each, and the folder of their files."""

    folder: Path
    name: str
    frames: np.ndarray
    fps: float

    def read(self, first: int, last: int) -> np.ndarray:
        """Reads the feature of a stored window.

        Raises:
            DataError: its file is not an array of numbers.
        """
        path = regular_file(self._path(first, last), kind="array")
        with reading(path, advice="fetch it again"):
            return np.asarray(load_arrays(path), np.float32).reshape(-1)

    def context(self, first: int, last: int, size_frames: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns the features of the window before, of itself, and of the one after; itself replaces missing ones."""
        own = self.read(first, last)
        around = ((first - size_frames, first), (last, last + size_frames))
        before, after = (self.read(*place) if self._path(*place).is_file() else own for place in around)
        return before, own, after

    def _path(self, first: int, last: int) -> Path:
        return self.folder / f"{self.name}_{first}_{last}.npy"


@dataclasses.dataclass(frozen=True)
class _Candidates:
    """All windows of a movie, with `context_s` of context before and after each."""

    movie: Movie
    context_s: float
    feature_dim: int

    @property
    def times_s(self) -> np.ndarray:
        times: np.ndarray = self.movie.frames / self.movie.fps
        return times

    @property
    def duration_s(self) -> float:
        return float(self.times_s.max())

    def look(self, times_s: np.ndarray) -> np.ndarray:
        """Returns the features `[m 3d]` of some of the windows `[m 2]`."""
        size_frames = round(self.context_s * self.movie.fps)
        frames = np.rint(times_s * self.movie.fps).astype(int).tolist()
        rows = [np.concatenate(self.movie.context(first, last, size_frames)) for first, last in frames]
        if wrong := [row for row in rows if row.size != 3 * self.feature_dim]:
            raise WidthError(
                f"{self.movie.folder}: a feature of {self.movie.name} is {wrong[0].size // 3} wide, but "
                f"the recipe says input.feature_dim={self.feature_dim}"
            )
        return np.stack(rows)


@dataclasses.dataclass(frozen=True, kw_only=True)
class WindowQuery(FeatureRecord):
    """A sentence, known only by its number, that describes a moment of a movie."""

    id: str
    video: str
    sentence: str
    moments: tuple[tuple[float, float], ...]
    movie: Movie = dataclasses.field(repr=False)

    def candidates(self, *, context_s: float, feature_dim: int) -> _Candidates:
        return _Candidates(self.movie, context_s, feature_dim)

    def features(self) -> Features:
        """Raises an error, since this data set has windows, not rows over time.

        Raises:
            DataError: always.
        """
        raise DataError(f"{self.id}: has only features of windows; use it with input moments")


class WindowDataset(FeatureDataset[WindowQuery]):
    """The sentences of movies with precomputed windows."""

    truth: ClassVar[frozenset[Truth]] = frozenset({"moments"})


@register_dataset
def tall_tacos(
    windows: Path, *, sentences: Path, fps: float = FPS, class_names: Sequence[str] | None = None
) -> WindowDataset:
    """Reads TALL's files of TACoS, with their windows and context; the input spec's lengths are ignored.

    Sentences have vectors and no words, so the recipe's encoder is {name: vectors, path: <the same pickle>}; for
    training and evaluation give both pickles, separated by a comma. Movies are matched by their full name.

    Args:
        windows: the folder with `<movie>_<first frame>_<last frame>.npy`: Interval64_128_256_512_overlap0.8_c3d_fc6
            for training, Interval128_256_overlap0.8_c3d_fc6 for evaluation.
        sentences: train_clip-sentvec.pkl or test_clip-sentvec.pkl: a list of (`<movie>_<first>_<last>`, vectors).
        fps: frame rate of the frame numbers in the names.
        class_names: ignored, since the words are unknown.

    Raises:
        DataError: no windows, a file of a different form, or no movie has windows.
    """
    movies = _movies(windows, fps)
    records, missing = [], set()
    for name, _ in read_vectors(sentences):
        clip = name.rpartition("#")[0]
        parts = _NAME.fullmatch(clip)
        if parts is None:
            raise DataError(f"{sentences}: a clip is called '{clip}'; needs <movie>_<first frame>_<last frame>")
        movie, first, last = parts[1], int(parts[2]), int(parts[3])
        if movie in movies and first < last:
            moments = ((first / fps, last / fps),)
            records.append(WindowQuery(id=name, video=movie, sentence=name, moments=moments, movie=movies[movie]))
        else:
            missing.add(movie)
    if not records:
        raise DataError(
            f"{sentences}: none of its {len(missing)} movies has windows in {windows} ({some_of(sorted(missing))})"
        )
    notes = (
        (f"{counted(len(missing), 'movie')} without windows, left out: {some_of(sorted(missing))}",) if missing else ()
    )
    return WindowDataset(tuple(class_names or ()), records, None, str(sentences), notes)


_NAME = re.compile(r"(.+)_(\d+)_(\d+)")


def _movies(folder: Path, fps: float) -> Mapping[str, Movie]:
    found: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for path in folder.glob("*.npy"):
        if parts := _NAME.fullmatch(path.stem):
            found[parts[1]].append((int(parts[2]), int(parts[3])))
    if not found:
        raise DataError(f"{folder}: holds no <movie>_<first frame>_<last frame>.npy; give TALL's folder of windows")
    return {name: Movie(folder, name, np.array(sorted(frames), np.float64), fps) for name, frames in found.items()}
