"""The options of all verbs that read videos; they take effect when they are parsed."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

from videozoo.io.limits import MAX_PIXELS, set_max_pixels

__all__ = ["MaxPixels"]


def _bound(count: int | None) -> int | None:
    set_max_pixels(count)
    return count


MaxPixels = Annotated[
    Optional[int],  # noqa: UP045 (typer reads it on Python 3.10)
    typer.Option(
        min=1, callback=_bound, help=f"Pixels of a frame above which a file is refused [{MAX_PIXELS}, 8192x8192]."
    ),
]
