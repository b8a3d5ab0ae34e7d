"""Segments from C-TCN's anchors."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from videozoo.contracts.answer import Segments
from videozoo.contracts.backend import Outputs
from videozoo.contracts.ranking import best_first
from videozoo.decoding.activations import softmax
from videozoo.decoding.anchors import anchors, detect
from videozoo.decoding.localize import SegmentsDecoder, spans_of
from videozoo.decoding.registry import register_decoder
from videozoo.transforms.snippets import Timeline

__all__ = ["LocalizeCtcnDecoder"]


@register_decoder
@dataclasses.dataclass(frozen=True)
class LocalizeCtcnDecoder(SegmentsDecoder):
    """Reads `offsets` `[n a 2]` and `scores` `[n a 1 + k]`, before the soft-max, of a anchors.

    Args:
        num_snippets: length of a sequence.
        min_score: class probability below which an anchor is ignored.
        max_iou: overlap above which the weaker of two segments of a class is dropped.
        sigma: width of the gaussian soft-NMS that follows.
        min_decayed: score below which the soft-NMS drops a segment.
        max_segments: largest number of segments of a video, or of a window of it, over all classes.
    """

    num_snippets: int = 512
    min_score: float = 0.001
    max_iou: float = 0.8
    sigma: float = 0.9
    min_decayed: float = 0.004
    max_segments: int = 200

    def segments(self, sequences: Sequence[Outputs], timeline: Timeline, *, id_: str) -> Segments:
        boxes = anchors(self.num_snippets)
        snippet_s = timeline.extents[0].length_s / self.num_snippets
        firsts = [np.array([extent.start_s / snippet_s, 0.0]) for extent in timeline.extents]
        found, labels, scores = detect(
            np.concatenate([outputs["offsets"] for outputs in sequences]),
            np.concatenate([softmax(outputs["scores"]) for outputs in sequences]),
            np.concatenate([boxes + first for first in firsts]),
            min_score=self.min_score,
            max_iou=self.max_iou,
            sigma=self.sigma,
            min_decayed=self.min_decayed,
        )
        seconds = np.clip(found * snippet_s, 0.0, timeline.video_s)
        kept = np.flatnonzero(seconds[:, 1] > seconds[:, 0])
        kept = kept[best_first(scores[kept])[: timeline.allowance(self.max_segments)]]
        return Segments(spans_of(seconds[kept], [self.class_names[k] for k in labels[kept]], scores[kept]))
