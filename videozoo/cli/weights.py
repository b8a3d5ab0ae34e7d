"""`videozoo import` and `videozoo export`: convert weights from other projects, and back."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from videozoo.cli.arguments import read_arguments
from videozoo.cli.reading import AllowCode
from videozoo.terminal import console, progress_bars, say

if TYPE_CHECKING:
    import numpy as np

    from videozoo.weights.cards import Card
    from videozoo.weights.import_model import ImportedModel
    from videozoo.weights.label_sets import LabelSet

__all__ = ["export_weights", "import_weights"]


class Source(str, enum.Enum):
    """The projects with known tensor names."""

    hiera = "hiera"
    mit_tsm = "mit_tsm"
    mmaction2 = "mmaction2"
    open_clip = "open_clip"
    paddlevideo = "paddlevideo"
    paddlevideo1 = "paddlevideo1"
    pyslowfast = "pyslowfast"
    timesformer = "timesformer"
    torchvision = "torchvision"
    transformers = "transformers"
    transnetv2 = "transnetv2"
    unmasked_teacher = "unmasked_teacher"
    videomae = "videomae"
    vjepa2 = "vjepa2"


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


ENDINGS_OF_GRAPHS = (".onnx", ".xml", ".pt2", ".safetensors")


class Format(str, enum.Enum):
    """The file formats of `videozoo export`."""

    onnx = "onnx"
    openvino = "openvino"
    paddle = "paddle"
    safetensors = "safetensors"
    torch = "torch"


class ExportPrecision(str, enum.Enum):
    """The precisions of exported graphs."""

    fp32 = "fp32"
    fp16 = "fp16"
    int8 = "int8"


def import_weights(
    file: str = typer.Argument(help="A weight file of another project, or a card of `videozoo list weights`."),
    args: list[str] = typer.Argument(None, help="Arguments of the model: key=value; of its input: input.key=value."),
    model: str = typer.Option(
        None, "--model", help="Model name; needed if neither a card, a recipe nor the tensors show it."
    ),
    source: Source = typer.Option(
        None, "--source", help="Source project of the file; needed if neither a card nor the tensors show it."
    ),
    second: str = typer.Option(None, "--with", help="A second file or card, for weights in two files (bsn)."),
    out: Path = typer.Option(..., "--out", "-o", help="The file to write, ending in .safetensors."),
    labels: str = typer.Option(
        None,
        help="A file with the class names, one per line; or a data set: kinetics400, ssv2, ucf101 ...",
    ),
    recipe: str = typer.Option(None, help="A recipe; its input, task and optimizer are stored in the file."),
    refresh: bool = typer.Option(False, "--refresh", help="Download files of cards again, even if cached."),
) -> None:
    """Convert another project's weights; if tensors do not fit, list them all and write nothing."""
    from videozoo.errors import ConfigError

    if out.suffix != ".safetensors":
        raise ConfigError(f"--out {out}: imports are written as safetensors; give a name ending in .safetensors")
    sections = read_arguments(args or [])
    card = _card(file)
    other = _card(second) if second is not None else None

    from videozoo.data.labels import read_class_names
    from videozoo.transforms.input import build_input
    from videozoo.weights.checkpoint import write_safetensors
    from videozoo.weights.import_model import import_model
    from videozoo.weights.transformers import read_description

    named = _label_set(labels, card)
    path, state = _read(file, card, refresh=refresh)
    if second is not None:
        state |= _read_second(second, other, path, state, refresh=refresh)
    project, name = _layout(
        state,
        file,
        source=source.value if source is not None else card.source if card is not None else None,
        model=model or (card.model if card is not None else None),
        recipe=recipe,
    )
    imported = import_model(
        state,
        source=project,
        name=name,
        args={**(card.args if card is not None else {}), **sections["model"]},
        input_args={**(card.input if card is not None else {}), **sections["input"]},
        recipe=recipe or (card.recipe if card is not None else None),
        class_names=read_class_names(Path(labels)) if labels is not None and named is None else None,
        labels=named,
        description=read_description(path.parent) if project == "transformers" and card is None else None,
    )
    _refuse_faults(imported.match.faults, path, imported.model.name)
    build_input(imported.record["input"])  # an invalid input spec raises before the file is written
    write_safetensors(out, record=imported.record, class_names=imported.class_names, model=imported.model.state_dict())
    _report(imported, path, out, project)
    if imported.class_names and imported.class_names[0] == "0":
        say("classes are named by their numbers; give --labels FILE, or a data set such as kinetics400")
    if card is not None:
        say(f"published score: {card.published} (not reproduced here)")


def export_weights(
    run: str = typer.Argument(help="A run directory (its best checkpoint is used) or a weight file."),
    format: Format = typer.Option(
        Format.safetensors,
        "--format",
        help="onnx, openvino or torch (a folder that runs by itself); safetensors; paddle (original names).",
    ),
    source: Source = typer.Option(
        Source.paddlevideo, "--source", help="Names to write in the paddle format: paddlevideo or paddlevideo1."
    ),
    out: Path = typer.Option(..., "--out", "-o", help="The file to write; a folder for onnx, openvino and torch."),
    precision: ExportPrecision = typer.Option(
        ExportPrecision.fp32, "--precision", help="fp32; fp16 (half the size); int8 (a quarter, and faster)."
    ),
    calibrate: Path = typer.Option(
        None, "--calibrate", help="Videos like those to come (a folder, list or video): ranges of int8, and a guard."
    ),
    max_loss: float = typer.Option(
        0.5, "--max-loss", min=0, help="Largest loss on these videos, in points of the score or of agreement with fp32."
    ),
    allow_code: AllowCode = None,
) -> None:
    """Export a run: to other runtimes, as published weights, or for PaddleVideo."""
    from videozoo.errors import ConfigError, counted

    if format in (Format.onnx, Format.openvino, Format.torch):
        if out.suffix in ENDINGS_OF_GRAPHS:
            raise ConfigError(f"--out {out}: the format {format.value} is a folder; give a name without {out.suffix}")
        from videozoo.export.export import export_network

        folder = export_network(
            run, out, runtime=format.value, precision=precision.value, calibrate=calibrate, max_loss=max_loss
        )
        say(f"{folder}: {format.value} from {run}{_precision_note(folder)}")
        return
    if precision is not ExportPrecision.fp32 or calibrate is not None:
        raise ConfigError(f"--format {format.value}: holds weights in fp32; --precision and --calibrate are for graphs")
    ending = ".pdparams" if format is Format.paddle else ".safetensors"
    if out.suffix != ending:
        raise ConfigError(f"--out {out}: the format {format.value} is written to a name ending in {ending}")
    if source not in (Source.paddlevideo, Source.paddlevideo1):
        raise ConfigError(f"--source {source.value}: exports take the names of paddlevideo or paddlevideo1")

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


def _precision_note(folder: Path) -> str:
    """Returns what an export lost by its precision, for the end of a line."""
    from videozoo.runtimes.folder import EXTRACTOR_FOLDER, read_description

    told = read_description(folder)
    if told["precision"] == "fp32" and told.get("has_extractor"):
        told = read_description(folder / EXTRACTOR_FOLDER)
    if (calibration := told.get("calibration")) is None:
        return "" if told["precision"] == "fp32" else f" in {told['precision']}"
    return (
        f" in {told['precision']}: {calibration['loss']:.2f} points of {calibration['score']} lost on "
        f"{calibration['num_videos']} videos of {calibration['data']}"
    )


def _card(file: str) -> Card | None:
    """Returns the card of this name, or None if `file` is a file.

    Raises:
        ConfigError: there is no such card, or its model is not in this version.
    """
    from videozoo.errors import ConfigError
    from videozoo.weights.cards import CARDS, find_card

    if file not in CARDS and (Path(file).exists() or Path(file).suffix in FILE_ENDINGS):
        return None
    card = find_card(file)
    if not card.is_usable():
        raise ConfigError(f"{card.name}: this version has no model '{card.model}'; see `videozoo list models`")
    return card


def _label_set(labels: str | None, card: Card | None) -> LabelSet | None:
    """Returns the label set of this name, by default that of the card; None for a file."""
    from videozoo.weights.label_sets import LABEL_SETS, label_set

    if labels is None:
        return label_set(card.labels) if card is not None and card.labels is not None else None
    return None if labels not in LABEL_SETS and (Path(labels).exists() or Path(labels).suffix) else label_set(labels)


def _layout(
    state: Mapping[str, np.ndarray], file: str, *, source: str | None, model: str | None, recipe: str | None
) -> tuple[str, str | None]:
    """Returns the project that wrote a file and the model in it; the tensors show them where they are not given.

    Raises:
        ConfigError: neither the arguments nor the tensors tell the project.
    """
    from videozoo.errors import ConfigError
    from videozoo.weights.keymap import find_layout

    if source is not None and (model is not None or recipe is not None):
        return source, model
    found = find_layout(state, source=source, model=model)
    if len(found) == 1:
        return found[0][0], found[0][1] if recipe is None else model
    if source is None:
        raise ConfigError(
            f"import: cannot tell which project {file} comes from; give --source {'|'.join(s.value for s in Source)}"
        )
    return source, model


def _read(file: str, card: Card | None, *, refresh: bool) -> tuple[Path, dict[str, np.ndarray]]:
    from videozoo.weights.cards import in_cache
    from videozoo.weights.importer import read_foreign

    if card is None:
        return Path(file), read_foreign(file)
    path = _download(card, refresh=refresh)
    with in_cache():
        return path, read_foreign(path)


def _read_second(
    file: str, card: Card | None, first: Path, state: Mapping[str, np.ndarray], *, refresh: bool
) -> dict[str, np.ndarray]:
    """Reads the second file of weights in two files.

    Raises:
        WeightsError: a tensor of it is also in `state`, the content of `first`.
    """
    from videozoo.errors import WeightsError

    _, more = _read(file, card, refresh=refresh)
    if duplicates := sorted(state.keys() & more.keys()):
        raise WeightsError(
            f"--with {file}: has tensors that are also in {first} ({', '.join(duplicates[:3])}); give another file"
        )
    return more


def _refuse_faults(faults: Mapping[str, Sequence[str]], path: Path, model: str) -> None:
    """Lists the tensors that do not fit, by kind of fault.

    Raises:
        WeightsError: there are any.
    """
    from videozoo.errors import WeightsError

    for kind, names in faults.items():
        say(f"{len(names)} {kind}:", err=True)
        for name in names:
            say(f"  {name}", err=True)
    if faults:
        counts = ", ".join(f"{len(names)} {kind}" for kind, names in faults.items())
        raise WeightsError(
            f"{path}: does not fit {model} ({counts}, listed above); build the model with the arguments that these "
            "weights were trained with: key=value after the file"
        )


def _report(imported: ImportedModel, path: Path, out: Path, project: str) -> None:
    """Prints the imported model, the arguments that were added, and the tensors that were not needed."""
    from videozoo.errors import counted

    classes = f" with {counted(len(imported.class_names), 'class')}" if imported.class_names else ""
    say(f"{out}: {imported.model.name}{classes}, {counted(len(imported.match.tensors), 'tensor')} from {path}")
    for key, value in imported.added_args.items():
        say(f"  as {project} computes it: {key}={value}")
    for name in imported.match.ignored:
        if not name.endswith("num_batches_tracked"):
            say(f"  not needed: {name}")


def _download(card: Card, *, refresh: bool) -> Path:
    from videozoo.weights.cards import download

    with progress_bars(console(stderr=True), in_bytes=True) as bar:
        shown = bar.add_task(card.name, total=None)
        return download(
            card,
            progress=lambda done, total: bar.update(shown, completed=done, total=total),
            refresh=refresh,
        )
