"""The two forms of the clip transforms, and which module computes each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from videozoo.contracts.input import Form
from videozoo.transforms.geometry import Box, Resize

__all__ = ["ClipOps", "Form", "clip_ops"]


class ClipOps(Protocol):
    """Operations on a clip in the representation of its form; see `transforms.tensors`."""

    def clip_of(self, frames: Any) -> Any: ...
    def frames_of(self, clip: Any) -> Any: ...
    def size_of(self, clip: Any) -> tuple[int, int]: ...
    def pick(self, clip: Any, places: np.ndarray) -> Any: ...
    def stack_views(self, clips: Sequence[Any]) -> Any: ...
    def resize(self, clip: Any, size: tuple[int, int], *, method: Resize = "torch") -> Any: ...
    def crop(self, clip: Any, box: Box) -> Any: ...
    def flip(self, clip: Any) -> Any: ...
    def color_jitter(
        self, clip: Any, *, brightness: float = 1.0, contrast: float = 1.0, saturation: float = 1.0, hue: float = 0.0
    ) -> Any: ...


def clip_ops(form: Form) -> ClipOps:
    """Returns the module that computes a form: numpy and Pillow, or torch."""
    if form == "arrays":
        from videozoo.transforms import arrays

        return arrays
    from videozoo.transforms import tensors

    return tensors
