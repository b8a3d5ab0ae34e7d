"""Sentence vectors from words: needs no package and no weights, and knows only the words of the training data."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from videozoo.errors import DataError
from videozoo.sentences.encoder import SentenceEncoder
from videozoo.sentences.registry import register_encoder
from videozoo.sentences.tokens import tokenize

__all__ = ["BagOfWords"]


@register_encoder
class BagOfWords(SentenceEncoder):
    """The sum of the words' vectors, scaled to unit length; each word's vector is random, seeded by its letters.

    Random vectors of a few hundred numbers are nearly orthogonal, so the model's first layer can tell words apart.
    Words outside the training sentences are ignored.

    Args:
        dim: width of a vector.
    """

    def __init__(self, *, vocabulary: tuple[str, ...], dim: int = 256):
        super().__init__()
        self.dim = dim
        self._vectors = {word: _vector(word, dim) for word in vocabulary}
        self.sha256 = hashlib.sha256(f"{dim} {' '.join(sorted(vocabulary))}".encode()).hexdigest()

    def encode(self, sentences: list[str]) -> np.ndarray:
        sums = np.stack([self._sum(sentence) for sentence in sentences])
        vectors: np.ndarray = sums / np.linalg.norm(sums, axis=-1, keepdims=True)
        return vectors

    def store(self, folder: Path) -> dict[str, Any]:
        return {"name": "bag_of_words", "dim": self.dim}  # its vocabulary is the class names

    def _sum(self, sentence: str) -> np.ndarray:
        found = [self._vectors[word] for word in tokenize(sentence) if word in self._vectors]
        if not found:
            some = ", ".join(list(self._vectors)[:10])
            raise DataError(
                f"query: no word of '{sentence}' was in the training sentences; they had {len(self._vectors)} words, "
                f"such as {some}"
            )
        total: np.ndarray = np.sum(found, axis=0)
        return total


def _vector(word: str, dim: int) -> np.ndarray:
    seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "little")
    drawn = np.random.Generator(np.random.PCG64(seed)).standard_normal(dim)
    vector: np.ndarray = (drawn / dim**0.5).astype(np.float32)
    return vector
