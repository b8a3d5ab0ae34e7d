"""Segments from BSN's boundaries and proposal scores."""

from __future__ import annotations

import dataclasses

from videozoo.contracts.backend import Outputs
from videozoo.decoding.localize import Candidates, ProposeDecoder
from videozoo.decoding.proposals import pair_boundaries
from videozoo.decoding.registry import register_decoder

__all__ = ["LocalizeBsnDecoder"]


@register_decoder
@dataclasses.dataclass(frozen=True)
class LocalizeBsnDecoder(ProposeDecoder):
    """Reads `start` and `end` `[n t]` and `iou` `[n d t]`, the predicted overlap of each proposal, all in (0, 1).

    Args:
        rated: whether `iou` enters the proposals' scores; set it once the second stage is trained.
    """

    alpha: float = 0.75
    low: float = 0.65
    rated: bool = True

    def candidates(self, outputs: Outputs) -> Candidates:
        iou = outputs["iou"]
        found = pair_boundaries(outputs["start"], outputs["end"], max_duration=len(iou))
        ratings = iou[found.end - found.start, found.start] if self.rated else 1.0
        return found.segments, found.scores * ratings
