"""The registry of sentence encoders, importable without torch."""

from videozoo.config.registry import Registry

__all__ = ["encoders", "register_encoder"]

encoders = Registry("sentence encoder", "videozoo.sentences", decorator="register_encoder")
register_encoder = encoders.register
