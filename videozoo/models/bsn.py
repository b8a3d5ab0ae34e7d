"""Boundary-Sensitive Network: probabilities of start, end and action, then a rating of each proposal.

Paper: Lin et al., arXiv:1806.02964, sections 3.2 and 3.4. The boundary-sensitive feature between
the two networks, 32 numbers per proposal, is in `decoding.proposals` (numpy) and `layers.boundary_sensitive` (torch).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from videozoo.decoding.proposals import map_segments
from videozoo.errors import ConfigError
from videozoo.layers.boundary_sensitive import boundary_sensitive
from videozoo.models.model import VideoModel
from videozoo.models.registry import register_model
from videozoo.shapes import Float

__all__ = ["BSN", "BSNOutput", "BsnPem", "BsnTem"]


class BSNOutput(NamedTuple):
    """Probabilities of boundaries and action, by column, and predicted overlaps, by (duration - 1, start).

    Values of segments that extend beyond the sequence have no meaning.
    """

    start: Tensor  # [b t]
    end: Tensor  # [b t]
    action: Tensor  # [b t]
    iou: Tensor  # [b d t]


@register_model
class BsnTem(VideoModel):
    """Probabilities of start, end and action at each snippet.

    Input:  features [b, num_snippets, feature_dim]; any other length is valid, too.
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

    def forward(self, x: Float[Tensor, "b t d"]) -> Float[Tensor, "b 3 t"]:
        _check(self, x)
        return self.head(self.base(x.transpose(1, 2))).sigmoid()

    def forward_features(self, x: Float[Tensor, "b t d"]) -> Float[Tensor, "b _"]:
        return self.base(x.transpose(1, 2)).mean(2)


@register_model
class BsnPem(VideoModel):
    """Predicts each proposal's overlap with the ground truth from its boundary-sensitive feature.

    Input:  features [b, num_proposals, feature_dim].
    Output: overlaps [b, num_proposals] in (0, 1).

    Args:
        feature_dim: width of a proposal's feature.
        num_proposals: proposals of a video in `input_shape`; the network accepts any number.
        hidden_dim: width of the hidden layer.
        hidden_layer: False applies the last layer directly to the input, as the weights of 2019 need.
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

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n"]:
        _check(self, x)
        return (0.1 * self.head(self._hidden(x)).squeeze(-1)).sigmoid()  # 0.1 slows both layers, as in the paper's code

    def forward_features(self, x: Float[Tensor, "b t d"]) -> Float[Tensor, "b _"]:
        return self._hidden(x).mean(1)

    def _hidden(self, x: Tensor) -> Tensor:
        return x if self.hidden is None else F.relu(0.1 * self.hidden(x))


@register_model
class BSN(VideoModel):
    """Both networks of BSN as one: boundaries of each column, and a rating of each segment by the action around it.

    Differs: this model can rate every segment; the original rates only proposals, from stored features. The two
    networks still learn independently: no gradient flows from the rating to the probabilities.

    Input:  features [b, num_snippets, feature_dim].
    Output: `BSNOutput`, all in (0, 1).

    Args:
        feature_dim, num_snippets: width and length of the input.
        max_duration: longest segment in snippets.
        hidden_dim: channels of the temporal network.
        rating_dim: width of the rating network's hidden layer.
        num_action, num_boundary: points sampled inside a segment, and around each end.
        hidden_layer: as for `bsn_pem`.

    Raises:
        ConfigError: `max_duration` is not in 1..num_snippets.
    """

    is_classifier = False

    def __init__(
        self,
        *,
        feature_dim: int = 400,
        num_snippets: int = 100,
        max_duration: int = 100,
        hidden_dim: int = 256,
        rating_dim: int = 128,
        num_action: int = 16,
        num_boundary: int = 8,
        hidden_layer: bool = True,
    ):
        super().__init__()
        if not 1 <= max_duration <= num_snippets:
            raise ConfigError(f"bsn: max_duration is {max_duration}; needs 1..{num_snippets} snippets")
        self.num_classes, self.num_features = 0, hidden_dim
        self.input_shape = (num_snippets, feature_dim)
        self.max_duration = max_duration
        self.points = {"num_action": num_action, "num_boundary": num_boundary}
        self.tem = BsnTem(feature_dim=feature_dim, num_snippets=num_snippets, hidden_dim=hidden_dim)
        self.pem = BsnPem(feature_dim=num_action + 2 * num_boundary, hidden_dim=rating_dim, hidden_layer=hidden_layer)
        segments = torch.from_numpy(map_segments(num_snippets, max_duration)).float()  # [d t 2]
        self.register_buffer("segments", segments, persistent=False)

    def forward(self, x: Float[Tensor, "b t d"]) -> BSNOutput:
        start, end, action = self.tem(x).unbind(1)
        cells = self.get_buffer("segments")
        iou = self.rate(action, cells.flatten(0, 1)).unflatten(1, cells.shape[:2])
        return BSNOutput(start, end, action, iou)

    def rate(self, action: Float[Tensor, "b t"], segments: Float[Tensor, "... n 2"]) -> Float[Tensor, "b n"]:
        """Predicts the true overlap `[b n]` of each segment `[n 2]` or `[b n 2]`, given as shares of the sequence."""
        described = boundary_sensitive(action.detach(), segments, **self.points)
        overlap: Tensor = self.pem(described)
        return overlap

    def forward_features(self, x: Float[Tensor, "b t d"]) -> Float[Tensor, "b _"]:
        return self.tem.forward_features(x)


def _check(model: VideoModel, x: Tensor) -> None:
    if x.ndim != 3 or x.shape[-1] != model.input_shape[-1]:
        raise ConfigError(f"{model.name}: the input has shape {tuple(x.shape)}; needs features {model.input_shape}")
