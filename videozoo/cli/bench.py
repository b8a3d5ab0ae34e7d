"""`videozoo bench`: where the time goes."""

from __future__ import annotations

import typer

__all__ = ["app"]

app = typer.Typer(help="Measure where the time goes.", no_args_is_help=True)


@app.callback()
def bench() -> None:
    """Measure where the time goes."""
