"""`videozoo train`: trains a recipe and writes a run directory."""

from __future__ import annotations

import os
from pathlib import Path

import typer

from videozoo.cli.reading import AllowCode
from videozoo.terminal import say

__all__ = ["train"]


def train(
    recipe: str = typer.Argument(
        help="A packaged recipe's name, a .yaml file, or a folder of clips or features with one folder per class."
    ),
    overrides: list[str] = typer.Argument(None, help="key=value, e.g. optim.lr=0.01"),
    out: Path = typer.Option(..., "--out", "-o", help="The run directory."),
    resume: bool = typer.Option(False, "--resume", help="Continue the run in --out."),
    init: Path = typer.Option(None, "--init", help="Checkpoint or run with the initial weights."),
    allow_code: AllowCode = None,
    quiet: bool = typer.Option(False, "--quiet", "-q", help="No progress."),
) -> None:
    """Train a model. SIGTERM and Ctrl-C save a checkpoint, from which --resume continues exactly."""
    from videozoo.config.recipe import load_recipe

    loaded = load_recipe(recipe, overrides or ())
    loaded.resolved()  # reports all mistakes before torch is imported, which takes seconds

    from videozoo.engine.steps import train as run
    from videozoo.errors import counted

    result = run(loaded, out, resume=resume, init=init, progress=not quiet)
    if quiet or os.environ.get("RANK", "0") != "0":  # under torchrun one process prints
        return
    best = f", best {result.best_score:.4g} at step {result.best_step}" if result.best_score is not None else ""
    if result.stopped_by:
        place = f"step {result.step} of {result.total_steps}"
        say(f"{result.out_dir}: {result.stopped_by} after {place}; saved, continue with --resume")
    else:
        say(f"{out}: trained {counted(result.step, 'step')}{best}")
    if result.num_bad:
        say(f"{counted(result.num_bad, 'sample')} could not be used; {out / 'bad_files.txt'} lists them")
