"""`videozoo predict`: what is in these videos, and when: as tables, files, clips, drawn on the video, as a timeline."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from videozoo.cli.eval import Precision

if TYPE_CHECKING:
    from rich.console import Console

    from videozoo.io.features import Features, FeatureStore
    from videozoo.predict.prediction import Prediction
    from videozoo.predict.predictor import Predictor
    from videozoo.types import Span

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
    device: str = typer.Option("auto", help="cpu, cuda, cuda:1, mps or auto."),
    precision: Precision = typer.Option(Precision.fp32, help="Of the forward pass."),
) -> None:
    """Say what happens in videos and when: labels, segments or sentences, as the run was trained for.

    A file that cannot be read is reported at the end and sets the exit status 1; the others are answered.
    """
    from rich.console import Console

    from videozoo.cli.answers import print_answers
    from videozoo.cli.feature_shards import find_records, predict_records
    from videozoo.cli.products import plan_products
    from videozoo.errors import ConfigError, DataError
    from videozoo.io.isolation import current_journal
    from videozoo.predict.answers import Answers, format_of
    from videozoo.predict.formats import write_text
    from videozoo.predict.outputs import is_folder
    from videozoo.predict.predictor import load
    from videozoo.predict.sources import find_videos

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
    notes, journal = Console(stderr=True), current_journal()
    for video, progress in _with_progress(videos, notes):
        options = {"fps": fps, "batch_size": batch_size, "progress": progress}
        if (known := journal.results.get(str(video))) is not None:
            answers.found.append(known)
            continue
        try:
            with journal.reading(video):
                spans = None
                if finder is not None:
                    spans = _spans_of(finder(look(video, finder), **options).keep(**choice), segments)
                found = predictor(look(video, predictor), window_s=window, stride_s=stride, spans=spans, **options)
                prediction = _about(video, found, fps).keep(**choice)
                answers.found.append(prediction)
                for product in products:
                    product.make(video, prediction, fps)
            journal.keep(video, prediction)
        except DataError as error:
            answers.failed[str(video)] = str(error)
    if out is not None and not is_folder(out):
        write_text(out, answers.text(chosen))
    if as_json or (chosen is not None and out is None):
        typer.echo(answers.text("json" if as_json else chosen), nl=False)
    else:
        print_answers(Console(), answers)
    for product in products:
        for path in product.made:
            notes.print(f"{product.verb}: {path}", style="dim", highlight=False, markup=False, soft_wrap=True)
    if answers.failed:
        notes.print(f"{len(answers.failed)} of {len(videos)} videos failed:", style="red", highlight=False)
        for reason in answers.failed.values():
            notes.print(f"  {reason}", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(1)


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
    names = (video.stem, video.name, video.with_suffix("").as_posix())
    features = store.read(next((name for name in names if name in store), video.stem))
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
        kind = type(prediction.answer).__name__.lower()
        raise ConfigError(f"--segments: {run} answers with {kind}, without times; give a run that finds segments")
    return prediction.spans()


def _with_progress(videos: Sequence[Path], notes: Console) -> Iterator[tuple[Path, Progress]]:
    """The videos, each with what to tell its progress to; bars on a terminal, nothing elsewhere."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bars(*columns, console=notes, transient=True, disable=not notes.is_terminal) as bars:
        videos_bar = bars.add_task("videos", total=len(videos), visible=len(videos) > 1)
        windows_bar = bars.add_task("", total=None)
        for done, video in enumerate(videos):
            bars.update(videos_bar, completed=done)
            bars.reset(windows_bar, description=video.name, total=None)
            yield video, lambda done, total: bars.update(windows_bar, completed=done, total=total)
