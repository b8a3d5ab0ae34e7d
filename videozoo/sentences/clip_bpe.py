"""The tokenizer of CLIP: lower-case text to pieces of words, by byte-pair merges."""

from __future__ import annotations

import functools
import gzip
import html
import itertools
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

__all__ = ["END", "START", "VOCABULARY", "encode"]

MERGES = Path(__file__).with_name("clip_merges.txt.gz")  # see LICENSE-CLIP.txt
LAST = "</w>"  # marks the last piece of a word
START, END = 49406, 49407
VOCABULARY = 49408
CONTRACTION = re.compile("'(?:s|t|re|ve|m|ll|d)")
QUOTES = str.maketrans("‘’“”", "''\"\"")


def encode(sentences: Sequence[str], *, context: int) -> np.ndarray:
    """Returns the tokens of sentences, int64 `[n context]`: a start, the pieces, an end, zeros; long ones are cut."""
    tokens = np.zeros((len(sentences), context), np.int64)
    for row, sentence in zip(tokens, sentences, strict=True):
        pieces = [START, *_pieces(sentence)][: context - 1] + [END]
        row[: len(pieces)] = pieces
    return tokens


def _pieces(sentence: str) -> list[int]:
    text = unicodedata.normalize("NFC", html.unescape(html.unescape(sentence))).translate(QUOTES)
    words = _words(" ".join(text.split()).lower())
    return [number for word in words for number in _pieces_of_word(word)]


def _words(text: str) -> Iterator[str]:
    """Splits text into contractions, runs of letters, single digits and runs of other characters."""
    place = 0
    while place < len(text):
        if contraction := CONTRACTION.match(text, place):
            yield contraction[0]
            place = contraction.end()
            continue
        kind, end = _kind(text[place]), place + 1
        while kind != "N" and end < len(text) and _kind(text[end]) == kind:
            end += 1
        if kind != " ":
            yield text[place:end]
        place = end


def _kind(letter: str) -> str:
    """Returns "L" for letters, "N" for numbers, " " for spaces and "" for everything else."""
    category = unicodedata.category(letter)[0]
    return category if category in "LN" else " " if letter.isspace() else ""


@functools.lru_cache(maxsize=100_000)
def _pieces_of_word(word: str) -> tuple[int, ...]:
    letters, ranks, numbers = _vocabulary()
    pieces = [letters[byte] for byte in word.encode()]
    pieces[-1] += LAST
    while len(pieces) > 1:
        best = min(itertools.pairwise(pieces), key=lambda pair: ranks.get(pair, len(ranks)))
        if best not in ranks:
            break
        pieces = _merged(pieces, best)
    return tuple(numbers[piece] for piece in pieces)


def _merged(pieces: Sequence[str], pair: tuple[str, str]) -> list[str]:
    """Joins each occurrence of a pair, from the left."""
    merged: list[str] = []
    for piece in pieces:
        if merged and (merged[-1], piece) == pair and not merged[-1].endswith(LAST):
            merged[-1] += piece
        else:
            merged.append(piece)
    return merged


@functools.lru_cache(maxsize=1)
def _vocabulary() -> tuple[Sequence[str], Mapping[tuple[str, str], int], Mapping[str, int]]:
    """Returns a letter for each byte, the rank of each merge, and the number of each piece."""
    shown = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = [byte for byte in range(256) if byte not in shown]
    of_byte = {byte: chr(byte) for byte in shown} | {byte: chr(256 + i) for i, byte in enumerate(hidden)}
    lines = gzip.decompress(MERGES.read_bytes()).decode().splitlines()
    merges = [(first, second) for first, second in (line.split() for line in lines)]
    singles = list(of_byte.values())
    names = [*singles, *(letter + LAST for letter in singles), *map("".join, merges)]
    letters = [of_byte[byte] for byte in range(256)]
    return letters, {pair: i for i, pair in enumerate(merges)}, {name: i for i, name in enumerate(names)}
