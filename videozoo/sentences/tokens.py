"""Sentences as lists of words for models that write them, and back."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

__all__ = ["END", "SPECIALS", "START", "UNKNOWN", "frequent_words", "join_words", "tokenize"]

SPECIALS = ("<s>", "<e>", "<unk>")  # open a sentence, end it, and stand for a word that is too rare
START, END, UNKNOWN = range(3)

_WORD = re.compile(
    r"\d+(?:[.,:/]\d+)+"  # 3.5, 10,000, 9:30
    r"|\w+?(?=n't\b)|n't\b"  # do + n't
    r"|'(?:s|m|d|re|ve|ll)\b"  # coach + 's
    r"|\w+(?:-\w+)*"  # close-up
)


def tokenize(sentence: str) -> list[str]:
    """Splits a sentence into lower-case words as the Penn Treebank does, without punctuation.

    Contractions are two words (`do n't`, `it 's`, `can not`), hyphens join one, numbers keep their points.
    """
    text = sentence.lower().replace("’", "'")
    return _WORD.findall(re.sub(r"\bcannot\b", "can not", text))


def join_words(words: Sequence[str]) -> str:
    """Joins words to a readable sentence, with contractions restored."""
    return re.sub(r" (?=n't\b|'(?:s|m|d|re|ve|ll)\b)", "", " ".join(words))


def frequent_words(sentences: Iterable[Sequence[str]], *, min_count: int = 1) -> tuple[str, ...]:
    """Returns `SPECIALS`, then the words that occur `min_count` times or more, by frequency, then alphabetically."""
    counts = Counter(word for words in sentences for word in words)
    return (*SPECIALS, *sorted((w for w, n in counts.items() if n >= min_count), key=lambda w: (-counts[w], w)))
