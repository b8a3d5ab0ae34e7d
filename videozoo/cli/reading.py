"""Options and reports of all commands that read videos; the options take effect when they are parsed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from videozoo.io.limits import MAX_PIXELS, set_max_pixels, set_strict

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["AllowCode", "MaxPixels", "Strict", "print_damage", "print_problems"]


def _bound(count: int | None) -> int | None:
    set_max_pixels(count)
    return count


def _strict(strict: bool) -> bool:
    set_strict(strict)
    return strict


def _allow(modules: list[str] | None) -> list[str] | None:
    if modules:
        from videozoo.config.uses import import_modules

        import_modules(modules, where="--allow-code")
    return modules


AllowCode = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option("--allow-code", callback=_allow, help="Import this module with your own parts; may be repeated."),
]
MaxPixels = Annotated[
    Optional[int],  # noqa: UP045 (typer reads it on Python 3.10)
    typer.Option(min=1, callback=_bound, help=f"Largest number of pixels per frame; default {MAX_PIXELS} (8192x8192)."),
]
Strict = Annotated[bool, typer.Option("--strict", callback=_strict, help="Refuse videos with concealed damage.")]


def print_problems(notes: Console, title: str, reasons: Iterable[str]) -> None:
    """Prints reasons below a title, if there are any."""
    lines = list(reasons)
    if lines:
        notes.print(title, style="red")
    for line in lines:
        notes.print(f"  {line}", soft_wrap=True)


def print_damage(notes: Console, damaged: Mapping[str, int]) -> None:
    """Prints the number of frames with concealed damage, by video."""
    from videozoo.errors import counted

    lines = (f"{name}: {counted(number, 'frame')}" for name, number in damaged.items())
    print_problems(notes, "damage concealed by the decoder (--strict makes it an error):", lines)
