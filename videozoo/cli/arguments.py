"""Command-line arguments of a model and of its input, for several commands."""

from __future__ import annotations

from typing import Any

__all__ = ["read_arguments"]


def read_arguments(args: list[str]) -> dict[str, dict[str, Any]]:
    """Returns the arguments of the "model" (`key=value`) and of its "input" (`input.key=value`); values are YAML.

    Raises:
        ConfigError: an argument does not have this form.
    """
    from videozoo.errors import ConfigError
    from videozoo.structured import parse_yaml

    sections: dict[str, dict[str, Any]] = {"model": {}, "input": {}}
    for arg in args:
        key, equals, text = arg.partition("=")
        section, dot, field = key.partition(".")
        if not dot:
            section, field = "model", key
        if not equals or not field or section not in sections:
            raise ConfigError(
                f"{arg}: is not an argument; write key=value for the model, input.key=value for its input"
            )
        sections[section][field] = parse_yaml(text, where=arg, advice="quote the value", error=ConfigError)
    return sections
