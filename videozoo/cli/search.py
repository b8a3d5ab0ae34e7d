"""`videozoo search`: when, in all these videos, does this happen?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from videozoo.cli.reading import AllowCode, MaxPixels, Strict, print_damage, print_problems
from videozoo.terminal import console, progress_bars, write_json

if TYPE_CHECKING:
    from rich.console import Console

    from videozoo.predict.index import VideoIndex
    from videozoo.predict.search import Hit, Searcher

__all__ = ["search"]

PRINTED = "the hits are printed"  # in the journal of a job whose process crashes later


def search(
    where: Path = typer.Argument(
        metavar="RUN_OR_INDEX", help="An index of `videozoo index`, or a grounding run, then with VIDEOS."
    ),
    query: str = typer.Argument(help='What happens, in words: "a square moves left".'),
    sources: list[str] = typer.Argument(
        None, metavar="[VIDEOS]...", help="Search these videos only; a run processes them now."
    ),
    top: int = typer.Option(5, min=1, help="How many moments to show."),
    run: Path = typer.Option(None, help="The run of the index, if it was moved."),
    cut: Path = typer.Option(None, help="Write the moments as clips into this folder."),
    as_json: bool = typer.Option(False, "--json", help="Print the answers as JSON on stdout, and nothing else."),
    allow_code: AllowCode = None,
    max_pixels: MaxPixels = None,
    strict: Strict = False,
    device: str = typer.Option("auto", help="cpu, cuda, cuda:1, mps or auto."),
) -> None:
    """Find the moments of many videos that a sentence describes, best first."""
    from videozoo.errors import DataError, counted

    if not query.strip():
        raise DataError("query: is empty; say what to look for in a few words")

    from videozoo.io.isolation import current_journal
    from videozoo.predict.formats import to_json
    from videozoo.predict.outputs import check_writable

    if cut is not None:
        check_writable(cut)
    from videozoo.predict.vector_index import is_vector_index

    notes = console(stderr=True)
    failed: dict[str, str] = {}
    if is_vector_index(where):
        _search_vectors(where, query, sources or [], run, top=top, cut=cut, as_json=as_json, device=device, notes=notes)
        return
    if where.suffix == ".parquet":
        searcher, index = _open(where, run, device)
        index = _fresh(index, sources or [], where, notes)
    else:
        searcher, index = _look(where, run, sources or [], device, notes, failed)
    hits = searcher.ask(index, query, top=top)
    if unseen := searcher.unseen(query):
        text = f"no training sentence had: {', '.join(unseen)}; what is meant by them is a guess"
        notes.print(text, style="yellow")
    journal = current_journal()
    if not as_json and PRINTED not in journal.results:
        _print(console(), hits)
        journal.keep(PRINTED, True)  # a clip may crash the process
    clips = _cut(hits, cut, failed) if cut is not None else []
    if as_json:
        write_json(to_json(_answers(query, searcher, index, hits, clips, failed)))
    for clip in clips if not as_json else ():
        notes.print(f"cut: {clip}", style="dim", soft_wrap=True)
    print_damage(notes, {video.path: video.damaged_frames for video in index.videos if video.damaged_frames})
    print_problems(notes, f"{counted(len(failed), 'video')} failed:", failed.values())
    if failed:
        raise typer.Exit(1)


def _search_vectors(
    where: Path,
    query: str,
    sources: Sequence[str],
    run: Path | None,
    *,
    top: int,
    cut: Path | None,
    as_json: bool,
    device: str,
    notes: Console,
) -> None:
    """Prints the stretches nearest to a sentence, from an index of vectors."""
    from videozoo.errors import ConfigError, counted
    from videozoo.io.isolation import current_journal
    from videozoo.loading import load_vector_searcher
    from videozoo.predict.formats import to_json
    from videozoo.predict.vector_index import VectorIndex

    if sources:
        raise ConfigError(f"{where}: an index of vectors is searched as a whole; leave out {sources[0]}")
    index = VectorIndex.open(where)
    searcher = load_vector_searcher(run if run is not None else Path(index.run.path), device=device)
    answer = searcher.ask(index, query, top=top)
    journal = current_journal()
    if not as_json and PRINTED not in journal.results:
        _print(console(), answer.hits, heading="score")
        if not answer.stands_out:
            text = (
                f"nothing stands out: the best score is {answer.found.deviations:.1f} deviations above the median of "
                f"all stretches, and {answer.found.needed:.1f} are needed; the hits are guesses"
            )
            notes.print(text, style="yellow", soft_wrap=True)
        journal.keep(PRINTED, True)
    failed: dict[str, str] = {}
    clips = _cut(answer.hits, cut, failed) if cut is not None else []
    if as_json:
        found = {
            "query": query,
            "run": searcher.run.path,
            "videos": len(index.videos),
            "windows": len(index),
            "stands_out": answer.stands_out,
            "hits": [hit.to_dict() for hit in answer.hits],
            "clips": [str(clip) for clip in clips],
            "failed": [{"id": name, "error": reason} for name, reason in failed.items()],
        }
        write_json(to_json(found))
    for clip in clips if not as_json else ():
        notes.print(f"cut: {clip}", style="dim", soft_wrap=True)
    print_problems(notes, f"{counted(len(failed), 'video')} failed:", failed.values())
    if failed:
        raise typer.Exit(1)


def _answers(
    query: str,
    searcher: Searcher,
    index: VideoIndex,
    hits: Sequence[Hit],
    clips: Sequence[Path],
    failed: dict[str, str],
) -> dict[str, object]:
    """Returns everything that was found as plain values, ready for JSON."""
    return {
        "query": query,
        "run": searcher.run.path,
        "videos": len(index.videos),
        "windows": len(index),
        "hits": [hit.to_dict() for hit in hits],
        "clips": [str(clip) for clip in clips],
        "failed": [{"id": name, "error": reason} for name, reason in failed.items()],
    }


def _cut(hits: Sequence[Hit], folder: Path, failed: dict[str, str]) -> list[Path]:
    """Writes the moments as clips and returns their paths; `failed` gets the videos that cannot be cut."""
    from videozoo.errors import DataError
    from videozoo.io.isolation import current_journal
    from videozoo.predict.outputs import cut_spans

    clips: list[Path] = []
    for place, hit in enumerate(hits, start=1):
        try:
            with current_journal().reading(hit.video):
                clips += cut_spans(hit.video, [hit.span], folder / f"{place:02d}-{Path(hit.video).stem}")
        except DataError as error:
            failed[hit.video] = str(error)
    return clips


def _open(path: Path, run: Path | None, device: str) -> tuple[Searcher, VideoIndex]:
    """Returns an index and the searcher that made it."""
    from videozoo.errors import DataError
    from videozoo.loading import load_searcher
    from videozoo.predict.index import VideoIndex

    index = VideoIndex.read(path)
    place = run if run is not None else Path(index.run.path)
    if not place.exists():
        raise DataError(f"{path}: is the index of {index.run}, which does not exist; give its place with --run")
    searcher = load_searcher(place, device=device)
    index.check_run(searcher.run, where=str(path))
    return searcher, index


def _fresh(index: VideoIndex, sources: Sequence[str], path: Path, notes: Console) -> VideoIndex:
    """Returns the part of an index that was asked for and whose files exist."""
    from videozoo.errors import DataError
    from videozoo.predict.sources import find_videos

    if sources:
        wanted = {str(video.resolve()) for video in find_videos(sources)}
        missing = sorted(wanted - {video.path for video in index.videos})
        if missing:
            raise DataError(
                f"{path}: {missing[0]} is not in it ({len(missing)} of {len(wanted)} videos are not); "
                "add them by `videozoo index`"
            )
        index = index.without(video.path for video in index.videos if video.path not in wanted)
    states = {video.path: video.state() for video in index.videos}
    for state, told in (("gone", "are gone, and left out"), ("changed", "have changed since they were indexed")):
        found = [name for name, is_now in states.items() if is_now == state]
        if found:
            text = f"{len(found)} of {len(states)} videos {told} (first {found[0]}); run `videozoo index` again"
            notes.print(text, style="yellow", soft_wrap=True)
    return index.without(name for name, state in states.items() if state == "gone")


def _look(
    where: Path, run: Path | None, sources: Sequence[str], device: str, notes: Console, failed: dict[str, str]
) -> tuple[Searcher, VideoIndex]:
    """Returns a run's searcher and the index of the videos."""
    from videozoo.errors import ConfigError, DataError
    from videozoo.io.isolation import current_journal
    from videozoo.loading import load_searcher
    from videozoo.predict.index import VideoIndex
    from videozoo.predict.sources import find_videos
    from videozoo.weights import checkpoint

    if run is not None:
        raise ConfigError(f"--run {run}: {where} is a run already; give an index (.parquet) first, or leave --run out")
    if not sources:
        checkpoint.read(where)  # whether it is one
        raise ConfigError(f"{where}: is a run; name the videos to look at, or an index (.parquet) instead of the run")
    videos = find_videos(sources)
    searcher = load_searcher(where, device=device)
    looked, journal = [], current_journal()
    with progress_bars(notes) as bar:
        for video in bar.track(videos, description="processing"):
            seen = journal.results.get(str(video))
            try:
                if seen is None:
                    with journal.reading(video):
                        seen = searcher.look(video)
                    journal.keep(video, seen)
            except DataError as error:
                failed[str(video)] = str(error)
            else:
                looked.append(seen)
    return searcher, VideoIndex(searcher.run).with_videos(looked)


def _print(console: Console, hits: Sequence[Hit], *, heading: str = "probability") -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    if not hits:
        console.print("no moment was found: there is no video to search")
        return
    table = Table(box=box.SIMPLE_HEAD, show_edge=False)
    table.add_column("video", overflow="fold")
    table.add_column("from", justify="right")
    table.add_column("to", justify="right")
    table.add_column(heading, justify="right")
    here = Path.cwd()
    for hit in hits:
        path = Path(hit.video)
        shown = path.relative_to(here) if path.is_relative_to(here) else path
        table.add_row(
            Text(str(shown)),
            f"{hit.start_s:.2f} s",
            f"{hit.end_s:.2f} s",
            f"{hit.score:.1%}" if heading == "probability" else f"{hit.score:.3f}",
        )
    console.print(table)
