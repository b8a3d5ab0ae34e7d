"""`videozoo extract`: stores the features of videos over time, the input of models on features."""

from __future__ import annotations

import contextlib
import enum
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from videozoo.cli.eval import Precision
from videozoo.cli.reading import AllowCode, MaxPixels, Strict, print_damage, print_problems
from videozoo.terminal import console, progress_bars, say

if TYPE_CHECKING:
    from videozoo.predict.extraction import Extraction
    from videozoo.predict.projection import Projection

__all__ = ["extract"]


class Format(str, enum.Enum):
    """How features are stored."""

    npz = "npz"
    npy = "npy"
    csv = "csv"
    parquet = "parquet"
    h5 = "h5"
    tfrecord = "tfrecord"


class Output(str, enum.Enum):
    """The values of a network that are stored."""

    features = "features"
    scores = "scores"


def extract(
    run: str = typer.Argument(help="A run directory or weight file of a clip classifier, or timm:NAME."),
    sources: list[str] = typer.Argument(help="Videos, folders of videos or of frames, list files, patterns."),
    out: Path = typer.Option(help="Folder of the features; videos with stored features are skipped."),
    format: Format = typer.Option(Format.npz, help="One file per video (npz, npy, csv), or packed files."),
    window: float = typer.Option(None, help="Seconds in a row's window [the length of a dense clip, else 1]."),
    stride: float = typer.Option(None, help="Interval between rows in seconds [a quarter of the window]."),
    fps: float = typer.Option(None, help="Rows per second; with timm:NAME, frames per second [1]."),
    output: Output = typer.Option(Output.features, help="The inputs of the classifier, or its class probabilities."),
    pca: str = typer.Option(None, help="Principal components to keep, or an npz file with mean and components."),
    audio: bool = typer.Option(False, "--audio", help="Append 128 log-mel values of the sound to each row."),
    frame_rate: float = typer.Option(None, help="Frame rate of folders of frames, which do not store one."),
    batch_size: int = typer.Option(8, min=1, help="Number of windows in one batch."),
    workers: int = typer.Option(2, min=1, help="Number of videos decoded in parallel."),
    allow_code: AllowCode = None,
    max_pixels: MaxPixels = None,
    strict: Strict = False,
    device: str = typer.Option("auto", help="cpu, cuda, cuda:1, mps or auto."),
    precision: Precision = typer.Option(Precision.fp32, help="Number format of the forward pass."),
) -> None:
    """Store a trained network's features of videos over time: the input of models on features.

    The folder also stores the network, so a model trained on these features accepts videos. Repeat an interrupted
    command to resume it. Unreadable files are reported at the end and set the exit status 1.
    """
    from videozoo.loading import load_extractor
    from videozoo.predict.extraction import extract_all, video_ids
    from videozoo.predict.sources import find_videos

    window_s, stride_s = _row_times(run, fps, window, stride)
    videos = video_ids(find_videos(sources))
    pca_dim, projection = _projection(pca)
    extractor = load_extractor(
        run,
        window_s=window_s,
        stride_s=stride_s,
        output=output.value,
        projection=projection,
        audio=audio,
        device=device,
        precision=precision.value,
    )
    began_s = time.perf_counter()
    with _progress(len(videos)) as show:
        done = extract_all(
            extractor,
            videos,
            out,
            format=format.value,
            pca_dim=pca_dim,
            fps=frame_rate,
            batch_size=batch_size,
            num_workers=workers,
            progress=show,
        )
    _report(out, done, len(videos), pca_dim, time.perf_counter() - began_s)
    if done.failed:
        raise typer.Exit(1)


def _row_times(
    run: str, fps: float | None, window: float | None, stride: float | None
) -> tuple[float | None, float | None]:
    """Returns the seconds of a row's window, and from one row to the next; None selects the extractor's default.

    Raises:
        ConfigError: `fps` is not above 0, or `stride` is given, too.
    """
    from videozoo.errors import ConfigError

    if fps is None:
        return window, stride
    if stride is not None:
        raise ConfigError(f"--fps: got {fps:g} with --stride {stride:g}; both set the distance of rows, give one")
    if not fps > 0:
        raise ConfigError(f"--fps: got {fps:g}; needs a rate above 0")
    return (1 / fps if window is None and run.startswith("timm:") else window), 1 / fps


@contextlib.contextmanager
def _progress(num_videos: int) -> Iterator[Callable[[float], None]]:
    """Shows a progress bar; yields a function that sets the number of finished videos."""
    with progress_bars(console(stderr=True)) as bar:
        line = bar.add_task("extracting", total=num_videos)
        yield lambda count: bar.update(line, completed=count)


def _report(out: Path, done: Extraction, num_videos: int, pca_dim: int | None, took_s: float) -> None:
    """Prints the counts and the recipe; then warnings, damage and failures."""
    from videozoo.errors import counted

    notes = console(stderr=True)
    already = f", {done.skipped} were there already" if done.skipped else ""
    say(f"{out}: {counted(done.extracted, 'video')}, {counted(done.rows, 'row')} in {took_s:.1f} s{already}")
    if done.recipe is not None:
        say(done.recipe.describe())
    for id_, video in done.renamed.items():
        say(f"{video}: is stored as '{id_}'; its own name belongs to another file")
    if done.kept is not None:
        say(f"the {pca_dim} components keep {done.kept:.1%} of the variance")
    if done.clipped > 0.05:
        notes.print(f"{done.clipped:.0%} of the values lie outside -2..2 and were cut; give --pca, which scales them")
    print_damage(notes, done.damaged)
    print_problems(notes, f"{len(done.failed)} of {num_videos} videos failed:", done.failed.values())


def _projection(pca: str | None) -> tuple[int | None, Projection | None]:
    """Returns the number of components to fit, or the projection read from a file."""
    from videozoo.predict.projection import Projection

    if pca is None:
        return None, None
    return (int(pca), None) if pca.isdecimal() else (None, Projection.read(pca))
