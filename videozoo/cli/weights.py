"""`videozoo import` and `videozoo export`: weights from other projects, and back to them."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from videozoo.cli.arguments import read_arguments
from videozoo.cli.reading import AllowCode
from videozoo.terminal import console, progress_bars, say

if TYPE_CHECKING:
    import numpy as np

    from videozoo.weights.cards import Card

__all__ = ["export_weights", "import_weights"]


class Source(str, enum.Enum):
    """The projects whose names we know."""

    mit_tsm = "mit_tsm"
    mmaction2 = "mmaction2"
    paddlevideo = "paddlevideo"
    paddlevideo1 = "paddlevideo1"
    pyslowfast = "pyslowfast"
    timesformer = "timesformer"


FILE_ENDINGS = (
    ".bin",
    ".caffemodel",
    ".ckpt",
    ".pdopt",
    ".pdparams",
    ".pkl",
    ".pt",
    ".pth",
    ".pyth",
    ".safetensors",
    ".tar",
)


class Format(str, enum.Enum):
    """What `videozoo export` writes."""

    paddle = "paddle"
    safetensors = "safetensors"


def import_weights(
    file: str = typer.Argument(help="A weight file of another project, or a card of `videozoo list weights`."),
    args: list[str] = typer.Argument(None, help="Of the model: key=value; of its input: input.key=value."),
    model: str = typer.Option(None, "--model", help="The model; a card or a recipe says it, too."),
    source: Source = typer.Option(None, "--source", help="The project that wrote the file; a card says it."),
    second: str = typer.Option(None, "--with", help="A second file or card, where the weights lie in two (bsn)."),
    out: Path = typer.Option(..., "--out", "-o", help="Where to write: a name ending in .safetensors."),
    labels: Path = typer.Option(None, help="A file with the class names, one a line."),
    recipe: str = typer.Option(None, help="A recipe whose input, task and optimizer the file is to carry."),
    refresh: bool = typer.Option(False, "--refresh", help="Download files of cards again, whatever the cache holds."),
) -> None:
    """Convert another project's weights; every name that does not fit is listed, and nothing is written then."""
    from videozoo.errors import ConfigError

    if out.suffix != ".safetensors":
        raise ConfigError(f"--out {out}: published weights are safetensors; give a name ending in .safetensors")
    sections = read_arguments(args or [])
    card = _card(file)
    other = _card(second) if second is not None else None
    for named in (card, other):
        if named is not None and not named.is_usable():
            raise ConfigError(f"{named.name}: this version has no model '{named.model}'; see `videozoo list models`")
    if card is None and source is None:
        raise ConfigError(
            f"import: which project wrote {file} is not said; give --source {'|'.join(s.value for s in Source)}"
        )

    from videozoo.data.labels import read_class_names
    from videozoo.errors import WeightsError, counted
    from videozoo.transforms.input import build_input
    from videozoo.weights.bring import bring
    from videozoo.weights.checkpoint import write_safetensors

    path, state = _read(file, card, refresh=refresh)
    if second is not None:
        _, more = _read(second, other, refresh=refresh)
        if twice := sorted(state.keys() & more.keys()):
            raise WeightsError(
                f"--with {second}: has tensors that {path} has, too ({', '.join(twice[:3])}); give another"
            )
        state |= more
    said = source.value if source is not None else card.source if card is not None else ""
    brought = bring(
        state,
        source=said,
        name=model or (card.model if card is not None else None),
        args={**(card.args if card is not None else {}), **sections["model"]},
        input_args={**(card.input if card is not None else {}), **sections["input"]},
        recipe=recipe,
        class_names=None if labels is None else read_class_names(labels),
    )
    found, name = brought.match, brought.model.name
    for kind, names in found.faults.items():
        say(f"{len(names)} {kind}:", err=True)
        for one in names:
            say(f"  {one}", err=True)
    if found.faults:
        counts = ", ".join(f"{len(names)} {kind}" for kind, names in found.faults.items())
        raise WeightsError(
            f"{path}: does not fit {name} ({counts}, listed above); build the model with the arguments that these "
            "weights were trained with: key=value after the file"
        )
    build_input(brought.record["input"])  # what cannot be built must not be published
    write_safetensors(out, record=brought.record, class_names=brought.class_names, model=brought.model.state_dict())
    classes = f" with {counted(len(brought.class_names), 'class')}" if brought.class_names else ""
    say(f"{out}: {name}{classes}, {counted(len(found.tensors), 'tensor')} from {path}")
    for key, value in brought.added_args.items():
        say(f"  as {said} computes it: {key}={value}")
    for one in found.ignored:
        if not one.endswith("num_batches_tracked"):
            say(f"  not needed: {one}")
    if labels is None and brought.class_names:
        say("classes are called by their numbers; give --labels FILE to name them")
    if card is not None:
        say(f"its publisher states: {card.published}; not measured here")


def export_weights(
    run: Path = typer.Argument(help="A run directory (its best checkpoint is taken) or a weight file."),
    format: Format = typer.Option(Format.safetensors, "--format", help="safetensors, or paddle with original names."),
    source: Source = typer.Option(Source.paddlevideo, "--source", help="Whose names: paddlevideo or paddlevideo1."),
    out: Path = typer.Option(..., "--out", "-o", help="The file to write."),
    allow_code: AllowCode = None,
) -> None:
    """Publish a run's weights, for videozoo or for PaddleVideo."""
    from videozoo.errors import ConfigError, counted

    ending = ".pdparams" if format is Format.paddle else ".safetensors"
    if out.suffix != ending:
        raise ConfigError(f"--out {out}: the format {format.value} is written to a name ending in {ending}")
    if source not in (Source.paddlevideo, Source.paddlevideo1):
        raise ConfigError(f"--source {source.value}: exports have the names of paddlevideo or paddlevideo1")

    from videozoo.weights import checkpoint

    saved = checkpoint.read(run)
    if format is Format.safetensors:
        checkpoint.write_safetensors(
            out, record=saved.record, class_names=saved.class_names, model=saved.model, extractor=saved.extractor
        )
        classes = counted(len(saved.class_names), "class")
        say(f"{out}: {saved.section('model').get('name')} with {classes} from {saved.path}")
        return

    from videozoo.tasks.build import task_from_checkpoint
    from videozoo.weights.exporter import write_pdparams

    task, _ = task_from_checkpoint(saved)
    count = write_pdparams(out, task.model, source=source.value)
    say(f"{out}: {counted(count, 'array')} with the names of {source.value} from {saved.path}")


def _card(file: str) -> Card | None:
    from videozoo.weights.cards import CARDS, find_card

    is_file = Path(file).exists() or Path(file).suffix in FILE_ENDINGS
    return find_card(file) if file in CARDS or not is_file else None


def _read(file: str, card: Card | None, *, refresh: bool) -> tuple[Path, dict[str, np.ndarray]]:
    from videozoo.weights.cards import in_cache
    from videozoo.weights.importer import read_foreign

    if card is None:
        return Path(file), read_foreign(file)
    path = _download(card, refresh=refresh)
    with in_cache():
        return path, read_foreign(path)


def _download(card: Card, *, refresh: bool) -> Path:
    from videozoo.weights.cards import download

    with progress_bars(console(stderr=True), in_bytes=True) as bar:
        shown = bar.add_task(card.name, total=None)
        return download(
            card,
            progress=lambda done, total: bar.update(shown, completed=done, total=total),
            refresh=refresh,
        )
