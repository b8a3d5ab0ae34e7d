"""ETS: writes a sentence about a video, word by word, with attention over its features.

Paper: Yao et al., "Describing videos by exploiting temporal structure", arXiv:1502.08029, section 3.2. The networks
around the attention are PaddleVideo's: a bidirectional GRU reads the features, another GRU writes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from videozoo.errors import ConfigError
from videozoo.layers.gru import GRUCell, run_gru
from videozoo.layers.sequence import masked_softmax, reverse
from videozoo.models.model import VideoModel
from videozoo.models.param_rule import ParamRule
from videozoo.models.registry import register_model
from videozoo.shapes import Bool, Float, Int

__all__ = ["ETS", "Seen"]

START = 0  # of a sentence, in every vocabulary


class Seen(NamedTuple):
    """The encoded video that the writer reads; `mask` is True on real rows."""

    states: Tensor  # [b t 2e]
    keys: Tensor  # [b t h]: the projected states for attention
    mask: Tensor  # [b t]
    first: Tensor  # [b h]: the writer's state before the first word


@register_model
class ETS(VideoModel):
    """Word scores, given the features of a video and the preceding words.

    Differs from PaddleVideo: attention follows the paper (eq. 12). PaddleVideo leaves the tanh out, so the state
    cancels in the soft-max, and every word attends to the same rows. Its published weights need `attention_tanh=False`.

    Input:  features [b, t, feature_dim]; mask [b, t], True on rows; words [b, n]: the start mark, then the preceding
            words, padded with -1. None means the start mark alone.
    Output: scores [b, n, num_classes], before the soft-max.

    Args:
        num_classes: size of the vocabulary; word 0 is the start mark.
        feature_dim: width of a row of features.
        embed_dim: width of the embedded rows, the encoder's input.
        encoder_dim: width of the encoder's GRU in each direction.
        decoder_dim: width of the decoder's GRU.
        word_dim: width of a word vector.
        attention_tanh: whether attention applies the tanh of eq. 12; see above.
        dropout: share set to zero in training, of the embedded rows and of the decoder's states before the word scores.
        num_frames: rows in `input_shape`; the network accepts any number.
    """

    is_classifier = False

    def __init__(
        self,
        *,
        num_classes: int = 9000,
        feature_dim: int = 2048,
        embed_dim: int = 1024,
        encoder_dim: int = 512,
        decoder_dim: int = 512,
        word_dim: int = 512,
        attention_tanh: bool = True,
        dropout: float = 0.0,
        num_frames: int = 300,
    ):
        super().__init__()
        if num_classes < 1:
            raise ConfigError(f"ets: num_classes is {num_classes}; a vocabulary needs 1 word or more")
        self.num_features = 2 * encoder_dim
        self.input_shape = (num_frames, feature_dim)
        self.feature_dim = feature_dim
        self.attention_tanh = attention_tanh
        self.embed = nn.Linear(feature_dim, embed_dim)
        self.ahead_inputs = nn.Linear(embed_dim, 3 * encoder_dim, bias=False)
        self.ahead = GRUCell(encoder_dim)
        self.back_inputs = nn.Linear(embed_dim, 3 * encoder_dim, bias=False)
        self.back = GRUCell(encoder_dim)
        self.pool = nn.Linear(2 * encoder_dim, 1, bias=False)
        self.keys = nn.Linear(2 * encoder_dim, decoder_dim, bias=False)
        self.first = nn.Linear(2 * encoder_dim, decoder_dim, bias=False)
        self.query = nn.Linear(decoder_dim, decoder_dim, bias=False)
        self.attention = nn.Linear(decoder_dim, 1, bias=False)
        self.word_inputs = nn.Linear(word_dim, 3 * decoder_dim, bias=False)
        self.context_inputs = nn.Linear(2 * encoder_dim, 3 * decoder_dim, bias=False)
        self.writer = GRUCell(decoder_dim)
        self.dropout = nn.Dropout(dropout)
        self.decoder_dim, self.word_dim = decoder_dim, word_dim
        self.reset_classifier(num_classes)
        self.param_rules = (ParamRule(r"^embed\.bias$", weight_decay=0.0),)

    def forward(
        self,
        x: Float[Tensor, "b t d"],
        mask: Bool[Tensor, "b t"] | None = None,
        words: Int[Tensor, "b _"] | None = None,
    ) -> Float[Tensor, "b _ _"]:
        if words is None:
            words = torch.full((x.shape[0], 1), START, dtype=torch.int64, device=x.device)
        scores, _ = self.write(self.encode(x, mask), words)
        return scores

    def forward_features(
        self, x: Float[Tensor, "b t d"], mask: Bool[Tensor, "b t"] | None = None
    ) -> Float[Tensor, "b _"]:
        """Returns the attention-weighted mean `[b num_features]` of the encoded features `[b t d]`."""
        return self._pooled(*self._read(x, mask))

    def encode(self, x: Float[Tensor, "b t d"], mask: Bool[Tensor, "b t"] | None = None) -> Seen:
        """Encodes features `[b t d]` for the writer.

        Raises:
            ConfigError: the features have a wrong shape.
        """
        states, mask = self._read(x, mask)
        return Seen(states, self.keys(states), mask, torch.tanh(self.first(self._pooled(states, mask))))

    def write(self, seen: Seen, words: Int[Tensor, "b n"]) -> tuple[Float[Tensor, "b n _"], Float[Tensor, "b n _"]]:
        """Returns scores `[b n v]` and attention `[b n t]` for given words `[b n]`, as in training."""
        inputs = self.word_inputs(self.words(words.clamp(min=0)))
        state, states, shares = seen.first, [], []
        for at in inputs.unbind(1):
            state, attention = self._next(at, state, seen)
            states.append(state)
            shares.append(attention)
        return self.head(self.dropout(torch.stack(states, dim=1))), torch.stack(shares, dim=1)

    def step(
        self, word: Int[Tensor, " b"], state: Float[Tensor, "b h"], seen: Seen
    ) -> tuple[Float[Tensor, "b _"], Float[Tensor, "b h"], Float[Tensor, "b _"]]:
        """Returns (scores `[b v]`, new state `[b h]`, attention `[b t]`) after one more word `[b]`."""
        state, attention = self._next(self.word_inputs(self.words(word)), state, seen)
        return self.head(state), state, attention

    def reset_classifier(self, num_classes: int) -> None:
        """Replaces the vocabulary, with newly initialised word vectors and scores."""
        self.num_classes = num_classes
        self.words = nn.Embedding(num_classes, self.word_dim)
        self.head = nn.Linear(self.decoder_dim, num_classes)

    def _read(self, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        if x.ndim != 3 or x.shape[2] != self.feature_dim:
            raise ConfigError(
                f"{self.name}: the input has shape {tuple(x.shape)}; needs features [b t {self.feature_dim}]"
            )
        rows = self.dropout(torch.tanh(self.embed(x)))
        # padding comes last in both directions and never affects a row, so packing is not needed
        ahead = run_gru(self.ahead, self.ahead_inputs(rows))
        back = reverse(run_gru(self.back, self.back_inputs(reverse(rows, mask))), mask)
        if mask is None:
            mask = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
        return torch.cat([ahead, back], dim=-1), mask

    def _pooled(self, states: Tensor, mask: Tensor) -> Tensor:
        return (masked_softmax(self.pool(states), mask) * states).sum(1)

    def _next(self, word_inputs: Tensor, state: Tensor, seen: Seen) -> tuple[Tensor, Tensor]:
        match = seen.keys + self.query(state).unsqueeze(1)
        if self.attention_tanh:
            match = torch.tanh(match)
        attention = masked_softmax(self.attention(match), seen.mask)
        context = (attention * seen.states).sum(1)
        return self.writer(word_inputs + self.context_inputs(context), state), attention.squeeze(-1)
