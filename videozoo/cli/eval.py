"""`videozoo eval`: scores a run on held-out data and writes a report."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from videozoo.cli.reading import AllowCode, MaxPixels, Strict
from videozoo.terminal import console, paused, progress_bars, write_json

if TYPE_CHECKING:
    from videozoo.engine.evaluate import Evaluation

__all__ = ["Precision", "Split", "evaluate_command"]


class Split(str, enum.Enum):
    """The splits of a recipe."""

    train = "train"
    val = "val"
    test = "test"


class Precision(str, enum.Enum):
    """Number formats of the forward pass."""

    fp32 = "fp32"
    bf16 = "bf16"
    fp16 = "fp16"


def evaluate_command(
    run: Path = typer.Argument(help="A run directory (its best checkpoint is used) or a weight file."),
    overrides: list[str] = typer.Argument(
        None, help="input.key=value, task.key=value or data.val.key=value, to differ from training."
    ),
    data: Path = typer.Option(None, help="A folder with one folder per class, or a list file; default the run's data."),
    split: Split = typer.Option(Split.val, help="Split of the data."),
    views: str = typer.Option(
        None, help="Views per video (clips x crops), e.g. 10x3; default those of the run's input."
    ),
    batch_size: int = typer.Option(None, min=1, help="Samples per batch; default as many views as in training."),
    num_workers: int = typer.Option(None, min=0, help="Decoding processes; default as in training."),
    allow_code: AllowCode = None,
    max_pixels: MaxPixels = None,
    strict: Strict = False,
    device: str = typer.Option("auto", help="cpu, cuda, cuda:1, mps or auto."),
    group_by: str = typer.Option(
        None,
        help="Column of the data with the recording of each sample, or a regular expression whose first group in the "
        "id or file name is the recording; clips of one recording are not independent. Default one per sample.",
    ),
    precision: Precision = typer.Option(Precision.fp32, help="Number format of the forward pass."),
    out: Path = typer.Option(None, help="Folder of the report; default RUN/eval/SPLIT, with the views if given."),
    as_json: bool = typer.Option(False, "--json", help="Print the scores as JSON on stdout, and nothing else."),
) -> None:
    """Score a trained model: scores with intervals, per class, confusions; writes JSON and an HTML page."""
    from videozoo.engine.evaluate_run import EvalOptions, evaluate_run, report_dir

    changes: dict[str, Any] = _changes(overrides or (), split=split.value)
    options = EvalOptions(
        data=data,
        split=split.value,
        views=views,
        **changes,
        batch_size=batch_size,
        num_workers=num_workers,
        device=device,
        group_by=group_by,
        precision=precision.value,
    )
    folder = report_dir(run, options) if out is None else out
    with progress_bars(console(stderr=True)) as bar:
        task = bar.add_task(f"evaluating {run}", total=None)

        def show(found: Evaluation) -> None:
            with paused(bar):
                _print_json(found, folder) if as_json else _print(found, folder)

        evaluate_run(
            run,
            options,
            out=folder,
            on_scores=show,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )


def _print_json(found: Evaluation, folder: Path) -> None:
    import json

    summary = {
        "scores": dict(found.scores),
        "intervals": {name: [i.low, i.high] for name, i in found.intervals.items()},
        "notes": found.notes(),
        "num_scored": found.num_scored,
        "num_total": found.num_total,
        "not_scored": [{"id": id_, "reason": reason} for id_, reason in found.not_scored],
        "report": str(folder / "report.html"),
    }
    write_json(json.dumps(summary, indent=1, ensure_ascii=False) + "\n")


def _print(found: Evaluation, folder: Path) -> None:
    from rich.table import Table

    from videozoo.data.files import some_of
    from videozoo.report.evaluation import by_reason

    stdout, intervals = console(), found.intervals
    table = Table("score", "value", "95 % interval", box=None, header_style="dim")
    for name, score in found.scores.items():
        span = intervals.get(name)
        table.add_row(name, f"{score:.2f}", f"{span.low:.2f} to {span.high:.2f}" if span else "")
    stdout.print(table)
    for note in found.notes():
        stdout.print(f"note: {note}", soft_wrap=True)
    stdout.print(f"{found.coverage} in {found.seconds:.1f} s")
    lost = by_reason(found.not_scored)
    for reason, ids in list(lost.items())[:10]:
        stdout.print(f"  not scored: {some_of(ids, 3)}: {reason}", style="yellow")
    if len(lost) > 10:
        more = sum(map(len, list(lost.values())[10:]))
        stdout.print(f"  and {more} more, listed in the report", style="yellow")
    stdout.print(f"report: {folder / 'report.html'}", soft_wrap=True)


def _changes(overrides: Sequence[str], *, split: str) -> dict[str, dict[str, Any]]:
    """Returns `input_args`, `task_args` and `data_args` from the overrides of a finished run."""
    from videozoo.config.recipe import SECTIONS, SPLITS, read_overrides
    from videozoo.errors import ConfigError, did_you_mean

    takes = f"give input.key=value, task.key=value or data.{split}.key=value"
    for override in overrides:
        section, *rest = override.partition("=")[0].split(".")
        if section not in ("input", "task", "data"):
            hint = f"; {takes}" if section in (*SECTIONS, "seed") else did_you_mean(section, ("input", "task", "data"))
            raise ConfigError(f"eval: '{override}' cannot change after training{hint}")
        if section == "data" and rest and rest[0] not in SPLITS:
            raise ConfigError(f"eval: '{override}': there is no split '{rest[0]}'{did_you_mean(rest[0], SPLITS)}")
        if section == "data" and rest and rest[0] != split:
            raise ConfigError(f"eval: '{override}' does not apply to data.{split}; give --split {rest[0]}")
        if len(rest) < (2 if section == "data" else 1):
            raise ConfigError(f"eval: '{override}' has no key; {takes}")
    found = read_overrides(overrides)
    data = found.get("data", {}).get(split, {})
    return {"input_args": found.get("input", {}), "task_args": found.get("task", {}), "data_args": data}
