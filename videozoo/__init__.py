"""videozoo: train, evaluate, run and deploy video models.

Everything here is imported on first use, so that `import videozoo` is quick and does not load torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from videozoo.version import __version__

if TYPE_CHECKING:
    from videozoo.loading import load
    from videozoo.models.registry import create_model, list_models
    from videozoo.types import Labels, Span, VideoInfo

_HOMES = {
    "create_model": "videozoo.models.registry",
    "list_models": "videozoo.models.registry",
    "load": "videozoo.loading",
    "Labels": "videozoo.types",
    "Span": "videozoo.types",
    "VideoInfo": "videozoo.types",
}

__all__ = ["Labels", "Span", "VideoInfo", "__version__", "create_model", "list_models", "load"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'videozoo' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
