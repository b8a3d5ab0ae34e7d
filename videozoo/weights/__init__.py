"""Reading, importing and writing weights."""

from videozoo.weights.importer import convert

__all__ = ["convert"]
