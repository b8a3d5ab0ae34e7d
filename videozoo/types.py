"""Values that cross the borders between rooms."""

from __future__ import annotations

import dataclasses

from videozoo.contracts.answer import Caption, Labels, Segments
from videozoo.contracts.ranking import best_first
from videozoo.contracts.record import ClipRecord
from videozoo.contracts.video import Span, VideoInfo

__all__ = ["Caption", "ClipRecord", "Labels", "ParamRule", "Segments", "Span", "VideoInfo", "best_first"]


@dataclasses.dataclass(frozen=True)
class ParamRule:
    """Parameters whose name matches `match` (`re.search`) learn at `lr_scale` times the rate, with their own decay.

    `weight_decay=None` keeps the optimizer's. The first rule that matches a name wins.
    """

    match: str
    lr_scale: float = 1.0
    weight_decay: float | None = None
