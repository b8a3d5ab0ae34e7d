"""Reading, importing and writing weights."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from videozoo.weights.cards import load_card
    from videozoo.weights.importer import convert

__all__ = ["convert", "load_card"]

_HOMES = {"convert": "videozoo.weights.importer", "load_card": "videozoo.weights.cards"}


def __getattr__(name: str) -> Any:  # the command line lists cards without loading torch
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
