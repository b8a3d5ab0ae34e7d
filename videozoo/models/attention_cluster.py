"""Attention clusters: many weighted averages of a video's frames, each with its own scale and shift.

Paper: Long et al., arXiv:1711.09550, section 3.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from videozoo.errors import ConfigError
from videozoo.layers.dropout import DropoutScaling, scaled_dropout
from videozoo.layers.sequence import masked_softmax, split_modalities
from videozoo.models.feature_classifier import FeatureClassifier
from videozoo.models.registry import register_model
from videozoo.shapes import Bool, Float

__all__ = ["AttentionCluster"]


@register_model
class AttentionCluster(FeatureClassifier):
    """Attention clusters with the shifting operation for each modality, then two layers and the classifier.

    Differs from PaddleVideo: the attention scores have no bias, because a bias cancels out in the soft-max over frames.

    Input:  features [b, t, d] with the modalities side by side, d = sum(feature_dims); mask [b, t], True on frames.
    Output: scores [b, num_classes], or features [b, hidden_dims[1]] when `num_classes` is 0.

    Args:
        feature_dims: width of each modality.
        cluster_sizes: attention units of each modality, or a number for all.
        hidden_dims: widths of the two layers before the classifier.
        dropout: share of the clusters' outputs set to zero in training.
        dropout_scaling: as for `tsm`; PaddleVideo's weights were trained with "inference".
        num_frames: frames in `input_shape`; the network accepts any number.
        mean_scores: adds the scores of a linear classifier of the mean features; see `FeatureClassifier`.

    Raises:
        ConfigError: `feature_dims` and `cluster_sizes` have different lengths.
    """

    def __init__(
        self,
        *,
        num_classes: int = 3862,
        feature_dims: Sequence[int] = (1024, 128),
        cluster_sizes: int | Sequence[int] = 32,
        hidden_dims: tuple[int, int] = (1024, 4096),
        dropout: float = 0.5,
        dropout_scaling: DropoutScaling = "training",
        num_frames: int = 100,
        mean_scores: bool = False,
    ):
        super().__init__()
        if isinstance(cluster_sizes, int):
            cluster_sizes = (cluster_sizes,) * len(feature_dims)
        if len(feature_dims) != len(cluster_sizes):
            raise ConfigError(
                f"attention_cluster.cluster_sizes: has {len(cluster_sizes)} values for {len(feature_dims)} modalities; "
                "give one value per modality"
            )
        self.feature_dims, self.mean_scores = tuple(feature_dims), mean_scores
        self.input_shape = (num_frames, sum(feature_dims))
        self.clusters = nn.ModuleList(_Cluster(d, n) for d, n in zip(feature_dims, cluster_sizes, strict=True))
        width = sum(d * n for d, n in zip(feature_dims, cluster_sizes, strict=True))
        self.dropout = scaled_dropout(dropout, dropout_scaling)
        self.fc1 = nn.Linear(width, hidden_dims[0])
        self.fc2 = nn.Linear(hidden_dims[0], hidden_dims[1])
        for layer in (self.fc1, self.fc2):
            nn.init.kaiming_normal_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.num_features = hidden_dims[1]
        self.reset_classifier(num_classes)

    def forward_features(
        self, x: Float[Tensor, "b t d"], mask: Bool[Tensor, "b t ..."] | None = None
    ) -> Float[Tensor, "b _"]:
        parts = split_modalities(x, mask, self.feature_dims, where=self.name)
        pooled = [cluster(*part) for cluster, part in zip(self.clusters, parts, strict=True)]
        x = torch.tanh(self.fc1(self.dropout(torch.cat(pooled, dim=-1))))
        return torch.tanh(self.fc2(x))

    def initialize_head(self) -> None:
        nn.init.kaiming_normal_(self.head.weight)  # type: ignore[arg-type]  # as in the original


class _Cluster(nn.Module):
    """`num_units` shifted attentions (eq. 5) over frames `[b t d]`: unit vectors `[b num_units * d]`."""

    def __init__(self, width: int, num_units: int):
        super().__init__()
        self.attention = nn.Linear(width, num_units, bias=False)
        nn.init.kaiming_normal_(self.attention.weight)
        std = num_units**-0.25
        self.shift_scale = nn.Parameter(torch.randn(num_units) * std)
        self.shift = nn.Parameter(torch.randn(num_units) * std)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        weights = masked_softmax(self.attention(x), mask)
        averages = weights.transpose(1, 2) @ (x if mask is None else x * mask.unsqueeze(-1))
        shifted = averages * self.shift_scale.unsqueeze(-1) + self.shift.unsqueeze(-1)
        return (F.normalize(shifted, dim=-1) * shifted.shape[1] ** -0.5).flatten(1)
