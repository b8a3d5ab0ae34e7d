"""Names in the checkpoints of TimeSformer's authors (facebookresearch/TimeSformer)."""

from __future__ import annotations

from collections.abc import Mapping

from videozoo.models.model import VideoModel
from videozoo.weights.keymap import KeyMap, Port

__all__ = ["PORTS"]


def timesformer(model: VideoModel) -> KeyMap:
    """Maps to timm's names, the time embedding and the classifier, all below `model`."""
    return KeyMap([(r"^backbone\.", ""), (r"^", "model.")], cleaning=[(r"^module\.", "")])


PORTS: Mapping[str, Port] = {
    "timesformer": Port(timesformer),
}
