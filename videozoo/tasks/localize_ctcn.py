"""Localization with C-TCN: anchors of all lengths, named by the network itself."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from videozoo.layers.anchors import anchors, detect, encode, multibox_losses
from videozoo.metrics.localization import Protocol
from videozoo.models.ctcn import CTCN, CTCNOutput
from videozoo.models.model import VideoModel
from videozoo.tasks.localize import Localize, spans_of
from videozoo.tasks.registry import register_task
from videozoo.tasks.task import Batch
from videozoo.transforms.snippets import Timeline
from videozoo.types import Segments, best_first

__all__ = ["LocalizeCtcn"]


@register_task
class LocalizeCtcn(Localize[CTCNOutput]):
    """Segments with their classes from anchors, suppressed class by class (arXiv:1808.03766, section 4).

    Args:
        min_score: class probability below which an anchor finds nothing.
        max_iou: overlap with a better segment of its class above which one is dropped.
        sigma, min_decayed: of the gaussian soft-NMS that comes after, and the score below which it drops a segment.
        max_segments: the best of all classes that a video keeps, or as much of it as a window shows.
        protocol, tolerances_s: of the evaluation, see `metrics.localization`.
    """

    monitor = "map"
    network = CTCN

    def __init__(
        self,
        model: VideoModel,
        class_names: Sequence[str],
        *,
        min_score: float = 0.001,
        max_iou: float = 0.8,
        sigma: float = 0.9,
        min_decayed: float = 0.004,
        max_segments: int = 200,
        protocol: Protocol = "activitynet",
        tolerances_s: tuple[float, ...] = (),
    ):
        super().__init__(model, class_names, protocol=protocol, tolerances_s=tolerances_s)
        self.min_score, self.max_iou = min_score, max_iou
        self.sigma, self.min_decayed = sigma, min_decayed
        self.max_segments = max_segments

    @functools.cached_property
    def boxes(self) -> np.ndarray:
        """The anchors `[n 2]`: centre and length in snippets."""
        return anchors(self.num_snippets)

    @property
    def num_snippets(self) -> int:
        return int(self.model.input_shape[0])

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        output = self.answer(batch["features"])
        targets = [
            encode(segments * self.num_snippets, labels + 1, self.boxes) for segments, labels in self.truth(batch)
        ]
        offsets, classes = (torch.from_numpy(np.stack(part)) for part in zip(*targets, strict=True))
        device = output.offsets.device
        return multibox_losses(
            output.offsets.float(),
            output.scores.float(),
            offset_target=offsets.float().to(device),
            class_target=classes.to(device),
        )

    def answer(self, features: Tensor) -> CTCNOutput:
        output: CTCNOutput = self.model(features)
        return output if self.training else CTCNOutput(output.offsets, output.scores.float().softmax(-1))

    def segments(self, answers: Sequence[CTCNOutput], timeline: Timeline, *, id_: str) -> Segments:
        snippet_s = timeline.extents[0].length_s / self.num_snippets
        firsts = [np.array([extent.start_s / snippet_s, 0.0]) for extent in timeline.extents]
        found, labels, scores = detect(
            np.concatenate([answer.offsets.numpy() for answer in answers]),
            np.concatenate([answer.scores.numpy() for answer in answers]),
            np.concatenate([self.boxes + first for first in firsts]),
            min_score=self.min_score,
            max_iou=self.max_iou,
            sigma=self.sigma,
            min_decayed=self.min_decayed,
        )
        seconds = np.clip(found * snippet_s, 0.0, timeline.video_s)
        kept = np.flatnonzero(seconds[:, 1] > seconds[:, 0])
        kept = kept[best_first(scores[kept])[: timeline.allowance(self.max_segments)]]
        return Segments(spans_of(seconds[kept], [self.class_names[k] for k in labels[kept]], scores[kept]))
