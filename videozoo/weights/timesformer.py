"""Names in the checkpoints of TimeSformer's authors (facebookresearch/TimeSformer)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from videozoo.models.model import VideoModel
from videozoo.weights.keymap import KeyMap

__all__ = ["KEY_MAPS"]


def timesformer(model: VideoModel) -> KeyMap:
    """timm's names below `model`, with the time embedding and the classifier beside them."""
    return KeyMap([(r"^backbone\.", ""), (r"^", "model.")], cleaning=[(r"^module\.", "")])


KEY_MAPS: Mapping[str, Callable[[VideoModel], KeyMap]] = {"timesformer": timesformer}
