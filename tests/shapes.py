"""Checks the shapes in annotations of models, layers and the torch form of the transforms while tests run."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from typing import Any

from beartype import BeartypeConf, beartype
from jaxtyping import install_import_hook

import videozoo

__all__ = ["checked", "install"]

PACKAGES = ("videozoo.layers.", "videozoo.models.", "videozoo.transforms.tensors")
# scans: torch traces no checks
TRACED = ("videozoo.layers.gru", "videozoo.layers.linear", "videozoo.layers.sequence", "videozoo.models.ets")

_check = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int is a float, as type checkers read annotations


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """Checks the arguments of a function that has tensors with shapes; tests give other functions wrong ones."""
    has_shapes = any("[Tensor, " in str(hint) for hint in getattr(function, "__annotations__", {}).values())
    return _check(function) if has_shapes else function


def install() -> None:
    """Checks the modules as they are imported, which they must not be yet."""
    found = []
    for path in ("layers", "models", "transforms"):
        folder = [f"{videozoo.__path__[0]}/{path}"]
        found += [f"videozoo.{path}.{module.name}" for module in pkgutil.iter_modules(folder)]
    modules = [name for name in found if name.startswith(PACKAGES) and name not in TRACED]
    install_import_hook(modules, "tests.shapes.checked")
