"""`videozoo predict`: what is in these videos, as a table, as JSON, drawn on the video, or as a timeline."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from videozoo.cli.eval import Precision

if TYPE_CHECKING:
    from rich.console import Console

    from videozoo.predict.prediction import Prediction

__all__ = ["predict"]


def predict(
    run: Path = typer.Argument(help="A run directory (its best checkpoint is taken) or a weight file."),
    sources: list[str] = typer.Argument(help="Videos, folders of videos or of frames, list files, patterns."),
    window: float = typer.Option(None, help="Also answer over time: seconds of a window."),
    stride: float = typer.Option(None, help="Seconds from one window to the next [half a window]."),
    top: int = typer.Option(5, min=1, help="How many labels to show, and to write as JSON."),
    as_json: bool = typer.Option(False, "--json", help="Print the answers as JSON on stdout, and nothing else."),
    out: Path = typer.Option(None, help="Write the answers as JSON to this file."),
    render: Path = typer.Option(
        None, help="Write the video with its labels drawn on it; of several videos, into this folder."
    ),
    plot: Path = typer.Option(
        None, help="Write a picture of the labels over time; of several videos, into this folder."
    ),
    fps: float = typer.Option(None, help="Frame rate of folders of frames, which have none of their own."),
    views: str = typer.Option(None, help="Clips x crops, e.g. 10x3 [as the run's input says]."),
    batch_size: int = typer.Option(8, min=1, help="Windows that go through the model together."),
    device: str = typer.Option("auto", help="cpu, cuda, cuda:1, mps or auto."),
    precision: Precision = typer.Option(Precision.fp32, help="Of the forward pass."),
) -> None:
    """Name what happens in videos, over the whole of each and over time.

    A file that cannot be read is reported at the end and sets the exit status 1; the others are answered.
    """
    import json

    from rich.console import Console
    from rich.progress import track

    from videozoo.errors import ConfigError, DataError
    from videozoo.predict.predictor import load
    from videozoo.predict.sources import find_videos

    videos = find_videos(sources)
    renders = _outputs(videos, render, ending=".mp4")
    plots = _outputs(videos, plot, ending=".png")
    if stride is not None and window is None:
        raise ConfigError(f"--stride: got {stride:g} without a window; give --window, too")
    predictor = load(run, device=device, precision=precision.value, views=views)
    notes = Console(stderr=True)
    found: list[Prediction] = []
    failed: dict[str, str] = {}
    for video in track(videos, "predicting", console=notes, transient=True, disable=len(videos) == 1):
        try:
            prediction = predictor(video, window_s=window, stride_s=stride, fps=fps, batch_size=batch_size)
            found.append(prediction)
            if video in renders:
                from videozoo.predict.render import render as write_render

                write_render(video, prediction, renders[video])
            if video in plots:
                from videozoo.predict.plot import plot_timeline

                plot_timeline(prediction, plots[video], top=top)
        except DataError as error:
            failed[str(video)] = str(error)
    answers = {
        "run": str(run),
        "predictions": [prediction.to_dict(top=top) for prediction in found],
        "failed": [{"id": name, "error": reason} for name, reason in failed.items()],
    }
    if out is not None:
        _write_json(answers, out)
    if as_json:
        typer.echo(json.dumps(answers, indent=2, ensure_ascii=False))
    else:
        _print(Console(), found, top)
        for what, paths in (("rendered", renders), ("plotted", plots)):
            for prediction in found:
                if (path := paths.get(Path(prediction.id))) and path.exists():
                    notes.print(f"{what}: {path}", style="dim", highlight=False, markup=False)
    if failed:
        notes.print(f"{len(failed)} of {len(videos)} videos failed:", style="red", highlight=False)
        for reason in failed.values():
            notes.print(f"  {reason}", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(1)


def _outputs(videos: list[Path], wanted: Path | None, *, ending: str) -> dict[Path, Path]:
    """Where to write for each video: the path itself for one, a name in that folder for several."""
    if wanted is None:
        return {}
    if len(videos) == 1 and not wanted.is_dir() and wanted.suffix:
        return {videos[0]: wanted}
    outputs: dict[Path, Path] = {}
    for video in videos:
        name, number = f"{video.stem}{ending}", 1
        while wanted / name in outputs.values():
            number += 1
            name = f"{video.stem}-{number}{ending}"
        outputs[video] = wanted / name
    return outputs


def _print(console: Console, found: list[Prediction], top: int) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from videozoo.predict.prediction import ranked

    if len(found) > 1 and not any(prediction.windows for prediction in found):
        console.print(_overview(found, top))
        return
    for prediction in found:
        info = prediction.info
        console.print(Text(prediction.id, "bold"), soft_wrap=True)
        console.print(f"{info.duration_s:.1f} s, {info.width_px}x{info.height_px}", style="dim", highlight=False)
        table = Table(box=box.SIMPLE_HEAD, show_edge=False)
        table.add_column("label")
        table.add_column("probability", justify="right")
        table.add_column("")
        for name, score in ranked(prediction.answer, top=top):
            table.add_row(Text(name), f"{score:.1%}", _bar(score))
        console.print(table)
        if prediction.windows:
            console.print(_windows(prediction))
        console.print()


def _overview(found: list[Prediction], top: int) -> Any:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from videozoo.predict.prediction import ranked

    table = Table(box=box.SIMPLE_HEAD, show_edge=False)
    table.add_column("video", overflow="fold")
    table.add_column("label")
    table.add_column("probability", justify="right")
    table.add_column("then", style="dim")
    for prediction in found:
        (name, score), *others = ranked(prediction.answer, top=top)
        then = ", ".join(f"{other} {share:.0%}" for other, share in others)
        table.add_row(Text(prediction.id), Text(name), f"{score:.1%}", Text(then))
    return table


def _windows(prediction: Prediction) -> Any:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from videozoo.predict.prediction import ranked

    table = Table(box=box.SIMPLE_HEAD, show_edge=False)
    table.add_column("from", justify="right")
    table.add_column("to", justify="right")
    table.add_column("label")
    table.add_column("probability", justify="right")
    for window in prediction.windows:
        name, score = ranked(window.answer, top=1)[0]
        table.add_row(f"{window.start_s:.2f} s", f"{window.end_s:.2f} s", Text(name), f"{score:.1%}")
    return table


def _bar(score: float) -> str:
    return "█" * round(20 * min(max(score, 0.0), 1.0))


def _write_json(answers: dict[str, Any], path: Path) -> None:
    import json

    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(answers, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
