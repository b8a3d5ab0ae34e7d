"""Segments from BMN's boundaries and confidence maps."""

from __future__ import annotations

import dataclasses

from videozoo.contracts.backend import Outputs
from videozoo.decoding.localize import Candidates, ProposeDecoder
from videozoo.decoding.proposals import pair_boundaries
from videozoo.decoding.registry import register_decoder

__all__ = ["LocalizeBmnDecoder"]


@register_decoder
@dataclasses.dataclass(frozen=True)
class LocalizeBmnDecoder(ProposeDecoder):
    """Reads `iou` and `match` `[n d t]`, `start` and `end` `[n t]`, all in (0, 1)."""

    def candidates(self, outputs: Outputs) -> Candidates:
        iou, match = outputs["iou"], outputs["match"]
        found = pair_boundaries(outputs["start"], outputs["end"], max_duration=len(iou))
        cells = found.end - found.start, found.start
        return found.segments, found.scores * iou[cells] * match[cells]
