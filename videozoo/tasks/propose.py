"""The common part of BMN and BSN in training: boundaries, whose proposals a classifier labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from videozoo.decoding.localize import ProposeDecoder
from videozoo.metrics.localization import Protocol
from videozoo.models.model import VideoModel
from videozoo.tasks.localize import Localize, Output

__all__ = ["Propose"]


class Propose(Localize[Output]):
    """Localizers that propose segments; a classifier of features or videos labels them.

    Args:
        alpha, low, high, max_proposals, num_names, video_scores: see `decoding.localize.ProposeDecoder`.
        protocol, tolerances_s: evaluation settings, see `metrics.localization`.
    """

    monitor = "auc"
    decoder_class: ClassVar[type[ProposeDecoder]]

    def __init__(
        self,
        model: VideoModel,
        class_names: Sequence[str],
        *,
        alpha: float = 0.4,
        low: float = 0.55,
        high: float = 0.9,
        max_proposals: int = 100,
        num_names: int = 2,
        video_scores: str | None = None,
        protocol: Protocol = "activitynet",
        tolerances_s: tuple[float, ...] = (),
    ):
        super().__init__(model, class_names, protocol=protocol, tolerances_s=tolerances_s)
        self.decoder = self.decoder_class(
            self.class_names,
            alpha=alpha,
            low=low,
            high=high,
            max_proposals=max_proposals,
            num_names=num_names,
            video_scores=video_scores,
        )
