"""NeXtVLAD: splits frames into groups, assigns them softly to clusters, and sums their differences to the centres.

Paper: Lin et al., arXiv:1811.05014, section 3.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from videozoo.errors import ConfigError
from videozoo.layers.dropout import DropoutScaling, scaled_dropout
from videozoo.layers.sequence import masked_norm, split_modalities, zero_padding
from videozoo.models.feature_classifier import FeatureClassifier
from videozoo.models.param_rule import ParamRule
from videozoo.models.registry import register_model
from videozoo.shapes import Bool, Float

__all__ = ["Nextvlad"]


@register_model
class Nextvlad(FeatureClassifier):
    """NeXtVLAD aggregation of each modality, then one layer, SE context gating and the classifier.

    `feature_scale`, initially ones, multiplies the features. YouTube-8M's features are whitened, and the original
    scales `rgb` back by sqrt(eigenvalue) + 1e-4 of its PCA. Imported weights include the scale; otherwise call
    `set_eigenvalues`.

    Input:  features [b, t, d] with the modalities side by side, d = sum(feature_dims); mask [b, t], True on frames.
    Output: scores [b, num_classes], or features [b, hidden_dim] when `num_classes` is 0.

    Args:
        feature_dims: width of each modality.
        num_clusters: K of the paper.
        num_groups: G of the paper; None takes the largest divisor of each expanded width up to 8.
        expansion: lambda of the paper.
        hidden_dim: width of the layer after the aggregation.
        gating_reduction: width reduction inside the gate.
        dropout: share of the aggregated features set to zero in training.
        dropout_scaling: as for `tsm`; PaddleVideo's weights were trained with "inference".
        num_frames: frames in `input_shape`; the network accepts any number.
        mean_scores: adds the scores of a linear classifier of the mean features; see `FeatureClassifier`.

    Raises:
        ConfigError: `num_groups` does not divide the width of an expanded modality.
    """

    feature_scale: Tensor

    def __init__(
        self,
        *,
        num_classes: int = 3862,
        feature_dims: Sequence[int] = (1024, 128),
        num_clusters: int = 128,
        num_groups: int | None = None,
        expansion: int = 2,
        hidden_dim: int = 2048,
        gating_reduction: int = 8,
        dropout: float = 0.5,
        dropout_scaling: DropoutScaling = "training",
        num_frames: int = 300,
        mean_scores: bool = False,
    ):
        super().__init__()
        largest = [max(g for g in range(1, 9) if d * expansion % g == 0) for d in feature_dims]
        groups = largest if num_groups is None else [num_groups] * len(largest)
        for d, g in zip(feature_dims, groups, strict=True):
            if d * expansion % g:
                raise ConfigError(
                    f"nextvlad.num_groups: {g} does not divide the width {expansion} x {d}; give a divisor"
                )
        self.feature_dims, self.mean_scores = tuple(feature_dims), mean_scores
        self.input_shape = (num_frames, sum(feature_dims))
        self.register_buffer("feature_scale", torch.ones(sum(feature_dims)))
        self.aggregators = nn.ModuleList(
            _Vlad(d, num_clusters, g, expansion) for d, g in zip(feature_dims, groups, strict=True)
        )
        width = sum(d * expansion // g * num_clusters for d, g in zip(feature_dims, groups, strict=True))
        self.dropout = scaled_dropout(dropout, dropout_scaling)
        self.hidden = nn.Linear(width, hidden_dim, bias=False)
        self.hidden_norm = nn.BatchNorm1d(hidden_dim)
        self.gate_in = nn.Linear(hidden_dim, hidden_dim // gating_reduction, bias=False)
        self.gate_norm = nn.BatchNorm1d(hidden_dim // gating_reduction)
        self.gate_out = nn.Linear(hidden_dim // gating_reduction, hidden_dim, bias=False)
        for layer in (self.hidden, self.gate_in, self.gate_out):
            nn.init.kaiming_normal_(layer.weight)
        self.num_features = hidden_dim
        self.reset_classifier(num_classes)

    def forward_features(
        self, x: Float[Tensor, "b t d"], mask: Bool[Tensor, "b t ..."] | None = None
    ) -> Float[Tensor, "b _"]:
        if x.shape[-1] == len(self.feature_scale):
            x = x * self.feature_scale
        parts = split_modalities(x, mask, self.feature_dims, where=self.name)
        pooled = [vlad(*part) for vlad, part in zip(self.aggregators, parts, strict=True)]
        x = self.hidden_norm(self.hidden(self.dropout(torch.cat(pooled, dim=-1))))
        gate = self.gate_out(torch.relu(self.gate_norm(self.gate_in(x))))
        gated: Tensor = x * gate.sigmoid()
        return gated

    def reset_classifier(self, num_classes: int) -> None:
        super().reset_classifier(num_classes)
        # in the paper, only the classifier has weight decay
        self.param_rules = (ParamRule(r"^(?!head\.)", weight_decay=0.0),)

    def initialize_head(self) -> None:
        nn.init.kaiming_normal_(self.head.weight)  # type: ignore[arg-type]

    def set_eigenvalues(self, eigenvalues: Float[Tensor, ...]) -> None:
        """Scales the first modality by sqrt(eigenvalue) + 1e-4, which reverts YouTube-8M's whitening.

        Raises:
            ConfigError: `eigenvalues` has fewer values than the first modality has features.
        """
        width = self.feature_dims[0]
        if eigenvalues.numel() < width:
            raise ConfigError(f"nextvlad.set_eigenvalues: got {eigenvalues.numel()}; needs {width}, one per feature")
        self.feature_scale[:width] = eigenvalues.flatten()[:width].sqrt() + 1e-4


class _Vlad(nn.Module):
    """Aggregates one modality `[b t d]` to `[b expansion * d / num_groups * num_clusters]`."""

    def __init__(self, width: int, num_clusters: int, num_groups: int, expansion: int):
        super().__init__()
        wide = width * expansion
        self.num_groups = num_groups
        self.expand = nn.Linear(width, wide)
        self.attention = nn.Linear(wide, num_groups)
        self.assign = nn.Linear(wide, num_groups * num_clusters, bias=False)
        self.assign_norm = nn.BatchNorm1d(num_groups * num_clusters)
        self.centers = nn.Parameter(torch.randn(num_clusters, wide // num_groups) * (2 / num_clusters) ** 0.5)
        self.norm = nn.BatchNorm1d(num_clusters * wide // num_groups)
        for layer in (self.expand, self.attention, self.assign):
            nn.init.kaiming_normal_(layer.weight)
        nn.init.zeros_(self.expand.bias)
        nn.init.zeros_(self.attention.bias)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        x = self.expand(x)
        attention = zero_padding(self.attention(x).sigmoid(), mask)  # [b t g]
        share = masked_norm(self.assign_norm, self.assign(x), mask)
        share = share.unflatten(2, (self.num_groups, -1)).softmax(-1) * attention.unsqueeze(-1)  # [b t g k]
        groups = zero_padding(x, mask).unflatten(2, (self.num_groups, -1))  # [b t g d]
        summed = groups.flatten(1, 2).transpose(1, 2) @ share.flatten(1, 2)  # [b d k]
        differences = summed - share.sum((1, 2)).unsqueeze(1) * self.centers.T
        return self.norm(F.normalize(differences, dim=1).flatten(1))
