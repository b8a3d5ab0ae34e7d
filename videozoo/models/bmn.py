"""Boundary-Matching Network: scores every (duration, start) pair of a feature sequence at once.

Paper: Lin et al., arXiv:1907.09702, section 4 and table 1.
"""

from __future__ import annotations

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from videozoo.errors import ConfigError
from videozoo.layers.boundary_matching import BoundaryMatching
from videozoo.models.model import VideoModel
from videozoo.models.registry import register_model
from videozoo.shapes import Float

__all__ = ["BMN", "BMNOutput"]


class BMNOutput(NamedTuple):
    """Probabilities of segments, indexed by (duration - 1, start), and of boundaries, by column.

    Values of segments that extend beyond the sequence have no meaning.
    """

    iou: Tensor  # [b d t], regressed overlap with the truth
    match: Tensor  # [b d t], probability that the overlap is high
    start: Tensor  # [b t]
    end: Tensor  # [b t]


@register_model
class BMN(VideoModel):
    """Boundary probabilities of each column and confidences of each segment, from one pass over snippet features.

    Differs: boundary matching is sparse, and the state dict leaves its sampling weights out
    (`layers.boundary_matching`).

    Input:  features [b, num_snippets, feature_dim].
    Output: `BMNOutput`, all in (0, 1).

    Args:
        feature_dim: width of a snippet's feature; 400 for the two-stream class scores of ActivityNet-1.3.
        num_snippets: length T of the sequence; the features of a video are rescaled to this length.
        max_duration: longest segment D in snippets.
        num_samples: points sampled per segment.
        boundary_ratio: extension of the sampled range beyond each end, as a share of the segment's length.
        clamp_before_start: positions up to one snippet before the sequence read the first snippet at full weight;
            the published weights need it.
        base_dim: channels of the 1-D layers.
        match_dim: channels of the sampled features and of the 2-D layers.
        sample_dim: channels after the samples of a segment are combined.

    Raises:
        ConfigError: `max_duration` exceeds `num_snippets`.
    """

    is_classifier = False

    def __init__(
        self,
        *,
        feature_dim: int = 400,
        num_snippets: int = 100,
        max_duration: int = 100,
        num_samples: int = 32,
        boundary_ratio: float = 0.5,
        clamp_before_start: bool = False,
        base_dim: int = 256,
        match_dim: int = 128,
        sample_dim: int = 512,
    ):
        super().__init__()
        self.num_classes, self.num_features = 0, base_dim
        self.input_shape = (num_snippets, feature_dim)
        self.base = nn.Sequential(
            nn.Conv1d(feature_dim, base_dim, 3, padding=1, groups=4),
            nn.ReLU(inplace=True),
            nn.Conv1d(base_dim, base_dim, 3, padding=1, groups=4),
            nn.ReLU(inplace=True),
        )
        self.start, self.end = (
            nn.Sequential(
                nn.Conv1d(base_dim, base_dim, 3, padding=1, groups=4),
                nn.ReLU(inplace=True),
                nn.Conv1d(base_dim, 1, 1),
            )
            for _ in range(2)
        )
        self.reduce = nn.Conv1d(base_dim, match_dim, 3, padding=1)
        self.matching = BoundaryMatching(
            match_dim,
            sample_dim,
            num_snippets=num_snippets,
            max_duration=max_duration,
            num_samples=num_samples,
            boundary_ratio=boundary_ratio,
            clamp_before_start=clamp_before_start,
        )
        self.confidence = nn.Sequential(
            nn.Conv2d(sample_dim, match_dim, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(match_dim, match_dim, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(match_dim, match_dim, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(match_dim, 2, 1),
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(self, x: Float[Tensor, "b t d"]) -> BMNOutput:
        if x.ndim != 3 or x.shape[1:] != self.input_shape:
            raise ConfigError(f"{self.name}: the input has shape {tuple(x.shape)}; needs features {self.input_shape}")
        base = self.base(x.transpose(1, 2))
        start, end = (head(base).squeeze(1).sigmoid() for head in (self.start, self.end))
        segments = F.relu(self.matching(F.relu(self.reduce(base))))
        iou, match = self.confidence(segments).sigmoid().unbind(1)
        return BMNOutput(iou, match, start, end)

    def forward_features(self, x: Float[Tensor, "b t d"]) -> Float[Tensor, "b _"]:
        return self.base(x.transpose(1, 2)).mean(2)
