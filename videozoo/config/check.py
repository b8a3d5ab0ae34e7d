"""Checks the arguments of a recipe against the signature of what they build: the signature is the schema."""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

import pydantic

from videozoo.errors import ConfigError, VideoZooError, did_you_mean
from videozoo.structured import shown

__all__ = ["accepted", "bind", "build"]

REFUSALS = (ValueError, RuntimeError, ArithmeticError, AssertionError)


def accepted(part: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Returns the keyword arguments that `part` (a function, a class or a dataclass) takes."""
    return {
        name: p
        for name, p in inspect.signature(part).parameters.items()
        if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and name != "self"
    }


def bind(
    part: Callable[..., Any], args: Mapping[str, Any], *, where: str, given: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Returns all of `part`'s arguments, checked and coerced: `args` from a recipe over the signature's defaults.

    `given` are values that the program supplies (class names, the model). They are not checked or returned, and the
    recipe may not set them.

    Raises:
        ConfigError: an unknown name (with the nearest one), a missing one, or a value of the wrong type.
    """
    given = given or {}
    name = getattr(part, "recipe_name", getattr(part, "__name__", str(part)))
    parameters = {k: p for k, p in accepted(part).items() if k not in given}
    for key in args:
        if key not in parameters:
            raise ConfigError(f"{where}.{key}: {name} takes no such argument{did_you_mean(key, parameters)}")
    hints = _hints(part)
    bound: dict[str, Any] = {}
    for key, parameter in parameters.items():
        if key in args:
            bound[key] = _coerce(args[key], hints.get(key, Any), where=f"{where}.{key}")
        elif parameter.default is inspect.Parameter.empty:
            raise ConfigError(f"{where}.{key}: required by {name} but missing from the recipe; add `{key}: ...`")
        elif not _is_factory(parameter.default):
            bound[key] = parameter.default
    return bound


def build(part: Callable[..., Any], args: Mapping[str, Any], *, where: str, **given: Any) -> Any:
    """Calls `part` with the checked `args` and the program's own `given` values.

    Raises:
        ConfigError: as `bind`, or `part` refuses a value, such as a negative rate.
    """
    bound = bind(part, args, where=where, given=given)
    try:
        return part(**bound, **given)
    except VideoZooError:
        raise
    except REFUSALS as error:  # a library's message, which does not name the recipe's key
        raise ConfigError(f"{where}: a value does not fit ({error}); correct it") from error


def _coerce(value: Any, hint: Any, *, where: str) -> Any:
    if hint is Any or hint is inspect.Parameter.empty:
        _refuse_beyond_64_bits(value, where=where)
        return value
    nested = _dataclass_of(hint)
    if nested is not None and isinstance(value, Mapping):
        return nested(**bind(nested, value, where=where))  # its own keys are spell-checked too
    if isinstance(value, str) and _takes(hint, float) and not _takes(hint, str):
        value = _number(value)
    try:
        found = _adapter(hint).validate_python(value)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        place = ".".join([where, *(str(p) for p in first["loc"] if isinstance(p, int))])
        raise ConfigError(f"{place}: {_sentence(first['msg'])}; got {shown(value)}") from error
    _refuse_beyond_64_bits(found, where=where)
    return found


def _refuse_beyond_64_bits(value: Any, *, where: str) -> None:
    """Refuses whole numbers beyond 64 bits, which no library accepts."""
    values = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    for inner in values:
        _refuse_beyond_64_bits(inner, where=where)
    if isinstance(value, int) and abs(value) >= 1 << 63:
        raise ConfigError(f"{where}: must fit into 64 bits; got {shown(value)}")


def _adapter(hint: Any) -> pydantic.TypeAdapter[Any]:
    try:
        return pydantic.TypeAdapter(hint, config=pydantic.ConfigDict(arbitrary_types_allowed=True))
    except pydantic.PydanticUserError:  # a dataclass brings its own config
        return pydantic.TypeAdapter(hint)


def _dataclass_of(hint: Any) -> Callable[..., Any] | None:
    """Returns the dataclass in the annotation `hint`, which may also allow None; None if it is not a dataclass."""
    kinds = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    found = [kind for kind in kinds if dataclasses.is_dataclass(kind) and isinstance(kind, type)]
    return found[0] if len(found) == 1 else None


def _number(text: str) -> Any:
    try:  # YAML 1.1 reads 1e-4 as a string
        return float(text)
    except ValueError:
        return text


def _takes(hint: Any, kind: type) -> bool:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return any(_takes(h, kind) for h in typing.get_args(hint))
    return hint is kind


def _sentence(message: str) -> str:
    return message[:1].lower() + message[1:]


def _hints(part: Callable[..., Any]) -> dict[str, Any]:
    target = part.__init__ if inspect.isclass(part) else part
    if dataclasses.is_dataclass(part):
        target = part  # of inherited fields each annotation is understood in the module of its own class
    try:
        return typing.get_type_hints(target)
    except NameError:  # an annotation that exists for the type checker only
        return {}


def _is_factory(default: Any) -> bool:
    return type(default).__name__ == "_HAS_DEFAULT_FACTORY_CLASS"
