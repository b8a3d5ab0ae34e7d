"""`videozoo prepare`: converts data for faster training."""

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

app = typer.Typer(help="Convert data for faster training.", no_args_is_help=True)

Clips = Annotated[
    Path, typer.Argument(help="A folder with one subfolder per class (or train/ and val/), or a list file.")
]
ShortSide = Annotated[
    int, typer.Option(min=0, help="Short side to which larger frames are scaled down; 0 keeps their size.")
]
Root = Annotated[Path | None, typer.Option(help="Folder of a list's relative paths; default the list's folder.")]
ClassNames = Annotated[Path | None, typer.Option(help="File with the class names, one per line.")]
MultiLabel = Annotated[bool, typer.Option("--multi-label", help="Clips of the list have any number of labels.")]
SkipMissing = Annotated[bool, typer.Option("--skip-missing", help="Skip missing videos of a list.")]


@app.callback()
def prepare() -> None:
    """Convert data for faster training."""


@app.command(short_help="Decode videos to folders of JPEG frames.")
def frames(
    data: Clips,
    out: Path = typer.Argument(help="Output folder of the frames and their lists."),
    short_side: ShortSide = 256,
    quality: int = typer.Option(90, min=2, max=95, help="JPEG quality, 2..95."),
    workers: int = typer.Option(os.cpu_count() or 1, min=1, help="Videos decoded in parallel."),
    root: Root = None,
    class_names: ClassNames = None,
    multi_label: MultiLabel = False,
    skip_missing: SkipMissing = False,
) -> None:
    """Decode videos to folders of JPEG frames, with list files for training. Run it again to continue."""
    from videozoo.data.frames import prepare_frames

    write = functools.partial(prepare_frames, short_side_px=short_side or None, quality=quality, num_workers=workers)
    datasets = _read(data, out, root=root, class_names=class_names, multi_label=multi_label, skip_missing=skip_missing)
    _prepare(datasets, out, write, unit="video")


@app.command(short_help="Re-encode videos: smaller, with more key frames.")
def reencode(
    data: Clips,
    out: Path = typer.Argument(help="Output folder of the videos and their lists; keeps the folders of the data."),
    short_side: ShortSide = 256,
    gop: int = typer.Option(10, min=1, help="Distance of key frames, at which decoding can start, in frames."),
    crf: float = typer.Option(20, min=0, max=51, help="Constant quality, from 0 (lossless) to 51."),
    preset: str = typer.Option("medium", help="Preset of x264, from ultrafast to veryslow."),
    workers: int = typer.Option(os.cpu_count() or 1, min=1, help="Videos encoded in parallel."),
    root: Root = None,
    class_names: ClassNames = None,
    multi_label: MultiLabel = False,
    skip_missing: SkipMissing = False,
) -> None:
    """Re-encode videos for training, smaller and with close key frames. Run it again to continue."""
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
    data: str = typer.Argument(help="A recipe, a folder with one subfolder per class, or a list file."),
    out: Path = typer.Argument(help="Output folder of the tar files train-000000.tar, ..."),
    shard_mb: int = typer.Option(500, "--shard-mb", min=1, help="Approximate size of each file in megabytes."),
    workers: int = typer.Option(os.cpu_count() or 1, min=1, help="Videos checked in parallel."),
    root: Root = None,
    class_names: ClassNames = None,
    multi_label: MultiLabel = False,
    skip_missing: SkipMissing = False,
) -> None:
    """Put many videos into few tar files (WebDataset's layout), for slow disks. Run it again to continue."""
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
    """Writes every data set and prints a summary; exit status 1 if a video failed."""
    from videozoo.data.labels import CLASS_FILES
    from videozoo.errors import counted
    from videozoo.io.lock import locked
    from videozoo.io.whole_file import write_whole_text

    names = next(iter(datasets.values())).class_names
    num_failed = 0
    with locked(out):
        if names != tuple(map(str, range(len(names)))):  # numbers are not names
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
        say("failed videos are left out of the lists; replace them and run the command again", err=True)
        raise typer.Exit(1)


def _say_command(out: Path, *, multi_label: bool) -> None:
    """Prints the command that trains on the prepared data, if one folder defines it."""
    import contextlib
    import shlex

    from videozoo.data.prepared import data_section
    from videozoo.errors import ConfigError

    with contextlib.suppress(ConfigError):  # lists of several data sets: the user selects the one for training
        splits = data_section(out)
        overrides = [f"data.{split}.multi_label=true" for split in splits] if multi_label else []
        command = ["videozoo", "train", str(out), *overrides, "--out", str(Path("runs") / out.resolve().name)]
        say(f"train on it: {shlex.join(command)}")


@app.command("yt8m-pkl", short_help="Write YouTube-8M as pickles for PaddleVideo.")
def yt8m_pkl(
    data: str = typer.Argument(help="Frame-level TFRecord shards of YouTube-8M: a folder, a pattern or a list."),
    out: Path = typer.Argument(help="Output folder of the pickles; OUT.list lists them."),
    workers: int = typer.Option(
        os.cpu_count() or 1, min=0, help="Parallel conversion processes; 0 runs in this process."
    ),
) -> None:
    """Write YouTube-8M as PaddleVideo's pickles, one per shard; training here reads the shards directly."""
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
    """Returns the data sets of a recipe, all with the classes of the first one."""
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
            raise ConfigError(f"{name}: data.{split}: holds no video files; shards need video files")
    return found


def _read(
    data: Path, out: Path, *, root: Path | None, class_names: Path | None, multi_label: bool, skip_missing: bool
) -> dict[str, ClipDataset]:
    """Returns the data sets in `data` by the names of their lists; default classes are those of `out`."""
    from videozoo.data.clip_folder import clip_folder, subset_folders
    from videozoo.data.clip_list import clip_list
    from videozoo.data.labels import CLASS_FILES

    kept = out / CLASS_FILES[0]  # a later list of the same data must have the same classes
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
