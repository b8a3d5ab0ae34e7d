"""Sentences by the words in them: needs no package and no weights, and knows no word beyond the training's."""

from __future__ import annotations

import hashlib

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from videozoo.errors import DataError
from videozoo.sentences.encoder import SentenceEncoder
from videozoo.sentences.registry import register_encoder
from videozoo.sentences.tokens import tokenize

__all__ = ["BagOfWords"]


@register_encoder
class BagOfWords(SentenceEncoder):
    """The sum of the words' vectors at unit length; a word's vector is drawn at random, by its letters alone.

    A model's first layer turns them into whatever it needs; random vectors of a few hundred numbers are as good as at
    right angles. Words that no training sentence had count nothing.

    Args:
        dim: width of a vector.
    """

    def __init__(self, *, vocabulary: tuple[str, ...], dim: int = 256):
        super().__init__()
        self.dim = dim
        self._vectors = {word: _vector(word, dim) for word in vocabulary}
        self.sha256 = hashlib.sha256(f"{dim} {' '.join(sorted(vocabulary))}".encode()).hexdigest()

    def encode(self, sentences: list[str]) -> Tensor:
        return F.normalize(torch.stack([self._sum(sentence) for sentence in sentences]), dim=-1)

    def _sum(self, sentence: str) -> Tensor:
        found = [self._vectors[word] for word in tokenize(sentence) if word in self._vectors]
        if not found:
            some = ", ".join(list(self._vectors)[:10])
            raise DataError(
                f"query: no word of '{sentence}' was in the training sentences; they had {len(self._vectors)} words, "
                f"such as {some}"
            )
        return torch.stack(found).sum(0)


def _vector(word: str, dim: int) -> Tensor:
    seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "little")
    drawn = np.random.Generator(np.random.PCG64(seed)).standard_normal(dim)
    return torch.from_numpy((drawn / dim**0.5).astype(np.float32))
