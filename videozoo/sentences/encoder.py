"""The contract of a sentence encoder: sentences in, vectors out, each sentence encoded once."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from videozoo.config.check import accepted, build
from videozoo.errors import ConfigError, DataError
from videozoo.sentences.registry import encoders
from videozoo.sentences.tokens import tokenize

__all__ = ["SentenceEncoder", "build_encoder"]

BATCH_SIZE = 64


class SentenceEncoder(abc.ABC):
    """Turns sentences into vectors and remembers them; nothing in it learns.

    Attributes:
        dim: width of a vector.
        sha256: of what the vectors depend on; a run is asked with the very encoder it was trained with.
    """

    dim: int
    sha256: str

    def __init__(self) -> None:
        self._known: dict[str, Tensor] = {}

    def __call__(self, sentences: Sequence[str]) -> Tensor:
        """One vector a sentence: float32 `[n, dim]`, on the CPU.

        Raises:
            DataError: a sentence that is empty, or that this encoder can make nothing of.
        """
        new = sorted({sentence for sentence in sentences if sentence not in self._known}, key=lambda s: (len(s), s))
        for sentence in new:
            if not tokenize(sentence):
                what = f"'{sentence}' has no words" if sentence.strip() else "is empty"
                raise DataError(f"query: {what}; say what to look for in a few words")
        for first in range(0, len(new), BATCH_SIZE):
            chunk = new[first : first + BATCH_SIZE]
            with torch.inference_mode(False), torch.no_grad():  # what is kept may be trained with later
                self._known |= dict(zip(chunk, self.encode(chunk), strict=True))
        return torch.stack([self._known[sentence] for sentence in sentences])

    @abc.abstractmethod
    def encode(self, sentences: list[str]) -> Tensor:
        """The vectors `[n, dim]` of sentences that are not empty; DataError on one without any meaning to it."""


def build_encoder(
    args: Mapping[str, Any], *, vocabulary: Sequence[str], sha256: str | None = None, where: str
) -> SentenceEncoder:
    """The encoder that `args` name, e.g. {"name": "minilm"}.

    Args:
        vocabulary: the words of the training sentences, for encoders that know no other.
        sha256: what its `sha256` has to be.

    Raises:
        ConfigError: no such encoder, an argument it does not take, or not the one of this `sha256`.
        MissingPackageError: its package is not installed.
    """
    rest = dict(args)
    name = rest.pop("name", None)
    if not isinstance(name, str):
        raise ConfigError(f"{where}.name: is missing; name a sentence encoder: {', '.join(encoders.names())}")
    part = encoders.get(name)
    given = {"vocabulary": tuple(vocabulary)} if "vocabulary" in accepted(part) else {}
    encoder: SentenceEncoder = build(part, rest, where=where, **given)
    if sha256 is not None and encoder.sha256 != sha256:
        raise ConfigError(
            f"{where}: the run was trained with another '{name}' (SHA-256 {sha256[:12]}..., this one has "
            f"{encoder.sha256[:12]}...); install the version that it was trained with"
        )
    return encoder
