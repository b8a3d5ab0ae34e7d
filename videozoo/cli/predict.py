"""`videozoo predict`: what happens in videos, and when: as tables, files, clips, drawn on the video, as a timeline."""

# ruff: noqa: UP045 (typer reads the types on Python 3.10)

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional, TypeAlias

import typer
from typer import Option

from videozoo.cli.eval import Precision
from videozoo.cli.reading import AllowCode, MaxPixels, Strict, print_damage, print_problems

if TYPE_CHECKING:
    from rich.progress import Progress

    from videozoo.predict.answers import Sink
    from videozoo.predict.prediction import RecordAnswer
    from videozoo.predict.session import Plan, Session

__all__ = ["predict"]

Number: TypeAlias = Optional[float]
Place: TypeAlias = Optional[Path]

Run = Annotated[
    Path,
    typer.Argument(help="A run directory (its best checkpoint is taken), a weight file, or a card of `list weights`."),
]
Sources = Annotated[
    list[str],
    typer.Argument(
        help="Videos, folders of videos or of frames, list files, patterns; or shards of features, .tfrecord or .pkl."
    ),
]
Window = Annotated[Number, Option(help="Also answer over time: seconds of a window.")]
Stride = Annotated[Number, Option(help="Seconds from one window to the next [half a window].")]
Segments = Annotated[Place, Option(help="Also answer for each segment that this run finds (a localizer).")]
StoredFeatures = Annotated[Place, Option(help="Stored features of the videos, a folder or a file, to use instead.")]
LabelNames = Annotated[
    Optional[str],
    Option("--labels", help='Labels to choose among, separated by commas: "opens a door, closes a door".'),
]
Top = Annotated[Optional[int], Option(min=1, help="Number of labels [5] and of segments [all], the best first.")]
MinScore = Annotated[Number, Option(help="Least score over time [of segments a third of the best one's].")]
MaxOverlap = Annotated[
    float, Option(min=0, max=1, help="Suppress segments overlapping a better one by more than this tIoU; 1 keeps all.")
]
Format = Annotated[
    Optional[str],
    Option(help="json, csv, srt or edl (of shards json or kaggle), for --out or stdout [the ending of --out]."),
]
AsJson = Annotated[bool, Option("--json", help="Print the answers as JSON on stdout, and nothing else.")]
Out = Annotated[Place, Option(help="Write the answers to this file, or one file a video into this folder.")]
Render = Annotated[Place, Option(help="Write the video with its answers drawn on it; several videos into this folder.")]
Plot = Annotated[Place, Option(help="Write a picture of the answers over time; several videos into this folder.")]
Cut = Annotated[Place, Option(help="Write the events over time as clips into this folder, exact to the frame.")]
CutCopy = Annotated[
    bool, Option("--cut-copy", help="Cut without encoding; some players then begin at the key frame before.")
]
FrameRate = Annotated[Number, Option(help="Frame rate of folders of frames, which do not store one.")]
Views = Annotated[Optional[str], Option(help="Clips x crops, e.g. 10x3 [the protocol of the run's input].")]
BatchSize = Annotated[int, Option(min=1, help="Windows that go through the model together.")]
Device = Annotated[str, Option(help="cpu, cuda, cuda:1, mps or auto.")]
OfForward = Annotated[Precision, Option(help="Number format of the forward pass.")]


def predict(
    run: Run,
    sources: Sources,
    window: Window = None,
    stride: Stride = None,
    segments: Segments = None,
    features: StoredFeatures = None,
    labels: LabelNames = None,
    top: Top = None,
    min_score: MinScore = None,
    max_overlap: MaxOverlap = 0.5,
    format: Format = None,
    as_json: AsJson = False,
    out: Out = None,
    render: Render = None,
    plot: Plot = None,
    cut: Cut = None,
    cut_copy: CutCopy = False,
    fps: FrameRate = None,
    views: Views = None,
    batch_size: BatchSize = 8,
    allow_code: AllowCode = None,
    max_pixels: MaxPixels = None,
    strict: Strict = False,
    device: Device = "auto",
    precision: OfForward = Precision.fp32,
) -> None:
    """Predict what happens in videos and when: labels, segments or sentences, as the run was trained for.

    Answers are printed and written as they come. A file that cannot be read is reported at the end and sets the exit
    status 1; the others are answered.
    """
    from videozoo.loading import load
    from videozoo.predict.products import Wanted
    from videozoo.predict.session import Plan, Request, Session
    from videozoo.predict.sources import find_sources

    _check_options(window, stride, segments, cut, cut_copy=cut_copy)
    request = Request(window, stride, top, min_score, max_overlap, fps, batch_size)
    wanted = Wanted(out, format, render, plot, cut, cut_copy)
    over, stored = segments is not None, features is not None
    plan = Plan.of(str(run), find_sources(sources), request, wanted, over_segments=over, from_features=stored)
    names = None if labels is None else labels.split(",")
    predictor = load(run, device=device, precision=precision.value, views=views, labels=names)
    finder = load(segments, device=device, precision=precision.value) if segments is not None else None
    session = Session(predictor, request, finder=finder, features=features)
    _run(session, plan, on_stdout="json" if as_json else plan.format if out is None else None)
    if plan.answers.failed or session.unwritten:
        raise typer.Exit(1)


def _check_options(
    window: float | None, stride: float | None, segments: Path | None, cut: Path | None, *, cut_copy: bool
) -> None:
    from videozoo.errors import ConfigError

    if stride is not None and window is None:
        raise ConfigError(f"--stride: got {stride:g} without a window; give --window, too")
    if segments is not None and window is not None:
        raise ConfigError("--segments: got --window as well, and both choose the stretches; give one of them")
    if cut_copy and cut is None:
        raise ConfigError("--cut-copy: there is nothing to cut; give --cut FOLDER, too")


def _run(session: Session, plan: Plan, *, on_stdout: str | None) -> None:
    """Runs the session with progress bars; prints answers as they come, and files, damage and failures at the end."""
    from videozoo.errors import counted
    from videozoo.terminal import console, escaped, progress_bars

    notes = console(stderr=True)
    videos = plan.sources.videos
    with progress_bars(notes) as bars:
        videos_bar = bars.add_task("videos", total=len(videos), completed=-1, visible=len(videos) > 1)
        windows_bar = bars.add_task("", total=None, visible=bool(videos))

        def begin(video: Path) -> Callable[[int, int], None]:
            bars.advance(videos_bar)
            bars.reset(windows_bar, description=escaped(video.name), total=None)
            return lambda done, total: bars.update(windows_bar, completed=done, total=total)

        session.run(plan, sinks=[_Paused(sink, bars) for sink in _stdout_sinks(plan, on_stdout)], progress=begin)
    for made in session.made:
        for path in made.paths:
            notes.print(f"{made.verb}: {path}", style="dim", soft_wrap=True)
    failed, unwritten = plan.answers.failed, session.unwritten
    print_damage(notes, session.damaged)
    number = counted(len(failed), "video") if plan.sources.shards else f"{len(failed)} of {len(videos)} videos"
    print_problems(notes, f"{number} failed:", failed.values())
    print_problems(notes, f"{counted(len(unwritten), 'file')} could not be written:", unwritten)


def _stdout_sinks(plan: Plan, format: str | None) -> list[Sink]:
    """Returns the sink that prints answers: a table, or text in a format; none for records that go to a file."""
    from videozoo.cli.answers import AnswerTable
    from videozoo.predict.answers import FORMATS, RECORD_FORMATS, AnswerStream
    from videozoo.predict.session import num_answered
    from videozoo.terminal import write_json, write_text

    if format is None:
        is_silent = plan.sources.shards and plan.wanted.out is not None
        return [] if is_silent else [AnswerTable(plan.answers, plan.sources.videos, num_printed=num_answered())]
    formats = RECORD_FORMATS if plan.sources.shards else FORMATS
    write = write_json if format == "json" else write_text
    return [AnswerStream(plan.answers, formats[format], write, num_written=num_answered())]


class _Paused:
    """A sink that takes the progress bars off the terminal while it prints."""

    def __init__(self, sink: Sink, bars: Progress):
        self._sink, self._bars = sink, bars

    @property
    def problem(self) -> str | None:
        return self._sink.problem

    def add(self, answered: RecordAnswer) -> None:
        from videozoo.terminal import paused

        with paused(self._bars):
            self._sink.add(answered)

    def close(self) -> None:
        from videozoo.terminal import paused

        with paused(self._bars):
            self._sink.close()
