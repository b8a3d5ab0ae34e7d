"""Extracts the features of many videos into a folder, resumably, and stores the extractor with them."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import os
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np

from videozoo.contracts.features import FeatureRecipe, Features
from videozoo.errors import ConfigError, DataError
from videozoo.io.feature_files import read_sidecar, write_sidecar
from videozoo.io.feature_sources import FeatureSources, SourceMark
from videozoo.io.features import (
    EXTRACTOR_FILE,
    FeatureStore,
    FeatureWriter,
    is_feature_file,
    read_features,
    sidecar_recipe,
    to_parts,
    write_features,
)
from videozoo.io.isolation import current_journal
from videozoo.io.lock import locked
from videozoo.predict.extractor import Extractor
from videozoo.predict.frames import open_source
from videozoo.predict.projection import PREFIX, Projection, read_arrays
from videozoo.predict.windows import chunks

__all__ = ["Extraction", "Format", "extract_all", "settled_ids", "video_ids"]

Format = Literal["npz", "npy", "csv", "parquet", "h5", "tfrecord"]
PACKED = ("parquet", "h5", "tfrecord")
PARTS = ".parts"  # one raw file per video, until all can be finished
VIDEOS_PER_SHARD = 100


@dataclasses.dataclass
class Extraction:
    """The result of an extraction.

    Attributes:
        extracted: number of videos extracted by this call.
        rows: number of their windows.
        skipped: number of videos whose features were already stored.
        failed: the errors of the other videos, by path.
        kept: share of the variance kept by a projection that this call fitted.
        renamed: videos by new id, for those whose requested id belongs to a different file.
        recipe: the recipe of the features.
        damaged: the number of damaged frames that the decoder concealed, by path.
        clipped: share of the values outside of the range of tfrecord's bytes.
    """

    extracted: int = 0
    rows: int = 0
    skipped: int = 0
    failed: dict[str, str] = dataclasses.field(default_factory=dict)
    kept: float | None = None
    renamed: dict[str, Path] = dataclasses.field(default_factory=dict)
    clipped: float = 0.0
    damaged: dict[str, int] = dataclasses.field(default_factory=dict)
    recipe: FeatureRecipe | None = None


def video_ids(videos: Sequence[Path]) -> dict[str, Path]:
    """Returns the videos by id: the name without its ending.

    If two names are equal, all ids are paths below the common folder; those that differ only in the ending keep it.
    Bytes that are not UTF-8 become escapes.
    """
    names = [video.stem if not video.is_dir() else video.name for video in videos]
    if len(set(names)) == len(names):
        return {_text(name): video for name, video in zip(names, videos, strict=True)}
    root = Path(os.path.commonpath([video.absolute().parent for video in videos]))
    paths = [video.absolute().relative_to(root) for video in videos]
    count = Counter(path.with_suffix("") for path in paths)
    short = [path.with_suffix("") if count[path.with_suffix("")] == 1 else path for path in paths]
    return {_text(path.as_posix()): video for path, video in zip(short, videos, strict=True)}


def settled_ids(videos: Mapping[str, Path], sources: FeatureSources) -> dict[str, Path]:
    """Returns the videos by the id under which their features are or will be stored.

    A stored file keeps its id. If the id of a new file belongs to a different file, parent folders are put before it
    until it is unique (`cam2/0001`).
    """
    settled: dict[str, Path] = {}
    for video in videos.values():
        if (known := sources.id_at(video)) is not None:
            settled[known] = video
    taken = set(settled.values())
    for id_, video in videos.items():
        if video in taken:
            continue
        ids = itertools.chain([id_], _longer_ids(id_, video))
        settled[next(i for i in ids if i not in settled and sources.may_be(i, video))] = video
    return settled


def _longer_ids(id_: str, video: Path) -> Iterator[str]:
    parts = video.absolute().with_suffix("").parts[1:] if not video.is_dir() else video.absolute().parts[1:]
    for count in range(1 + id_.count("/") + 1, len(parts) + 1):
        yield _text("/".join(parts[-count:]))
    for number in itertools.count(2):
        yield f"{id_}-{number}"


def _text(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode()


def extract_all(
    extractor: Extractor,
    videos: Mapping[str, Path],
    out_dir: str | os.PathLike[str],
    *,
    format: Format = "npz",
    pca_dim: int | None = None,
    fps: float | None = None,
    batch_size: int = 8,
    num_workers: int = 1,
    progress: Callable[[float], None] | None = None,
) -> Extraction:
    """Writes the features of `videos` (by id) to `out_dir`; stored ones are kept.

    sources.jsonl records the source file of each: a changed file is extracted again, and a different file of the same
    name gets an id of its own (`settled_ids`).

    npz, npy and csv are one file per video; parquet, h5 and tfrecord are packed once all videos are done. The extractor
    itself is stored in extractor.safetensors. Videos that cannot be read are reported, and the others are extracted.

    Args:
        pca_dim: principal components to keep, fitted over all of `videos`; those of an earlier call are reused.
        fps: rate of folders of frames.
        num_workers: videos decoded at the same time, in one thread each; they take turns at the network.
        progress: called with the number of videos done, in fractions.

    Raises:
        DataError: `out_dir` holds features of a different recipe, or cannot be written.
        ConfigError: an argument is out of range, or a different process writes to `out_dir`.
    """
    if num_workers < 1:
        raise ConfigError(f"num_workers: got {num_workers}; needs at least 1")
    with locked(out_dir):
        return _extract_all(
            extractor,
            videos,
            Path(out_dir),
            format=format,
            pca_dim=pca_dim,
            fps=fps,
            batch_size=batch_size,
            num_workers=num_workers,
            progress=progress,
        )


def _extract_all(
    extractor: Extractor,
    videos: Mapping[str, Path],
    out_dir: Path,
    *,
    format: Format,
    pca_dim: int | None,
    fps: float | None,
    batch_size: int,
    num_workers: int,
    progress: Callable[[float], None] | None,
) -> Extraction:
    stored = _FeatureFolder(out_dir, format)
    extractor, pca_dim = _matched(extractor, stored, videos, pca_dim=pca_dim, fps=fps)
    is_raw = pca_dim is not None or stored.is_packed or bool(stored.raw_ids)

    result = Extraction()
    requested = {video: id_ for id_, video in videos.items()}
    videos = settled_ids(videos, stored.sources)
    result.renamed = {id_: video for id_, video in videos.items() if requested[video] != id_}
    done = {id_ for id_, video in videos.items() if stored.is_done(id_, video)}
    result.skipped = sum(id_ in stored.ids for id_ in done)
    todo = {id_: video for id_, video in videos.items() if id_ not in done}
    lock = threading.Lock()

    def extract(id_: str, video: Path, tell: Callable[[float], None]) -> None:
        try:
            with current_journal().reading(video):
                stored.check_replaceable(id_, video)
                source = SourceMark.of(video) if video.exists() else None
                with open_source(video, fps=fps if video.is_dir() else None) as reader:
                    features = extractor(
                        reader,
                        batch_size=batch_size,
                        raw=is_raw,
                        progress=lambda done, total: tell(done / total),
                    )
                    damaged_frames = reader.damaged_frames
        except DataError as error:
            with lock:
                result.failed[str(video)] = str(error)
        else:
            with lock:
                stored.write(id_, features, source, is_raw=is_raw)
                result.extracted += 1
                result.rows += len(features)
                result.damaged |= {str(video): damaged_frames} if damaged_frames else {}

    _in_threads(extract, todo, num_done=len(done), num_workers=num_workers, progress=progress)
    if _holds_features(stored.parts):
        extractor = stored.finish(extractor, result, pca_dim)
    elif stored.parts.is_dir():
        shutil.rmtree(stored.parts)
    if result.extracted or result.skipped:
        result.recipe = extractor.recipe
    return result


def _in_threads(
    extract: Callable[[str, Path, Callable[[float], None]], None],
    videos: Mapping[str, Path],
    *,
    num_done: int,
    num_workers: int,
    progress: Callable[[float], None] | None,
) -> None:
    """Calls `extract` for each video; `progress` gets the number of videos done, in fractions, from `num_done` on."""
    stop = threading.Event()
    shares = dict.fromkeys(videos, 0.0)

    def tell(id_: str, share: float) -> None:
        if stop.is_set():
            raise KeyboardInterrupt  # the caller has already raised one
        shares[id_] = share
        if progress is not None:
            progress(num_done + sum(shares.values()))

    def work(id_: str, video: Path) -> None:
        extract(id_, video, functools.partial(tell, id_))
        tell(id_, 1.0)

    pool = ThreadPoolExecutor(num_workers)
    try:
        for done in [pool.submit(work, id_, video) for id_, video in videos.items()]:
            done.result()
    finally:
        stop.set()  # a video may take hours
        pool.shutdown(cancel_futures=True)


def _matched(
    extractor: Extractor, stored: _FeatureFolder, videos: Mapping[str, Path], *, pca_dim: int | None, fps: float | None
) -> tuple[Extractor, int | None]:
    """Returns the extractor with the stored projection and window, and the number of components still to be fitted.

    Writes the extractor to a new folder, unless its projection is still to be fitted.

    Raises:
        DataError: the stored features have a different recipe.
    """
    extractor = dataclasses.replace(extractor, quantised=stored.format == "tfrecord")
    if pca_dim is not None and (known := stored.projection(extractor, pca_dim)) is not None:
        extractor, pca_dim = dataclasses.replace(extractor, projection=known), None
    extractor = _settled(stored.with_stored_window(extractor), videos, fps)
    stored.check_same(extractor, pca_dim)
    if pca_dim is None and stored.recipe is None:
        stored.write_extractor(extractor)
    return extractor, pca_dim


def _settled(extractor: Extractor, videos: Mapping[str, Path], fps: float | None) -> Extractor:
    """Returns the extractor with one window for all videos, that of the first readable one."""
    for video in videos.values():
        with (
            contextlib.suppress(DataError),
            current_journal().reading(video),
            open_source(video, fps=fps if video.is_dir() else None) as reader,
        ):
            return extractor.settled(reader.info)
    return extractor


class _FeatureFolder:
    """A folder of features: finished ones, and raw parts that are still to be finished."""

    def __init__(self, folder: Path, format: Format):
        self.folder, self.format = folder, format
        self.parts = folder / PARTS
        self.is_packed = format in PACKED
        self.packed = folder / f"features.{format}"
        self.ids: frozenset[str] = frozenset()
        self.recipe: FeatureRecipe | None = None
        self.sidecar = read_sidecar(folder)
        self.sources = FeatureSources(folder)
        self._remove_damaged()
        self._read_stored()
        raw = FeatureStore(self.parts) if _holds_features(self.parts) else None
        self.raw_ids = frozenset(raw.ids) if raw is not None else frozenset()
        self.raw_recipe = raw.recipe if raw is not None else None
        if not self.sources.is_there:
            for id_ in sorted(self.ids):  # from a version without sources.jsonl: the source is unknown
                self.sources.add(id_, None)

    def _remove_damaged(self) -> None:
        """Removes files of features that are cut short or damaged, so that they are extracted again."""
        for path in self.folder.rglob(f"*.{self.format}") if not self.is_packed else ():
            below = path.relative_to(self.folder)
            if any(part.startswith(".") for part in below.parts):
                continue
            size_bytes = self.sources.stored_bytes(below.with_suffix("").as_posix())
            if size_bytes in (None, path.stat().st_size):
                continue
            try:
                read_features(path)
            except DataError:
                path.unlink()

    def is_done(self, id_: str, video: Path) -> bool:
        """Returns whether features of exactly this file are stored, finished or raw."""
        if id_ not in self.ids | self.raw_ids or id_ not in self.sources:
            return False
        return not video.exists() or self.sources.may_be(id_, video)

    def check_replaceable(self, id_: str, video: Path) -> None:
        """Refuses a changed file if its features cannot be replaced.

        Raises:
            DataError: they are in a tfrecord shard.
        """
        if self.format == "tfrecord" and id_ in self.ids:
            raise DataError(f"{video}: has changed, but its features in a shard cannot be replaced; give another --out")

    def write(self, id_: str, features: Features, source: SourceMark | None, *, is_raw: bool) -> None:
        """Stores one video's features, then their source."""
        target, suffix = (self.parts, ".npz") if is_raw else (self.folder, f".{self.format}")
        path = write_features(target, id_, features, suffix=suffix)
        self.sources.add(id_, source, None if is_raw else path.stat().st_size)

    def _read_stored(self) -> None:
        if self.format == "tfrecord":
            self.ids = frozenset(self.sidecar.get("videos", {}))
            self.recipe = sidecar_recipe(self.folder)
            return
        if not _holds_features(self.folder):
            return
        store = FeatureStore(self.folder)
        if store.form != self.format:
            raise DataError(f"{self.folder}: holds features in a different format ({store.form}); give another --out")
        if store.recipe is None:
            raise DataError(f"{self.folder}: holds features without a recipe; give another --out")
        self.store, self.ids, self.recipe = store, frozenset(store.ids), store.recipe

    def projection(self, extractor: Extractor, dim: int) -> Projection | None:
        """Returns the projection of an earlier call if it fits, so that new videos get the same."""
        path = self.folder / EXTRACTOR_FILE
        if not path.is_file():
            return None
        known = Projection.from_arrays(read_arrays(path, prefix=PREFIX))
        if known is None or known.dim != dim or self.recipe is None or self.recipe.sha256 != extractor.sha256:
            return None
        return known

    def with_stored_window(self, extractor: Extractor) -> Extractor:
        """Returns the extractor with the window of the stored features, unless it has its own."""
        known = self.recipe or self.raw_recipe
        if known is None or extractor.window_s is not None:
            return extractor
        return dataclasses.replace(extractor, window_s=known.window_s)

    def check_same(self, extractor: Extractor, pca_dim: int | None) -> None:
        where = f"these options for {self.folder}"
        if self.raw_recipe is not None:
            self.raw_recipe.check_same(extractor.raw_recipe, where=where)
        if self.recipe is not None and pca_dim is not None:
            raise DataError(f"{where}: a PCA of {pca_dim}; expected {self.recipe.describe()}; give another --out")
        if self.recipe is not None:
            self.recipe.check_same(extractor.recipe, where=where)

    def write_extractor(self, extractor: Extractor) -> None:
        extractor.write(self.folder / EXTRACTOR_FILE)

    def finish(self, extractor: Extractor, result: Extraction, pca_dim: int | None) -> Extractor:
        """Packs the raw parts; returns the extractor with the fitted projection."""
        raw = FeatureStore(self.parts)
        if pca_dim is not None:
            tables = (raw.read(id_).values for id_ in raw.ids)
            projection = Projection.fit(tables, pca_dim, whiten=self.format == "tfrecord")
            extractor = dataclasses.replace(extractor, projection=projection)
            result.kept = projection.kept
            self.write_extractor(extractor)
        new = [id_ for id_ in raw.ids if id_ not in self.ids] if self.format == "tfrecord" else list(raw.ids)
        if self.format == "tfrecord":
            self._write_shards(new, raw, extractor, result)
        elif self.is_packed:
            with FeatureWriter(self.packed) as writer:
                for id_ in sorted(self.ids.difference(new)):
                    writer.write(id_, self.store.read(id_))
                for id_ in new:
                    writer.write(id_, extractor.finished(raw.read(id_)))
        else:
            for id_ in new:
                self.write(id_, extractor.finished(raw.read(id_)), self.sources.source(id_), is_raw=False)
        shutil.rmtree(self.parts)
        return extractor

    def _write_shards(self, ids: Sequence[str], raw: FeatureStore, extractor: Extractor, result: Extraction) -> None:
        outside = []
        first = int(self.sidecar.get("num_shards", 0))
        for shard, part in enumerate(chunks(ids, VIDEOS_PER_SHARD), first):
            videos = {}
            with FeatureWriter(self.folder / f"features{shard:04}.tfrecord") as writer:
                for id_ in part:
                    features = raw.read(id_)
                    outside.append(_share_outside(features, extractor))
                    features = extractor.finished(features)
                    writer.write(id_, features)
                    parts, shared = to_parts(features)
                    videos[id_] = parts.meta
            write_sidecar(self.folder, {**shared, "num_shards": shard + 1}, videos)
        result.clipped = float(np.mean(outside)) if outside else 0.0


def _holds_features(folder: Path) -> bool:
    """Returns whether a folder contains feature files; hidden files and folders do not count."""
    below = (path.relative_to(folder) for path in folder.rglob("*") if is_feature_file(path))
    return any(not any(part.startswith(".") for part in path.parts) for path in below)


def _share_outside(features: Features, extractor: Extractor) -> float:
    values = extractor.projection(features.values) if extractor.projection is not None else features.values
    return float((np.abs(values) > 2).mean())
