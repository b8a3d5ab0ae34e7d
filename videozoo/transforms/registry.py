"""The registry of input specs, importable without torch."""

from videozoo.config.registry import Registry

__all__ = ["inputs", "register_input"]

inputs = Registry("input", "videozoo.transforms", decorator="register_input", suffix="Input")
register_input = inputs.register
"""Registers an input: a frozen dataclass that subclasses `InputSpec`. A final `Input` is left out of its name."""
