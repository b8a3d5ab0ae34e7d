"""TALL: how well a sentence fits a window of a video, and how far the moment's ends are from the window's.

Paper: Gao et al., arXiv:1705.02101, section 3.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from videozoo.errors import ConfigError
from videozoo.models.model import VideoModel
from videozoo.models.registry import register_model
from videozoo.shapes import Float

__all__ = ["Tall"]

NUM_OUTPUTS = 3  # score, start offset, end offset


@register_model
class Tall(VideoModel):
    """Cross-modal temporal regression localizer, the variant with parametrised offsets.

    The paper joins window v and sentence s to [v * s, v + s, v, s] for every pair and puts two layers on it. The first
    is linear in all but the product, so that it splits into a part of each window, a part of each sentence, and one
    product: the same numbers in a quarter of the operations, and no tensor of all pairs four times as wide.

    Input:  [b, 3 * feature_dim + sentence_dim]: features before a window, in it and after it, and a sentence.
    Output: [b, 3]: score of the pair (a logit), offsets of start and end.

    `pairs(windows, sentences)` gives [3, num_sentences, num_windows]. For search, `embed_windows` is all that a
    window needs to be asked: it is made once, and `answer` holds a query against it.

    Args:
        feature_dim: width of a window's feature.
        sentence_dim: width of a sentence's vector; 4800 is skip-thought's.
        embed_dim: width in which windows and sentences meet.
        hidden_dim: width of the layer on pairs.
        init_std: spread of the two embeddings at first. They are normalised, so that it decides how fast they turn.
        standardise: a batch norm without weights before the windows' embedding, which the paper has not: for features
            whose means say more than what changes, as those behind a rectifier.
    """

    is_classifier = False

    def __init__(
        self,
        *,
        feature_dim: int = 4096,
        sentence_dim: int = 4800,
        embed_dim: int = 1024,
        hidden_dim: int = 1000,
        init_std: float = 1.0,
        standardise: bool = False,
    ):
        super().__init__()
        self.num_classes, self.num_features = 0, embed_dim
        self.feature_dim, self.sentence_dim = feature_dim, sentence_dim
        self.input_shape = (3 * feature_dim + sentence_dim,)
        self.norm = nn.BatchNorm1d(3 * feature_dim, affine=False) if standardise else nn.Identity()
        self.window = nn.Linear(3 * feature_dim, embed_dim, bias=False)
        self.sentence = nn.Linear(sentence_dim, embed_dim, bias=False)
        self.hidden = nn.Linear(4 * embed_dim, hidden_dim, bias=False)
        self.head = nn.Linear(hidden_dim, NUM_OUTPUTS, bias=False)
        for embedding in (self.window, self.sentence):
            nn.init.normal_(embedding.weight, std=init_std)

    def forward(self, x: Float[Tensor, "b d"]) -> Float[Tensor, "b 3"]:
        if x.ndim != 2 or x.shape[-1] != self.input_shape[0]:
            raise ConfigError(f"{self.name}: the input has shape {tuple(x.shape)}; needs [b, {self.input_shape[0]}]")
        windows, sentences = x.split([3 * self.feature_dim, self.sentence_dim], dim=-1)
        v, s = self.embed_windows(windows), self.embed_sentences(sentences)
        of_product, of_window, of_sentence = self._split()
        hidden = F.linear(v * s, of_product) + F.linear(v, of_window) + F.linear(s, of_sentence)
        scores: Tensor = self.head(hidden.relu())
        return scores

    def forward_features(self, x: Float[Tensor, "b d"]) -> Float[Tensor, "b _"]:
        return self.embed_windows(x[:, : 3 * self.feature_dim])

    def embed_windows(self, windows: Float[Tensor, "... d"]) -> Float[Tensor, "... _"]:
        """Features `[w, 3 * feature_dim]` to unit vectors `[w, embed_dim]`."""
        return F.normalize(self.window(self.norm(windows)), dim=-1)

    def embed_sentences(self, sentences: Float[Tensor, "... d"]) -> Float[Tensor, "... _"]:
        """Vectors `[s, sentence_dim]` to unit vectors `[s, embed_dim]`."""
        return F.normalize(self.sentence(sentences), dim=-1)

    def pairs(self, windows: Tensor, sentences: Tensor) -> Tensor:
        """Each of `[s, sentence_dim]` with each of `[w, 3 * feature_dim]`: `[3, s, w]`."""
        v, s = self.embed_windows(windows), self.embed_sentences(sentences)
        of_product, of_window, of_sentence = self._split()
        product = F.linear(v * s.unsqueeze(1), of_product)
        hidden = product + F.linear(v, of_window) + F.linear(s, of_sentence).unsqueeze(1)
        scores: Tensor = self.head(hidden.relu_())
        return scores.permute(2, 0, 1)

    def answer(self, embedded: Tensor, sentence: Tensor) -> Tensor:
        """One sentence `[sentence_dim]` held against embedded windows `[w, embed_dim]`: `[w, 3]`."""
        s = self.embed_sentences(sentence.unsqueeze(0))
        of_product, of_window, of_sentence = self._split()
        hidden = F.linear(embedded, of_product * s + of_window, F.linear(s, of_sentence).squeeze(0))
        scores: Tensor = self.head(hidden.relu_())
        return scores

    def _split(self) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the hidden layer's weights for v * s, v and s."""
        product, total, window, sentence = self.hidden.weight.chunk(4, dim=1)
        return product, total + window, total + sentence
