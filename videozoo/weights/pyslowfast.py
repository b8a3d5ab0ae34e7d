"""Names in PySlowFast checkpoints (facebookresearch/SlowFast)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from videozoo.models.model import VideoModel
from videozoo.weights.keymap import KeyMap, Port, Rename

__all__ = ["PORTS"]

BLOCKS: list[Rename] = [
    (r"\.([abc])\.conv\b", r".branch2.\1"),
    (r"\.([abc])\.norm\b", r".branch2.\1_bn"),
    (r"\.shortcut\.conv\b", ".branch1"),
    (r"\.shortcut\.norm\b", ".branch1_bn"),
    (r"_stem\.norm\b", "_stem.bn"),
    (r"^head\.", "head.projection."),
]
WRAPPERS: list[Rename] = [(r"^module\.", "")]


def slowfast(model: VideoModel) -> KeyMap:
    """Maps slow and fast to pathways 0 and 1; stages count from 1 (the stem) to 5."""
    paths = {"slow": 0, "fast": 1}
    return KeyMap(
        [
            (r"^(slow|fast)_stem\.0\.", lambda m: f"s1.pathway{paths[m[1]]}_stem."),
            (r"^laterals\.(\d)\.0\.conv", lambda m: f"s{int(m[1]) + 1}_fuse.conv_f2s"),
            (r"^laterals\.(\d)\.0\.norm", lambda m: f"s{int(m[1]) + 1}_fuse.bn"),
            (r"^(slow|fast)_stages\.(\d)\.(\d+)\.", lambda m: f"s{int(m[2]) + 2}.pathway{paths[m[1]]}_res{m[3]}."),
            *BLOCKS,
        ],
        cleaning=WRAPPERS,
    )


def nonlocal_net(model: VideoModel) -> KeyMap:
    """Maps C2D and I3D with their non-local blocks to one pathway."""
    return KeyMap(
        [
            (r"^stem\.0\.", "s1.pathway0_stem."),
            (r"^stages\.(\d)\.blocks\.(\d+)\.", lambda m: f"s{int(m[1]) + 2}.pathway0_res{m[2]}."),
            (
                r"^stages\.(\d)\.attention\.(\d+)\.(theta|phi|g|out)\b",
                lambda m: f"s{int(m[1]) + 2}.pathway0_nonlocal{m[2]}.conv_{m[3]}",
            ),
            (r"^stages\.(\d)\.attention\.(\d+)\.", lambda m: f"s{int(m[1]) + 2}.pathway0_nonlocal{m[2]}."),
            *BLOCKS,
        ],
        cleaning=[*WRAPPERS, (r"(_nonlocal\d+)\.bn\.", r"\1.norm.")],  # its name before 2020
    )


def _padded_stem(model: Any) -> Mapping[str, Any]:
    return {} if model.stem_padding == 1 else {"stem_padding": 1}


PORTS: Mapping[str, Port] = {
    "nonlocal": Port(nonlocal_net, conventions=(_padded_stem,)),
    "slowfast": Port(slowfast),
}
