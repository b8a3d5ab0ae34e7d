"""Attention LSTM: a bidirectional LSTM for each modality, whose states are averaged by attention.

Origin: PaddleVideo's YouTube-8M baseline; it has no paper. The attention follows arXiv:1511.02917.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from videozoo.layers.dropout import DropoutScaling, scaled_dropout
from videozoo.layers.sequence import PeepholeLSTM, masked_softmax, plain_lstm, reverse, split_modalities, zero_padding
from videozoo.models.feature_classifier import FeatureClassifier
from videozoo.models.param_rule import ParamRule
from videozoo.models.registry import register_model
from videozoo.shapes import Bool, Float

__all__ = ["AttentionLSTM"]


@register_model
class AttentionLSTM(FeatureClassifier):
    """A bidirectional LSTM with attention pooling for each modality, then two layers and the classifier.

    Differs from PaddleVideo: the attention scores have no bias, because a bias cancels out in the soft-max over frames.

    Input:  features [b, t, d] with the modalities side by side, d = sum(feature_dims); mask [b, t], True on frames,
            or [b, t, m] if the m modalities differ in length.
    Output: scores [b, num_classes], or features [b, hidden_dims[1]] when `num_classes` is 0.

    Args:
        feature_dims: width of each modality.
        embedding_dim: width of each LSTM's input, the same for all modalities.
        lstm_dim: width of the LSTM in each direction.
        hidden_dims: widths of the two layers before the classifier.
        peepholes: the gates also read the cell state, as in the weights of 2019 and 2020; slower (no fused kernel).
        dropout: share of the LSTM's states set to zero in training.
        dropout_scaling: as for `tsm`; the weights of 2019 and 2020 were trained with "inference".
        num_frames: frames in `input_shape`; the network accepts any number.
        mean_scores: adds the scores of a linear classifier of the mean features; see `FeatureClassifier`.
        init: "width" keeps the size of activations at any width and starts with open forget gates; "published" is
            PaddlePaddle's default, which the original uses: Xavier-uniform weights, and U(+-lstm_dim ** -0.5) in LSTMs.
    """

    def __init__(
        self,
        *,
        num_classes: int = 3862,
        feature_dims: Sequence[int] = (1024, 128),
        embedding_dim: int = 512,
        lstm_dim: int = 1024,
        hidden_dims: tuple[int, int] = (8192, 4096),
        peepholes: bool = False,
        dropout: float = 0.5,
        dropout_scaling: DropoutScaling = "training",
        num_frames: int = 300,
        mean_scores: bool = False,
        init: Literal["width", "published"] = "width",
    ):
        super().__init__()
        self.init: Literal["width", "published"] = init
        self.feature_dims, self.mean_scores = tuple(feature_dims), mean_scores
        self.input_shape = (num_frames, sum(feature_dims))
        self.readers = nn.ModuleList(
            _Reader(d, embedding_dim, lstm_dim, peepholes=peepholes, dropout=scaled_dropout(dropout, dropout_scaling))
            for d in feature_dims
        )
        self.fc1 = nn.Linear(2 * lstm_dim * len(feature_dims), hidden_dims[0])
        self.fc2 = nn.Linear(hidden_dims[0], hidden_dims[1])
        self.num_features = hidden_dims[1]
        self.reset_classifier(num_classes)
        self._initialize()

    def forward_features(
        self, x: Float[Tensor, "b t d"], mask: Bool[Tensor, "b t ..."] | None = None
    ) -> Float[Tensor, "b _"]:
        parts = split_modalities(x, mask, self.feature_dims, where=self.name)
        x = torch.cat([reader(*part) for reader, part in zip(self.readers, parts, strict=True)], dim=-1)
        return torch.tanh(self.fc2(torch.relu(self.fc1(x))))

    def reset_classifier(self, num_classes: int) -> None:
        super().reset_classifier(num_classes)
        # each rule must match a parameter, and without classes there is no head
        layers = "fc1|fc2|head" if num_classes else "fc1|fc2"
        self.param_rules = (ParamRule(rf"^({layers})\.bias$", weight_decay=0.0),)

    def initialize_head(self) -> None:
        nn.init.xavier_uniform_(self.head.weight)  # type: ignore[arg-type]

    def _initialize(self) -> None:
        """Initialises all layers except the classifier."""
        for reader in self.readers:
            assert isinstance(reader, _Reader)
            for layer in (reader.embedding, reader.attention):
                nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(reader.embedding.bias)
            if self.init == "width":
                for lstm in (reader.forward_lstm, reader.backward_lstm):
                    _open_gates(lstm)
        if self.init == "width":
            nn.init.kaiming_normal_(self.fc1.weight, nonlinearity="relu")
            nn.init.xavier_normal_(self.fc2.weight, gain=nn.init.calculate_gain("tanh"))
        else:
            nn.init.xavier_uniform_(self.fc1.weight)
            nn.init.xavier_uniform_(self.fc2.weight)
        nn.init.zeros_(self.fc1.bias)
        nn.init.zeros_(self.fc2.bias)


class _Reader(nn.Module):
    """Reads one modality `[b t d]` in both directions and averages by attention: `[b 2 * lstm_dim]`."""

    def __init__(self, width: int, embedding_dim: int, lstm_dim: int, *, peepholes: bool, dropout: nn.Module):
        super().__init__()

        def lstm() -> nn.Module:
            if peepholes:
                return PeepholeLSTM(embedding_dim, lstm_dim)
            return nn.LSTM(embedding_dim, lstm_dim, batch_first=True)

        self.embedding = nn.Linear(width, embedding_dim)
        self.forward_lstm, self.backward_lstm = lstm(), lstm()
        self.dropout = dropout
        self.attention = nn.Linear(2 * lstm_dim, 1, bias=False)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        x = torch.tanh(self.embedding(x))
        # padding comes last in both directions and never affects a frame, so packing is not needed
        ahead = _states(self.forward_lstm, x)
        back = _states(self.backward_lstm, reverse(x, mask))
        states = self.dropout(torch.cat([ahead, reverse(back, mask)], dim=-1))
        weights = masked_softmax(self.attention(states), mask)
        return (weights * zero_padding(states, mask)).sum(1)


def _open_gates(lstm: nn.Module) -> None:
    """Initialises an LSTM: Xavier-uniform gates of the input, orthogonal ones of the state, forget gates open."""
    of_inputs, of_states = (
        (lstm.inputs.weight, lstm.hidden.weight)
        if isinstance(lstm, PeepholeLSTM)
        else (lstm.get_parameter("weight_ih_l0"), lstm.get_parameter("weight_hh_l0"))
    )
    for gate in of_inputs.chunk(4):
        nn.init.xavier_uniform_(gate)
    for gate in of_states.chunk(4):
        nn.init.orthogonal_(gate)
    biases = [parameter for name, parameter in lstm.named_parameters() if "bias" in name]
    with torch.no_grad():
        for bias in biases:
            bias.zero_()
        biases[0].chunk(4)[1].fill_(1.0)  # the forget gate's


def _states(lstm: nn.Module, x: Tensor) -> Tensor:
    if isinstance(lstm, nn.LSTM):
        return plain_lstm(lstm, x)
    states: Tensor = lstm(x)[0]
    return states
