"""`videozoo prepare`: data made ready once, so that training reads it faster."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from videozoo.terminal import console, progress_bars, say

if TYPE_CHECKING:
    from videozoo.data.dataset import ClipDataset

__all__ = ["app", "frames", "reencode", "shards"]

app = typer.Typer(help="Make data ready for training.", no_args_is_help=True)

Clips = Annotated[
    Path, typer.Argument(help="A folder with one sub-folder a class (or train/ and val/), or a list file.")
]
ShortSide = Annotated[int, typer.Option(min=0, help="Frames are scaled down to this short side; 0 leaves them.")]
Root = Annotated[Path | None, typer.Option(help="Where a list's relative paths start; its own folder by default.")]
ClassNames = Annotated[Path | None, typer.Option(help="A file with the class names, one a line.")]
MultiLabel = Annotated[bool, typer.Option("--multi-label", help="A list's clips have any number of labels.")]
SkipMissing = Annotated[bool, typer.Option("--skip-missing", help="Leave out a list's videos that are not there.")]


@app.callback()
def prepare() -> None:
    """Make data ready for training."""


@app.command(short_help="Decode videos to folders of JPEG frames.")
def frames(
    data: Clips,
    out: Path = typer.Argument(help="Where the frames and their lists go."),
    short_side: ShortSide = 256,
    quality: int = typer.Option(90, min=2, max=95, help="JPEG quality; 95 is the best and largest."),
    workers: int = typer.Option(os.cpu_count() or 1, min=1, help="Videos decoded at the same time."),
    root: Root = None,
    class_names: ClassNames = None,
    multi_label: MultiLabel = False,
    skip_missing: SkipMissing = False,
) -> None:
    """Decode videos to folders of JPEG frames, with list files to train from. Run it again to go on."""
    from videozoo.data.frames import prepare_frames

    write = functools.partial(prepare_frames, short_side_px=short_side or None, quality=quality, num_workers=workers)
    datasets = _read(data, out, root=root, class_names=class_names, multi_label=multi_label, skip_missing=skip_missing)
    _prepare(datasets, out, write, unit="video")


@app.command(short_help="Encode videos smaller, with more key frames.")
def reencode(
    data: Clips,
    out: Path = typer.Argument(help="Where the videos and their lists go; folders are as in the data."),
    short_side: ShortSide = 256,
    gop: int = typer.Option(10, min=1, help="Frames from one key frame, where decoding can start, to the next."),
    crf: float = typer.Option(20, min=0, max=51, help="Quality: 0 loses nothing, 51 is the worst and smallest."),
    preset: str = typer.Option("medium", help="x264's, from ultrafast to veryslow."),
    workers: int = typer.Option(os.cpu_count() or 1, min=1, help="Videos encoded at the same time."),
    root: Root = None,
    class_names: ClassNames = None,
    multi_label: MultiLabel = False,
    skip_missing: SkipMissing = False,
) -> None:
    """Encode videos anew, smaller and with key frames close together, to train from. Run it again to go on."""
    from videozoo.data.frames import convert_videos
    from videozoo.io.reencode import reencode as encode

    made = functools.partial(encode, short_side_px=short_side or None, gop_frames=gop, crf=crf, preset=preset)
    write = functools.partial(
        convert_videos, write=lambda video, place: (None, made(video, place)), suffix=".mp4", num_workers=workers
    )
    datasets = _read(data, out, root=root, class_names=class_names, multi_label=multi_label, skip_missing=skip_missing)
    _prepare(datasets, out, write, unit="video")


@app.command(short_help="Put many videos into few tar files.")
def shards(
    data: str = typer.Argument(help="A recipe, a folder with one sub-folder a class, or a list file."),
    out: Path = typer.Argument(help="Where the tar files go: train-000000.tar, ..."),
    shard_mb: int = typer.Option(500, "--shard-mb", min=1, help="Megabytes of video in each file, about."),
    workers: int = typer.Option(os.cpu_count() or 1, min=1, help="Videos checked at the same time."),
    root: Root = None,
    class_names: ClassNames = None,
    multi_label: MultiLabel = False,
    skip_missing: SkipMissing = False,
) -> None:
    """Put many videos into few tar files (WebDataset's layout), for big sets and slow disks. Run it again to go on."""
    from videozoo.data.shards import write_shards

    if data.endswith((".yaml", ".yml")) or not Path(data).exists():
        datasets = _read_recipe(data)
    else:
        datasets = _read(
            Path(data), out, root=root, class_names=class_names, multi_label=multi_label, skip_missing=skip_missing
        )
    _prepare(
        datasets,
        out,
        functools.partial(write_shards, shard_bytes=shard_mb * 1_000_000, num_workers=workers),
        unit="shard",
    )


def _prepare(datasets: Mapping[str, ClipDataset], out: Path, write: Callable[..., Any], *, unit: str) -> None:
    """Writes every data set, and says how it went; exit status 1 if a video could not be used."""
    from videozoo.data.labels import CLASS_FILES
    from videozoo.errors import counted
    from videozoo.io.lock import locked
    from videozoo.io.whole_file import write_whole_text

    names = next(iter(datasets.values())).class_names
    num_failed = 0
    with locked(out):
        if names != tuple(map(str, range(len(names)))):  # numbers are no names
            write_whole_text(out / CLASS_FILES[0], "".join(f"{name}\n" for name in names))
        for name, dataset in datasets.items():
            with progress_bars(console(stderr=True)) as progress:
                total = len({record.path for record in dataset if record.num_frames is None})
                progress.add_task(name, total=total)
                made = write(dataset, out, name, on_done=functools.partial(progress.advance, progress.task_ids[0]))
            place = made.path if unit == "video" else out / f"{name}-*.tar"
            written = counted(made.num_written, unit)
            say(f"{place}: {written} written, {made.num_kept} kept, {len(made.failed)} failed")
            for video, reason in made.failed.items():
                say(f"  failed: {video}: {reason}", err=True)
            num_failed += len(made.failed)
    _say_command(out, multi_label=any(dataset.multi_label for dataset in datasets.values()))
    if num_failed:
        say("failed videos are left out of the lists; fetch them again and run the command again", err=True)
        raise typer.Exit(1)


def _say_command(out: Path, *, multi_label: bool) -> None:
    """Prints the command that trains from what was prepared, where one folder says it all."""
    import contextlib
    import shlex

    from videozoo.data.prepared import data_section
    from videozoo.errors import ConfigError

    with contextlib.suppress(ConfigError):  # lists of several sets: which one is for training is the user's to say
        splits = data_section(out)
        overrides = [f"data.{split}.multi_label=true" for split in splits] if multi_label else []
        command = ["videozoo", "train", str(out), *overrides, "--out", str(Path("runs") / out.resolve().name)]
        say(f"train from it: {shlex.join(command)}")


@app.command("yt8m-pkl", short_help="Write the pickles of YouTube-8M that PaddleVideo reads.")
def yt8m_pkl(
    data: str = typer.Argument(help="YouTube-8M's frame-level TFRecord shards: a folder, a pattern or a list."),
    out: Path = typer.Argument(help="Where the pickles go; beside it, OUT.list names them."),
    workers: int = typer.Option(os.cpu_count() or 1, min=0, help="Shards converted at the same time; 0: none beside."),
) -> None:
    """Write PaddleVideo's pickles of YouTube-8M, one a shard; training reads the shards themselves."""
    from videozoo.data.youtube8m import find_shards
    from videozoo.data.youtube8m_pkl import write_pickles
    from videozoo.io.whole_file import write_whole_text

    num_bad = 0
    names = []
    for path, count, bad in write_pickles(find_shards(data, ("*.tfrecord", "*.tfrecord.gz")), out, num_workers=workers):
        say(f"{path}: {count} videos")
        names.append(f"{path.resolve()}\n")
        num_bad += len(bad)
        for reason in bad:
            say(f"  left out: {reason}", err=True)
    list_path = out.with_name(f"{out.name}.list")
    write_whole_text(list_path, "".join(names))
    say(f"{list_path}: lists {len(names)} pickles")
    if num_bad:
        raise typer.Exit(1)


def _read_recipe(name: str) -> dict[str, ClipDataset]:
    """The data sets of a recipe, all with the classes of the first."""
    from videozoo.config.check import accepted, build
    from videozoo.config.recipe import load_recipe
    from videozoo.contracts.record import ClipRecord
    from videozoo.data.registry import datasets
    from videozoo.errors import ConfigError

    found: dict[str, ClipDataset] = {}
    for split, args in load_recipe(name).data.items():
        rest = dict(args)
        part = datasets.get(rest.pop("name", ""))
        given = {}
        if found and "class_names" in accepted(part) and "class_names" not in rest:
            given["class_names"] = next(iter(found.values())).class_names
        found[split] = build(part, rest, where=f"{name}: data.{split}", **given)
        if not isinstance(found[split][0], ClipRecord):
            raise ConfigError(f"{name}: data.{split}: holds no video files; shards are made of those")
    return found


def _read(
    data: Path, out: Path, *, root: Path | None, class_names: Path | None, multi_label: bool, skip_missing: bool
) -> dict[str, ClipDataset]:
    """The data sets in `data` by the names of their lists; classes are those that `out` knows, if nothing is said."""
    from videozoo.data.clip_folder import clip_folder, subset_folders
    from videozoo.data.clip_list import clip_list
    from videozoo.data.labels import CLASS_FILES

    kept = out / CLASS_FILES[0]  # a later list of the same data must mean the same classes
    if class_names is None and kept.is_file():
        class_names = kept
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
