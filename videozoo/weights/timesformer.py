"""Names in the checkpoints of TimeSformer's authors (facebookresearch/TimeSformer)."""

from __future__ import annotations

from collections.abc import Mapping

from videozoo.models.model import VideoModel
from videozoo.weights.keymap import KeyMap, Port

__all__ = ["PORTS"]


def timesformer(model: VideoModel) -> KeyMap:
    """timm's names below `model`, with the time embedding and the classifier beside them."""
    return KeyMap([(r"^backbone\.", ""), (r"^", "model.")], cleaning=[(r"^module\.", "")])


PORTS: Mapping[str, Port] = {
    "timesformer": Port(timesformer),
}
