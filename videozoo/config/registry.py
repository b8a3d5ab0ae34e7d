"""Parts that a recipe may name: found by reading source text, imported only when built."""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from videozoo.errors import ConfigError, did_you_mean

__all__ = ["Registry"]

T = TypeVar("T", bound=Callable[..., Any])


class Registry:
    """The functions and classes in one package that carry this registry's decorator.

    `names()` parses the package's files for decorated definitions instead of importing them, so that listing and
    spell-checking never load torch; `get()` imports the one module that defines the name.

        models = Registry("model", "videozoo.models", decorator="register_model")
        register_model = models.register
    """

    def __init__(self, kind: str, package: str, *, decorator: str, suffix: str = ""):
        self.kind = kind
        self.package = package
        self.decorator = decorator
        self.suffix = suffix  # left out of the names: `ClipInput` is "clip" where the suffix is "Input"
        self._entries: dict[str, Callable[..., Any]] = {}

    def register(self, part: T) -> T:
        """Enters a function or class under its own name, in lower case with underscores; used as a decorator.

        Raises:
            ConfigError: a different part already has this name, even one that is not imported yet.
        """
        name = self._name_of(part.__name__)
        self._check_free(name, part)
        self._entries[name] = part
        part.recipe_name = name  # type: ignore[attr-defined]  # the name in error messages
        return part

    def _check_free(self, name: str, part: Callable[..., Any]) -> None:
        """Refuses a name that is taken. A definition that runs again (in a notebook) replaces itself."""
        known = self._entries.get(name)
        home = self._found().get(name) if known is None else known.__module__
        if home in (None, part.__module__) and (known is None or known.__qualname__ == part.__qualname__):
            return
        places = f"{home} and in {part.__module__}" if home != part.__module__ else f"{home} twice"
        raise ConfigError(f"{self.kind} '{name}': is defined in {places}; rename one of them")

    def names(self) -> list[str]:
        """Returns all names, sorted, including parts registered by a user's own code."""
        return sorted({**self._found(), **self._entries})

    def get(self, name: str) -> Callable[..., Any]:
        """Returns the part called `name`.

        Raises:
            ConfigError: there is no such part; the message suggests the nearest name.
        """
        if name not in self._entries:
            module = self._found().get(name)
            if module is None:
                raise ConfigError(f"{self.kind}: there is no '{name}'{did_you_mean(name, self.names())}")
            importlib.import_module(module)
        return self._entries[name]

    def summary(self, name: str) -> str:
        """Returns the first line of a part's docstring, read without importing it."""
        module = self._found().get(name)
        if module is None:
            return (self._entries[name].__doc__ or "").strip().partition("\n")[0]
        for node in _decorated(_source_of(module), self.decorator):
            if self._name_of(node.name) == name:
                return (ast.get_docstring(node) or "").partition("\n")[0]
        return ""

    @functools.lru_cache(maxsize=1)  # noqa: B019  (registries live as long as the process)
    def _found(self) -> dict[str, str]:
        spec = importlib.util.find_spec(self.package)
        if spec is None or not spec.submodule_search_locations:
            return {}
        found: dict[str, str] = {}
        for path in sorted(Path(spec.submodule_search_locations[0]).glob("*.py")):
            module = self.package if path.stem == "__init__" else f"{self.package}.{path.stem}"
            for node in _decorated(path, self.decorator):
                found[self._name_of(node.name)] = module
        return found

    def _name_of(self, defined: str) -> str:
        return _snake(defined.removesuffix(self.suffix))


def _decorated(path: Path, decorator: str) -> list[ast.FunctionDef | ast.ClassDef]:
    text = path.read_text(encoding="utf-8")
    if f"@{decorator}" not in text:
        return []
    return [
        node
        for node in ast.parse(text).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
        and any(isinstance(d, ast.Name) and d.id == decorator for d in node.decorator_list)
    ]


def _source_of(module: str) -> Path:
    spec = importlib.util.find_spec(module)
    assert spec is not None and spec.origin is not None
    return Path(spec.origin)


def _snake(name: str) -> str:
    """Converts `ClipFolder` to `clip_folder`; lower-case names stay unchanged."""
    return "".join(
        f"_{c.lower()}" if c.isupper() and i and not name[i - 1].isupper() else c.lower() for i, c in enumerate(name)
    )
