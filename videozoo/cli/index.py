"""`videozoo index`: embeds videos once, so that searching them takes no time."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from videozoo.cli.reading import AllowCode, MaxPixels, Strict, print_damage, print_problems
from videozoo.terminal import console, progress_bars, say

if TYPE_CHECKING:
    from videozoo.io.features import FeatureStore
    from videozoo.predict.index import IndexedVideo, VideoIndex
    from videozoo.predict.search import Searcher

__all__ = ["index"]

SAVE_EVERY_S = 60.0
STRETCHES_AT_ONCE = 8  # each has several frames


def index(
    sources: list[str] = typer.Argument(help="Videos, folders of videos, list files, patterns."),
    run: Path = typer.Option(..., help="A dual encoder (a run, a weight file or a card), or a grounding run."),
    out: Path = typer.Option(
        ...,
        "--out",
        "-o",
        help="The index, a folder; of a grounding run a name ending in .parquet. Old ones are extended.",
    ),
    window: float = typer.Option(4.0, min=0.1, help="Seconds of a stretch, in a folder."),
    stride: float = typer.Option(2.0, min=0.1, help="Seconds from one stretch to the next, in a folder."),
    features: Path = typer.Option(
        None, help="Features from `videozoo extract`; videos without stored features are processed."
    ),
    batch_size: int = typer.Option(64, min=1, help="Number of windows in one batch."),
    allow_code: AllowCode = None,
    max_pixels: MaxPixels = None,
    strict: Strict = False,
    device: str = typer.Option("auto", help="cpu, cuda, cuda:1, mps or auto."),
) -> None:
    """Prepare videos for `videozoo search`.

    Videos that are in the index stay; those whose file has changed since are processed again, and those whose file is
    gone are removed. The index is saved every minute. A file that cannot be read is reported at the end and sets
    the exit status 1; the others are indexed.
    """
    from videozoo.errors import ConfigError, counted, require
    from videozoo.io.features import FeatureStore
    from videozoo.io.lock import locked
    from videozoo.loading import load_searcher
    from videozoo.predict.index import VideoIndex
    from videozoo.predict.outputs import check_writable
    from videozoo.predict.sources import find_videos

    if not out.suffix and features is None:
        _index_vectors(sources, run, out, window_s=window, stride_s=stride, batch_size=batch_size, device=device)
        return
    if out.suffix != ".parquet":
        raise ConfigError(
            f"--out {out}: an index is a parquet file or a folder; give a name in .parquet or without ending"
        )
    check_writable(out)
    require("pyarrow", extra="features", purpose="index of videos")  # before hours of work
    videos = find_videos(sources)
    with locked(out, is_folder=False):
        found = VideoIndex.read(out) if out.exists() else None
        searcher = load_searcher(run, device=device)
        if found is None:
            found = VideoIndex(searcher.run)
        found.check_run(searcher.run, where=str(out))
        store = FeatureStore(features) if features is not None else None
        states = {video.path: video.state() for video in found.videos}
        gone = [path for path, state in states.items() if state == "gone"]
        found = found.without(gone)
        todo = [video for video in videos if states.get(str(video.resolve())) != "same"]
        look = functools.partial(_look, searcher, store=store, batch_size=batch_size)
        new, failed = _look_at_all(todo, look, found, out, must_write=bool(gone))
    found = found.with_videos(new)
    changed = sum(video.path in states for video in new)
    counts = ((len(new) - changed, "added"), (changed, "had changed"), (len(gone), "gone, taken out"))
    changes = ", ".join([f"{count} {change}" for count, change in counts if count] or ["nothing new"])
    say(f"{out}: {counted(len(found.videos), 'video')}, {counted(len(found), 'window')} ({changes})")
    notes = console(stderr=True)
    print_damage(notes, {video.path: video.damaged_frames for video in new if video.damaged_frames})
    print_problems(notes, f"{len(failed)} of {len(videos)} videos failed:", failed)
    if failed:
        raise typer.Exit(1)


def _look(searcher: Searcher, video: Path, *, store: FeatureStore | None, batch_size: int) -> IndexedVideo:
    """Embeds one video, or its stored features."""
    known = store.read(store.id_of(video)) if store is not None and store.has(video) else None
    return searcher.look(video, features=known, batch_size=batch_size)


def _look_at_all(
    videos: Sequence[Path], look: Callable[[Path], IndexedVideo], found: VideoIndex, out: Path, *, must_write: bool
) -> tuple[list[IndexedVideo], list[str]]:
    """Embeds videos and adds them to the index on the disk; returns them, and the reasons of those that failed."""
    import time

    from videozoo.errors import DataError
    from videozoo.io.isolation import current_journal

    journal = current_journal()
    new: list[IndexedVideo] = []
    failed: list[str] = []
    saved_s = time.monotonic()
    try:
        with progress_bars(console(stderr=True)) as bar:
            for video in bar.track(videos, description="indexing"):
                try:
                    with journal.reading(video):
                        new.append(look(video))
                except DataError as error:
                    failed.append(str(error))
                if time.monotonic() - saved_s > SAVE_EVERY_S:
                    found.with_videos(new).write(out)
                    saved_s = time.monotonic()
    finally:  # also where it is interrupted
        if new or must_write:
            found.with_videos(new).write(out)
    return new, failed


def _index_vectors(
    sources: Sequence[str], run: Path, out: Path, *, window_s: float, stride_s: float, batch_size: int, device: str
) -> None:
    """Adds the vectors of new and changed videos to the index in a folder."""
    from videozoo.errors import ConfigError, DataError, counted
    from videozoo.io.isolation import current_journal
    from videozoo.io.lock import locked
    from videozoo.loading import load_vector_searcher
    from videozoo.predict.outputs import check_writable
    from videozoo.predict.sources import find_videos
    from videozoo.predict.vector_index import VectorIndex, is_vector_index

    check_writable(out)
    if out.exists() and not is_vector_index(out) and (out.is_file() or any(out.iterdir())):
        raise ConfigError(f"--out {out}: holds other files; give a new name, or the folder of an index")
    videos = find_videos(sources)
    searcher = load_vector_searcher(run, device=device)
    out.mkdir(parents=True, exist_ok=True)
    failed: list[str] = []
    added, journal = 0, current_journal()
    with locked(out):
        if is_vector_index(out):
            found = VectorIndex.open(out)
            found.check_run(searcher.run)
        else:
            dim = searcher.network.num_features
            found = VectorIndex.create(out, searcher.run, dim=dim, window_s=window_s, stride_s=stride_s)
        gone = [path for path in found.videos if not Path(path).exists()]
        for path in gone:
            found.remove(path)
        todo = [video for video in videos if found.state_of(video) != "same"]
        with progress_bars(console(stderr=True)) as bar:
            for video in bar.track(todo, description="indexing"):
                try:
                    with journal.reading(video):
                        searcher.add(found, video, batch_size=min(batch_size, STRETCHES_AT_ONCE))
                    added += 1
                except DataError as error:
                    failed.append(str(error))
        found.write_components()
    changes = f"{added} added, {len(gone)} gone" if added or gone else "nothing new"
    say(f"{out}: {counted(len(found.videos), 'video')}, {f'{len(found)} stretches'} ({changes})")
    print_problems(console(stderr=True), f"{len(failed)} of {len(videos)} videos failed:", failed)
    if failed:
        raise typer.Exit(1)
