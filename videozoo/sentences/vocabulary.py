"""The words that sentences are made of."""

from __future__ import annotations

from collections.abc import Iterable

from videozoo.sentences.tokens import tokenize

__all__ = ["vocabulary"]


def vocabulary(sentences: Iterable[str]) -> tuple[str, ...]:
    """Returns every word of `sentences` once, sorted."""
    return tuple(sorted({word for sentence in sentences for word in tokenize(sentence)}))
