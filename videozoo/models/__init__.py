"""One file a paper; nothing here knows a data set or a recipe file."""

from videozoo.models.registry import create_model, list_models, models, register_model

__all__ = ["create_model", "list_models", "models", "register_model"]
