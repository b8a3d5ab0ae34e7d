"""Boundary-Sensitive Network: where actions start, end and last, then how good each proposal is.

Paper: Lin et al., arXiv:1806.02964, sections 3.2 and 3.4. The step between, which joins boundaries to proposals and
describes each by 32 numbers, is in `layers.proposals`.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from videozoo.errors import ConfigError
from videozoo.models.model import VideoModel
from videozoo.models.registry import register_model

__all__ = ["BsnPem", "BsnTem"]


@register_model
class BsnTem(VideoModel):
    """Probabilities of start, end and action at each snippet.

    Input:  features [b, num_snippets, feature_dim]; other lengths work too.
    Output: probabilities [b, 3, num_snippets]: start, end, action.

    Args:
        feature_dim: width of a snippet's feature.
        num_snippets: length of a sequence in `input_shape`.
        hidden_dim: channels of the two hidden layers.
    """

    is_classifier = False

    def __init__(self, *, feature_dim: int = 400, num_snippets: int = 100, hidden_dim: int = 256):
        super().__init__()
        self.num_classes, self.num_features = 0, hidden_dim
        self.input_shape = (num_snippets, feature_dim)
        self.base = nn.Sequential(
            nn.Conv1d(feature_dim, hidden_dim, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv1d(hidden_dim, hidden_dim, 3, padding=1),
            nn.ReLU(inplace=True),
        )
        self.head = nn.Conv1d(hidden_dim, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        _check(self, x)
        return self.head(self.base(x.transpose(1, 2))).sigmoid()

    def forward_features(self, x: Tensor) -> Tensor:
        return self.base(x.transpose(1, 2)).mean(2)


@register_model
class BsnPem(VideoModel):
    """The overlap with the truth that each proposal's boundary-sensitive feature promises.

    Input:  features [b, num_proposals, feature_dim].
    Output: overlaps [b, num_proposals] in (0, 1).

    Args:
        feature_dim: width of a proposal's feature.
        num_proposals: proposals of a video in `input_shape`; any number works.
        hidden_dim: width of the hidden layer.
        hidden_layer: False puts the last layer on the input itself, as the weights of 2019 need.
    """

    is_classifier = False

    def __init__(
        self, *, feature_dim: int = 32, num_proposals: int = 500, hidden_dim: int = 128, hidden_layer: bool = True
    ):
        super().__init__()
        self.num_classes = 0
        self.num_features = hidden_dim if hidden_layer else feature_dim
        self.input_shape = (num_proposals, feature_dim)
        self.hidden = nn.Linear(feature_dim, hidden_dim) if hidden_layer else None
        self.head = nn.Linear(self.num_features, 1)

    def forward(self, x: Tensor) -> Tensor:
        _check(self, x)
        return (0.1 * self.head(self._hidden(x)).squeeze(-1)).sigmoid()  # 0.1 slows both layers, as in the paper's code

    def forward_features(self, x: Tensor) -> Tensor:
        return self._hidden(x).mean(1)

    def _hidden(self, x: Tensor) -> Tensor:
        return x if self.hidden is None else F.relu(0.1 * self.hidden(x))


def _check(model: VideoModel, x: Tensor) -> None:
    if x.ndim != 3 or x.shape[-1] != model.input_shape[-1]:
        raise ConfigError(f"{model.name}: the input has shape {tuple(x.shape)}; needs features {model.input_shape}")
