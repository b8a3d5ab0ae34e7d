"""The options of all verbs that read videos; they take effect when they are parsed."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

from videozoo.io.limits import MAX_PIXELS, set_max_pixels, set_strict

__all__ = ["MaxPixels", "Strict"]


def _bound(count: int | None) -> int | None:
    set_max_pixels(count)
    return count


def _strict(strict: bool) -> bool:
    set_strict(strict)
    return strict


MaxPixels = Annotated[
    Optional[int],  # noqa: UP045 (typer reads it on Python 3.10)
    typer.Option(
        min=1, callback=_bound, help=f"Pixels of a frame above which a file is refused [{MAX_PIXELS}, 8192x8192]."
    ),
]
Strict = Annotated[
    bool, typer.Option("--strict", callback=_strict, help="Refuse videos with damage that the decoder conceals.")
]
