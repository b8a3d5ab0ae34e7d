"""The registry of decoders, one for each task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from videozoo.config.check import build
from videozoo.config.registry import Registry
from videozoo.contracts.backend import Decoder

__all__ = ["build_decoder", "decoders", "register_decoder"]

decoders = Registry("decoder", "videozoo.decoding", decorator="register_decoder", suffix="Decoder")
register_decoder = decoders.register
"""Registers a decoder: a dataclass that subclasses `Decoder`. A final `Decoder` is left out of its name."""


def build_decoder(args: Mapping[str, Any], class_names: Sequence[str]) -> Decoder:
    """Builds the decoder from the values of `Decoder.to_dict`.

    Raises:
        ConfigError: an unknown decoder or argument, or an invalid value.
    """
    fields = dict(args)
    name = fields.pop("name")
    decoder: Decoder = build(decoders.get(name), fields, where="decoder", class_names=tuple(class_names))
    return decoder
