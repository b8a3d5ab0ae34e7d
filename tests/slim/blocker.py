"""Makes torch and its companions impossible to import."""

from __future__ import annotations

import importlib.abc
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import NoReturn

from videozoo.errors import TORCH_EXTRA

# For child processes: the tests and, in a checkout, the package are found from any folder.
_FOLDERS = (str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH"))
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, _FOLDERS))}


class _Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        if name.partition(".")[0] in TORCH_EXTRA:
            _refuse(name)


def _refuse(name: str) -> NoReturn:
    raise ModuleNotFoundError(f"No module named '{name}'", name=name)


def block() -> None:
    """Refuses every import of torch, torchvision, timm and tensorboard in this process."""
    assert not set(TORCH_EXTRA) & sys.modules.keys()
    sys.meta_path.insert(0, _Blocker())
