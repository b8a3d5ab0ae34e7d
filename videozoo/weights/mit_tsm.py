"""Names in the checkpoints of TSM's authors (mit-han-lab/temporal-shift-module), for TSM and TSN."""

from __future__ import annotations

from collections.abc import Mapping

from videozoo.models.model import VideoModel
from videozoo.weights.keymap import KeyMap, Port, Rename
from videozoo.weights.shift_order import swap_shifted_channels, wrapped_by_shift

__all__ = ["PORTS"]

NAMES: list[Rename] = [(r"^backbone\.", "base_model."), (r"^head\.", "new_fc.")]
CLEANING: list[Rename] = [(r"^module\.", ""), (r"^base_model\.fc\.", "new_fc.")]  # its name in models without dropout


def tsn(model: VideoModel) -> KeyMap:
    """Maps to torchvision's ResNet below `base_model`."""
    return KeyMap(NAMES, cleaning=CLEANING)


def tsm(model: VideoModel) -> KeyMap:
    """Maps as `tsn`; the shift wraps the first convolution of a block and has the opposite direction."""
    return KeyMap(
        [*NAMES, wrapped_by_shift(model, "conv1")],
        builders=swap_shifted_channels(model, source="mit_tsm"),
        cleaning=CLEANING,
    )


PORTS: Mapping[str, Port] = {
    "tsm": Port(tsm),
    "tsn": Port(tsn),
}
