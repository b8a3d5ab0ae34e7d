"""The models, one file per paper; no model depends on a data set or a recipe."""

from videozoo.models.registry import create_model, list_models, models, register_model

__all__ = ["create_model", "list_models", "models", "register_model"]
