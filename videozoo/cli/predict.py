"""`videozoo predict`: what is in these videos, and when: as tables, files, clips, drawn on the video, as a timeline."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from videozoo.cli.eval import Precision
from videozoo.cli.reading import MaxPixels, Strict

if TYPE_CHECKING:
    from rich.console import Console

    from videozoo.contracts.features import Features
    from videozoo.contracts.video import Span
    from videozoo.io.features import FeatureStore
    from videozoo.predict.answers import Answers, Sink
    from videozoo.predict.prediction import Prediction
    from videozoo.predict.predictor import Predictor

__all__ = ["predict"]

Progress = Callable[[int, int], None]


def predict(
    run: Path = typer.Argument(help="A run directory (its best checkpoint is taken) or a weight file."),
    sources: list[str] = typer.Argument(
        help="Videos, folders of videos or of frames, list files, patterns; or shards of features, .tfrecord or .pkl."
    ),
    window: float = typer.Option(None, help="Also answer over time: seconds of a window."),
    stride: float = typer.Option(None, help="Seconds from one window to the next [half a window]."),
    segments: Path = typer.Option(None, help="Also answer for each segment that this run finds (a localizer)."),
    features: Path = typer.Option(None, help="Take stored features of the videos, a folder or a file, instead."),
    top: int = typer.Option(None, min=1, help="How many labels [5], and how many segments [all], the best first."),
    min_score: float = typer.Option(
        None, help="Leave out what is found over time with a lower score [segments: a third of the best one's]."
    ),
    max_overlap: float = typer.Option(
        0.5, min=0, max=1, help="Of segments that share more (tIoU), the best; 1 shows them all."
    ),
    format: str = typer.Option(
        None, help="json, csv, srt or edl (of shards json or kaggle): for --out, else its ending says, or on stdout."
    ),
    as_json: bool = typer.Option(False, "--json", help="Print the answers as JSON on stdout, and nothing else."),
    out: Path = typer.Option(None, help="Write the answers to this file, or one file a video into this folder."),
    render: Path = typer.Option(
        None, help="Write the video with its answers drawn on it; of several videos, into this folder."
    ),
    plot: Path = typer.Option(
        None, help="Write a picture of the answers over time; of several videos, into this folder."
    ),
    cut: Path = typer.Option(
        None, help="Write what was found over time as clips into this folder, exact to the frame."
    ),
    cut_copy: bool = typer.Option(
        False, "--cut-copy", help="Cut without encoding; some players then begin at the key frame before."
    ),
    fps: float = typer.Option(None, help="Frame rate of folders of frames, which have none of their own."),
    views: str = typer.Option(None, help="Clips x crops, e.g. 10x3 [as the run's input says]."),
    batch_size: int = typer.Option(8, min=1, help="Windows that go through the model together."),
    max_pixels: MaxPixels = None,
    strict: Strict = False,
    device: str = typer.Option("auto", help="cpu, cuda, cuda:1, mps or auto."),
    precision: Precision = typer.Option(Precision.fp32, help="Of the forward pass."),
) -> None:
    """Say what happens in videos and when: labels, segments or sentences, as the run was trained for.

    Answers are printed and written as they come. A file that cannot be read is reported at the end and sets the exit
    status 1; the others are answered.
    """
    from videozoo.cli.feature_shards import find_records, predict_records
    from videozoo.cli.products import plan_products
    from videozoo.errors import ConfigError, DataError, counted
    from videozoo.loading import load
    from videozoo.predict.answers import Answers, format_of
    from videozoo.predict.sources import find_videos
    from videozoo.terminal import console

    if (stored := find_records(sources)) is not None:
        of_videos = {"window": window, "segments": segments, "features": features, "render": render, "plot": plot}
        for name, value in (of_videos | {"cut": cut, "fps": fps}).items():
            if value is not None:
                raise ConfigError(f"--{name}: needs videos, and {sources[0]} holds features of them; leave it out")
        tagger = load(run, device=device, precision=precision.value, views=views)
        chosen = "json" if as_json else format
        if not predict_records(
            tagger, str(run), stored, top=5 if top is None else top, format=chosen, out=out, batch_size=batch_size
        ):
            raise typer.Exit(1)
        return
    videos = find_videos(sources)
    if stride is not None and window is None:
        raise ConfigError(f"--stride: got {stride:g} without a window; give --window, too")
    if segments is not None and window is not None:
        raise ConfigError("--segments: says where to look, and --window says it, too; give one of them")
    if cut_copy and cut is None:
        raise ConfigError("--cut-copy: there is nothing to cut; give --cut FOLDER, too")
    answers = Answers(str(run), top=5 if top is None else top, min_score=0.0 if segments else min_score or 0.0)
    choice = {"top": top, "min_score": min_score, "max_overlap": max_overlap}
    chosen = format_of(format, out, num_videos=len(videos))
    products = plan_products(videos, answers, out=out, format=chosen, render=render, plot=plot, cut=cut, copy=cut_copy)
    ask = functools.partial(load, device=device, precision=precision.value)
    predictor, finder = ask(run, views=views), ask(segments) if segments else None
    look = functools.partial(_seen, store=_store(features, predictor, finder))
    notes = console(stderr=True)

    def answer(video: Path, progress: Progress) -> Prediction:
        options = {"fps": fps, "batch_size": batch_size, "progress": progress}
        spans = None
        if finder is not None:
            spans = _spans_of(finder(look(video, finder), **options).keep(**choice), segments)
        found = predictor(look(video, predictor), window_s=window, stride_s=stride, spans=spans, **options)
        return _about(video, found, fps).keep(**choice)

    def make(video: Path, prediction: Prediction) -> list[str]:
        problems = []
        for product in products:
            try:
                product.make(video, prediction, fps)
            except DataError as error:
                problems.append(str(error))
        return problems

    with _locked(out):
        on_stdout = "json" if as_json else chosen if out is None else None
        sinks = _sinks(answers, videos, on_stdout=on_stdout, out=out, format=chosen)
        unwritten = _answer_all(videos, answers, answer, make, sinks, notes)
    for product in products:
        for path in product.made:
            notes.print(f"{product.verb}: {path}", style="dim", soft_wrap=True)
    damaged = [f"{p.id}: {counted(p.damaged_frames, 'frame')}" for p in answers.found if p.damaged_frames]
    _list(notes, "damage that the decoder concealed (--strict makes it an error):", damaged)
    _list(notes, f"{len(answers.failed)} of {len(videos)} videos failed:", list(answers.failed.values()))
    _list(notes, f"{counted(len(unwritten), 'file')} could not be written:", unwritten)
    if answers.failed or unwritten:
        raise typer.Exit(1)


def _answer_all(
    videos: Sequence[Path],
    answers: Answers,
    answer: Callable[[Path, Progress], Prediction],
    make: Callable[[Path, Prediction], list[str]],
    sinks: Sequence[Sink],
    notes: Console,
) -> list[str]:
    """Fills `answers`, tells the sinks of each as it comes, and returns why products could not be made of some."""
    from videozoo.errors import DataError
    from videozoo.io.isolation import current_journal
    from videozoo.terminal import escaped, paused, progress_bars

    journal = current_journal()
    unwritten: list[str] = []
    with contextlib.ExitStack() as ending, progress_bars(notes) as bars:
        for sink in sinks:
            ending.callback(sink.close)  # also where an error ends the loop: what was found is printed and written
        videos_bar = bars.add_task("videos", total=len(videos), visible=len(videos) > 1)
        windows_bar = bars.add_task("", total=None)

        def progress(done: int, total: int) -> None:
            bars.update(windows_bar, completed=done, total=total)

        for done, video in enumerate(videos):
            bars.update(videos_bar, completed=done)
            bars.reset(windows_bar, description=escaped(video.name), total=None)
            known = journal.results.get(
                str(video)
            )  # of a process that crashed later, perhaps at a product of this video
            try:
                if known is None:
                    with journal.reading(video):
                        prediction = answer(video, progress)
            except DataError as error:
                answers.failed[str(video)] = str(error)
                continue
            answers.found.append(prediction if known is None else known)
            if known is None:
                with paused(bars):
                    for sink in sinks:
                        sink.add(prediction)
                journal.keep(video, prediction)
            try:
                with journal.reading(video):
                    if known is None:
                        unwritten += make(video, prediction)
            except DataError as error:
                unwritten.append(str(error))
    return unwritten + [sink.problem for sink in sinks if sink.problem is not None]


def _sinks(
    answers: Answers, videos: Sequence[Path], *, on_stdout: str | None, out: Path | None, format: str | None
) -> list[Sink]:
    """What takes each answer: first stdout, then the file."""
    from videozoo.cli.answers import AnswerTable
    from videozoo.io.isolation import current_journal
    from videozoo.predict.answers import AnswerFile, AnswerStream
    from videozoo.predict.outputs import is_folder
    from videozoo.terminal import write_json, write_text

    num_printed = len(current_journal().results)
    sinks: list[Sink] = []
    if out is not None and not is_folder(out):
        sinks.append(AnswerFile(answers, out, format or "json"))
    if on_stdout is None:
        return [AnswerTable(answers, videos, num_printed=num_printed), *sinks]
    write = write_json if on_stdout == "json" else write_text
    return [AnswerStream(answers, on_stdout, write, num_written=num_printed), *sinks]


@contextlib.contextmanager
def _locked(out: Path | None) -> Iterator[None]:
    """Holds the lock of a folder of answers; where it cannot be written, the answers are printed at least."""
    from videozoo.io.lock import locked
    from videozoo.predict.outputs import is_folder

    with contextlib.ExitStack() as stack:
        if out is not None and is_folder(out):
            with contextlib.suppress(OSError):
                stack.enter_context(locked(out))
        yield


def _list(notes: Console, title: str, reasons: Sequence[str]) -> None:
    if not reasons:
        return
    notes.print(title, style="red")
    for reason in reasons:
        notes.print(f"  {reason}", soft_wrap=True)


def _store(path: Path | None, *predictors: Predictor | None) -> FeatureStore | None:
    """The stored features, when there is a model that takes them."""
    from videozoo.errors import ConfigError
    from videozoo.io.features import FeatureStore

    if path is None:
        return None
    if not any(predictor is not None and predictor.takes_features for predictor in predictors):
        raise ConfigError(f"--features: {path} is of no use, the run takes videos; leave it out")
    return FeatureStore(path)


def _seen(video: Path, predictor: Predictor, *, store: FeatureStore | None) -> Path | Features:
    """What a predictor is given of a video: its stored features, if there are some and it takes them."""
    import dataclasses

    if store is None or not predictor.takes_features:
        return video
    features = store.read(store.id_of(video))
    if features.stride_s is None and features.duration_s is None and video.is_file():  # the video says what they do not
        from videozoo.predict.frames import open_source

        with open_source(video, fps=None) as reader:
            features = dataclasses.replace(features, duration_s=reader.info.duration_s)
    return features


def _about(video: Path, prediction: Prediction, fps: float | None) -> Prediction:
    """The prediction with the video's own name and facts, where features were given in its place."""
    import dataclasses

    from videozoo.predict.frames import open_source

    if prediction.id == str(video):
        return prediction
    info = prediction.info
    if video.exists():
        with open_source(video, fps=fps) as reader:
            info = reader.info
    return dataclasses.replace(prediction, id=str(video), info=info)


def _spans_of(prediction: Prediction, run: Path | None) -> tuple[Span, ...]:
    """Where a run of its own says that something happens."""
    from videozoo.errors import ConfigError

    if not prediction.is_timed:
        kind = prediction.answer.kind
        raise ConfigError(f"--segments: {run} answers with {kind}, without times; give a run that finds segments")
    return prediction.spans()
