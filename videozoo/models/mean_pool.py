"""Logistic regression on the mean of a video's frames: the baseline for models on features."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from videozoo.layers.sequence import mean_features
from videozoo.models.feature_classifier import FeatureClassifier
from videozoo.models.registry import register_model
from videozoo.shapes import Bool, Float

__all__ = ["MeanPool"]


@register_model
class MeanPool(FeatureClassifier):
    """The mean of each modality over a video's frames, then a linear classifier that starts at zero.

    Paper: arXiv:1609.08675, section 4.2.

    Input:  features [b, t, d] with the modalities side by side, d = sum(feature_dims); mask [b, t], True on frames.
    Output: scores [b, num_classes], or the means [b, d] when `num_classes` is 0.

    Args:
        feature_dims: width of each modality.
        num_frames: frames in `input_shape`; the network accepts any number.
    """

    def __init__(self, *, num_classes: int = 3862, feature_dims: Sequence[int] = (1024, 128), num_frames: int = 300):
        super().__init__()
        self.feature_dims = tuple(feature_dims)
        self.input_shape = (num_frames, sum(feature_dims))
        self.num_features = sum(feature_dims)
        self.reset_classifier(num_classes)

    def initialize_head(self) -> None:
        nn.init.zeros_(self.head.weight)  # type: ignore[arg-type]

    def forward_features(
        self, x: Float[Tensor, "b t d"], mask: Bool[Tensor, "b t ..."] | None = None
    ) -> Float[Tensor, "b _"]:
        return mean_features(x, mask, self.feature_dims, where=self.name)
