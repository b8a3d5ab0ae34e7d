"""Checks the shapes in annotations of models, layers and the torch form of the transforms while tests run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from beartype import BeartypeConf, beartype
from jaxtyping import install_import_hook

__all__ = ["checked", "install"]

PACKAGES = ("videozoo.layers", "videozoo.models", "videozoo.transforms.tensors")

_check = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int is a float, as type checkers read annotations


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """Checks the arguments of a function that has tensors with shapes; tests give other functions wrong ones."""
    has_shapes = any("[Tensor, " in str(hint) for hint in getattr(function, "__annotations__", {}).values())
    return _check(function) if has_shapes else function


def install() -> None:
    """Checks the packages as they are imported, which they must not be yet."""
    install_import_hook(PACKAGES, "tests.shapes.checked")
