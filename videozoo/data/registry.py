"""The registry of data-set formats, importable without torch."""

from videozoo.config.registry import Registry

__all__ = ["datasets", "register_dataset"]

datasets = Registry("data set", "videozoo.data", decorator="register_dataset")
register_dataset = datasets.register
"""Registers a data-set format: a function that returns a `Dataset`."""
