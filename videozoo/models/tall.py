"""TALL: scores a sentence against a window of a video and predicts the offsets of the moment from the window.

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

    Differs: the paper applies two layers to [v * s, v + s, v, s] of every pair of window v and sentence s. Here the
    first layer is split into a term for each window, a term for each sentence, and the term of the product. The results
    are equal, with a quarter of the operations and a quarter of the memory per pair.

    Input:  [b, 3 * feature_dim + sentence_dim]: features before, inside and after a window, then a sentence vector.
    Output: [b, 3]: score of the pair (a logit), offsets of start and end.

    `pairs(windows, sentences)` returns [3, num_sentences, num_windows]. For search, embed the windows once with
    `embed_windows`, then call `answer` for each query.

    Args:
        feature_dim: width of a window's feature.
        sentence_dim: width of a sentence vector; 4800 for skip-thought.
        embed_dim: width of the shared embedding of windows and sentences.
        hidden_dim: width of the hidden layer on pairs.
        init_std: standard deviation of both embeddings' initial weights. Embeddings are normalised, so a larger value
            makes their directions change more slowly in training.
        standardise: apply a batch norm without weights before the windows' embedding; not in the paper. Use it for
            features with a mean that is large relative to their variation, e.g. after a rectifier.
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
        """Embeds window features `[w, 3 * feature_dim]` as unit vectors `[w, embed_dim]`."""
        return F.normalize(self.window(self.norm(windows)), dim=-1)

    def embed_sentences(self, sentences: Float[Tensor, "... d"]) -> Float[Tensor, "... _"]:
        """Embeds sentence vectors `[s, sentence_dim]` as unit vectors `[s, embed_dim]`."""
        return F.normalize(self.sentence(sentences), dim=-1)

    def pairs(self, windows: Tensor, sentences: Tensor) -> Tensor:
        """Scores all pairs of windows `[w, 3 * feature_dim]` and sentences `[s, sentence_dim]`: `[3, s, w]`."""
        v, s = self.embed_windows(windows), self.embed_sentences(sentences)
        of_product, of_window, of_sentence = self._split()
        product = F.linear(v * s.unsqueeze(1), of_product)
        hidden = product + F.linear(v, of_window) + F.linear(s, of_sentence).unsqueeze(1)
        scores: Tensor = self.head(hidden.relu_())
        return scores.permute(2, 0, 1)

    def answer(self, embedded: Tensor, sentence: Tensor) -> Tensor:
        """Scores one sentence `[sentence_dim]` against embedded windows `[w, embed_dim]`: `[w, 3]`."""
        s = self.embed_sentences(sentence.unsqueeze(0))
        of_product, of_window, of_sentence = self._split()
        hidden = F.linear(embedded, of_product * s + of_window, F.linear(s, of_sentence).squeeze(0))
        scores: Tensor = self.head(hidden.relu_())
        return scores

    def _split(self) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the hidden layer's weights for v * s, v and s."""
        product, total, window, sentence = self.hidden.weight.chunk(4, dim=1)
        return product, total + window, total + sentence
