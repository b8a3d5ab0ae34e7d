"""`videozoo runs`: prints a table of the runs in a folder, and draws their curves."""

from __future__ import annotations

from pathlib import Path

import typer

from videozoo.terminal import console, say

__all__ = ["runs"]


def runs(
    folder: Path = typer.Argument(Path("runs"), help="A run, or a folder with runs at any depth."),
    plot: Path = typer.Option(None, "--plot", help="PNG file for the curves of loss and scores."),
    sort: bool = typer.Option(False, "--sort", help="Sort by the first score, best first."),
) -> None:
    """List runs with their best scores and progress."""
    from rich import box
    from rich.table import Table

    from videozoo.report.curves import find_runs, plot_curves

    found = find_runs(folder)
    if sort:
        found.sort(key=lambda run: -next(iter(run.best.values()), float("-inf")))
    table = Table(box=box.SIMPLE_HEAD, show_edge=False)
    for column in ("run", "model", "data", "best scores", "at step", "steps", "status"):
        table.add_column(column, overflow="fold")
    for run in found:
        table.add_row(
            run.name,
            run.model,
            run.data,
            "  ".join(f"{name} {value:.4g}" for name, value in run.best.items()) or "none yet",
            "" if run.best_step is None else str(run.best_step),
            f"{run.step}/{run.total_steps or '?'}",
            run.status,
        )
    on_terminal = console()
    on_terminal.print(table) if on_terminal.is_terminal else console(width=200).print(table)
    if plot is not None:
        say(str(plot_curves(found, plot)))
