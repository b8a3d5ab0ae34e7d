"""`videozoo train`: a recipe in, a run directory out."""

from __future__ import annotations

import os
from pathlib import Path

import typer

from videozoo.cli.reading import AllowCode
from videozoo.terminal import say

__all__ = ["train"]


def train(
    recipe: str = typer.Argument(help="A packaged recipe's name, a .yaml file, or a folder with one folder a class."),
    overrides: list[str] = typer.Argument(None, help="key=value, e.g. optim.lr=0.01"),
    out: Path = typer.Option(..., "--out", "-o", help="The run directory."),
    resume: bool = typer.Option(False, "--resume", help="Go on where the run in --out stopped."),
    init: Path = typer.Option(None, "--init", help="A checkpoint or run to start the weights from."),
    allow_code: AllowCode = None,
    quiet: bool = typer.Option(False, "--quiet", "-q", help="No progress."),
) -> None:
    """Train a model; SIGTERM or Ctrl-C save first, --resume then goes on as if nothing had happened."""
    from videozoo.config.recipe import load_recipe

    loaded = load_recipe(recipe, overrides or ())
    loaded.resolved()  # every mistake in it, before the seconds that torch takes to load

    from videozoo.engine.steps import train as run
    from videozoo.errors import counted

    result = run(loaded, out, resume=resume, init=init, progress=not quiet)
    if quiet or os.environ.get("RANK", "0") != "0":  # under torchrun one process speaks
        return
    best = f", best {result.best_score:.4g} at step {result.best_step}" if result.best_score is not None else ""
    if result.stopped_by:
        place = f"step {result.step} of {result.total_steps}"
        say(f"{result.out_dir}: {result.stopped_by} after {place}; saved, go on with --resume")
    else:
        say(f"{out}: trained {counted(result.step, 'step')}{best}")
    if result.num_bad:
        say(f"{counted(result.num_bad, 'sample')} could not be used; {out / 'bad_files.txt'} lists them")
