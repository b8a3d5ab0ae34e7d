"""`videozoo prepare`: data made ready once, so that training reads it faster."""

from __future__ import annotations

import functools
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from videozoo.data.dataset import ClipDataset

__all__ = ["app", "frames"]

app = typer.Typer(help="Make data ready for training.", no_args_is_help=True)


@app.callback()
def prepare() -> None:
    """Make data ready for training."""


@app.command()
def frames(
    data: Path = typer.Argument(help="A folder with one sub-folder a class (or train/ and val/), or a list file."),
    out: Path = typer.Argument(help="Where the frames and their lists go."),
    short_side: int = typer.Option(256, min=0, help="Frames are scaled down to this short side; 0 leaves them."),
    quality: int = typer.Option(90, min=2, max=95, help="JPEG quality; 95 is the best and largest."),
    workers: int = typer.Option(os.cpu_count() or 1, min=1, help="Videos decoded at the same time."),
    root: Path = typer.Option(None, help="Where a list's relative paths start; its own folder by default."),
    class_names: Path = typer.Option(None, help="A file with the class names, one a line."),
    multi_label: bool = typer.Option(False, "--multi-label", help="A list's clips have any number of labels."),
    skip_missing: bool = typer.Option(False, "--skip-missing", help="Leave out a list's videos that are not there."),
) -> None:
    """Decode videos to folders of JPEG frames, with list files to train from. Run it again to go on."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from videozoo.data.frames import prepare_frames
    from videozoo.data.labels import CLASS_FILES

    class_file = out / CLASS_FILES[0]
    if class_names is None and class_file.is_file():
        class_names = class_file  # a later list of the same data must mean the same classes
    datasets = _read(data, root=root, class_names=class_names, multi_label=multi_label, skip_missing=skip_missing)
    names = next(iter(datasets.values())).class_names
    if names != tuple(map(str, range(len(names)))):  # numbers are no names
        out.mkdir(parents=True, exist_ok=True)
        class_file.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    num_failed = 0
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    for name, dataset in datasets.items():
        with Progress(*columns, transient=True, disable=not sys.stdout.isatty()) as progress:
            total = len({record.path for record in dataset if record.num_frames is None})
            progress.add_task(name, total=total)
            made = prepare_frames(
                dataset,
                out,
                name,
                short_side_px=short_side or None,
                quality=quality,
                num_workers=workers,
                on_done=functools.partial(progress.advance, progress.task_ids[0]),
            )
        typer.echo(f"{made.path}: {made.num_written} videos written, {made.num_kept} kept, {len(made.failed)} failed")
        for video, reason in made.failed.items():
            typer.echo(f"  failed: {video}: {reason}", err=True)
        num_failed += len(made.failed)
    if num_failed:
        typer.echo("failed videos are left out of the lists; fetch them again and run the command again", err=True)
        raise typer.Exit(1)


def _read(
    data: Path, *, root: Path | None, class_names: Path | None, multi_label: bool, skip_missing: bool
) -> dict[str, ClipDataset]:
    """The data sets in `data` by the names of their lists."""
    from videozoo.data.clip_folder import clip_folder, subset_folders
    from videozoo.data.clip_list import clip_list
    from videozoo.data.labels import CLASS_FILES

    if data.is_dir() and subset_folders(data):
        train = clip_folder(data, subset="train", class_names=class_names)
        return {"train": train, "val": clip_folder(data, subset="val", class_names=train.class_names)}
    name = data.resolve().name if data.is_dir() else data.stem
    if f"{name}.txt" in CLASS_FILES:
        name = "clips"
    if data.is_dir():
        return {name: clip_folder(data, class_names=class_names)}
    found = clip_list(
        data,
        root=root,
        class_names=class_names,
        multi_label=multi_label,
        missing="skip" if skip_missing else "error",
    )
    return {name: found}
