"""The registry of input specs, importable without torch."""

from videozoo.config.registry import Registry

__all__ = ["inputs", "register_input"]

inputs = Registry("input", "videozoo.transforms", decorator="register_input", suffix="Input")
register_input = inputs.register
