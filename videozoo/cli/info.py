"""`videozoo list` and `videozoo show`: lists the available parts, and prints resolved recipes."""

from __future__ import annotations

import enum
import sys

import typer

from videozoo.cli.reading import AllowCode

__all__ = ["Kind", "list_parts", "show"]

PIPED_WIDTH = 240  # keeps URLs on one line, for grep


class Kind(str, enum.Enum):
    """The kinds of parts that `videozoo list` lists."""

    recipes = "recipes"
    models = "models"
    tasks = "tasks"
    datasets = "datasets"
    inputs = "inputs"
    optimizers = "optimizers"
    schedules = "schedules"
    weights = "weights"


_HOMES = {
    Kind.models: "videozoo.models.registry:models",
    Kind.tasks: "videozoo.tasks.registry:tasks",
    Kind.datasets: "videozoo.data.registry:datasets",
    Kind.inputs: "videozoo.transforms.registry:inputs",
    Kind.optimizers: "videozoo.engine.registry:optimizers",
    Kind.schedules: "videozoo.engine.registry:schedules",
}


def list_parts(kind: Kind = typer.Argument(Kind.recipes, help="Kind of parts."), allow_code: AllowCode = None) -> None:
    """List the available recipes, models and other parts."""
    import importlib

    from rich import box, print
    from rich.table import Table

    from videozoo.config.recipe import list_recipes, read_header

    if kind is Kind.weights:
        _list_weights()
        return
    table = Table(box=box.SIMPLE_HEAD, show_edge=False)
    table.add_column(kind.value.rstrip("s"), no_wrap=True)
    table.add_column("description")
    if kind is Kind.recipes:
        for name, path in list_recipes().items():
            table.add_row(name, read_header(path).partition("\n")[0])
    else:
        module, _, attribute = _HOMES[kind].partition(":")
        registry = getattr(importlib.import_module(module), attribute)
        for name in registry.names():
            table.add_row(name, registry.summary(name))
    print(table)


def _list_weights() -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from videozoo.weights.cards import CARDS

    table = Table(box=box.SIMPLE_HEAD, show_edge=False)
    table.add_column("weights", no_wrap=True)
    table.add_column("published score, and URL", overflow="fold")
    for name, card in CARDS.items():
        note = "" if card.is_usable() else " (not supported by this version)"
        table.add_row(name, f"{card.published}{note}\n{card.origin} ({card.license})")
    Console(width=None if sys.stdout.isatty() else PIPED_WIDTH).print(table)


def show(
    recipe: str = typer.Argument(help="A packaged recipe's name, a .yaml file, or a folder with one folder per class."),
    overrides: list[str] = typer.Argument(None, help="key=value, e.g. optim.lr=0.01"),
) -> None:
    """Print a resolved recipe, with defaults and sizes filled in; checks all of its keys."""
    import yaml

    from videozoo.config.recipe import load_recipe
    from videozoo.engine.sizes import as_run

    record = as_run(load_recipe(recipe, overrides or ()))
    typer.echo(yaml.safe_dump(record, sort_keys=False, allow_unicode=True, width=100), nl=False)
