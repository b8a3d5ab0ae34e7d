"""The contract of a sentence encoder: sentences in, vectors out, each sentence encoded once."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from videozoo.config.check import accepted, build
from videozoo.errors import ConfigError, DataError
from videozoo.sentences.registry import encoders
from videozoo.sentences.tokens import tokenize

__all__ = ["Network", "SentenceEncoder", "build_encoder", "stored_encoder"]

BATCH_SIZE = 64
Network = Callable[[np.ndarray, np.ndarray], np.ndarray]  # token ids and their mask `[b n]` to vectors `[b d]`


class SentenceEncoder(abc.ABC):
    """Turns sentences into vectors and caches them; it is not trained, and only its network needs torch.

    Attributes:
        dim: width of a vector.
        sha256: of everything that the vectors depend on; a run must be queried with its training encoder.
        module: the network in torch, which an export stores; None if the encoder has no network.
    """

    dim: int
    sha256: str
    module: Any = None

    def __init__(self) -> None:
        self._known: dict[str, np.ndarray] = {}

    def __call__(self, sentences: Sequence[str]) -> np.ndarray:
        """Returns one vector a sentence: float32 `[n, dim]`.

        Raises:
            DataError: a sentence is empty, or has no words that this encoder knows.
        """
        new = sorted({sentence for sentence in sentences if sentence not in self._known}, key=lambda s: (len(s), s))
        for sentence in new:
            if not tokenize(sentence):
                fault = f"'{sentence}' has no words" if sentence.strip() else "is empty"
                raise DataError(f"query: {fault}; say what to look for in a few words")
        for first in range(0, len(new), BATCH_SIZE):
            chunk = new[first : first + BATCH_SIZE]
            self._known |= dict(zip(chunk, self.encode(chunk), strict=True))
        return np.stack([self._known[sentence] for sentence in sentences])

    @abc.abstractmethod
    def encode(self, sentences: list[str]) -> np.ndarray:
        """Returns vectors `[n, dim]` of non-empty sentences; raises DataError if it knows no word of one."""

    @abc.abstractmethod
    def store(self, folder: Path) -> dict[str, Any]:
        """Writes the encoder's files into an export and returns its arguments; `stored_encoder` takes them back."""


def build_encoder(
    args: Mapping[str, Any], *, vocabulary: Sequence[str], sha256: str | None = None, where: str
) -> SentenceEncoder:
    """Builds the encoder named in `args`, e.g. {"name": "minilm"}.

    Args:
        vocabulary: the words of the training sentences, for encoders limited to them.
        sha256: the expected value of its `sha256`.

    Raises:
        ConfigError: no such encoder, an unknown argument, or a different `sha256`.
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
            f"{where}: the run was trained with a different '{name}' (SHA-256 {sha256[:12]}..., this one has "
            f"{encoder.sha256[:12]}...); install the version of the run"
        )
    return encoder


def stored_encoder(
    args: Mapping[str, Any], folder: Path, *, vocabulary: Sequence[str], network: Network, where: str
) -> SentenceEncoder:
    """Returns the encoder that `SentenceEncoder.store` wrote into a folder.

    Args:
        network: computes vectors of tokens, for encoders that have a network.

    Raises:
        ConfigError: no such encoder, or an unknown argument.
        DataError: one of its files is missing or damaged.
        MissingPackageError: its package is not installed.
    """
    rest = dict(args)
    part = encoders.get(rest.pop("name"))
    offered = {"vocabulary": tuple(vocabulary), "folder": folder, "network": network}
    given = {name: value for name, value in offered.items() if name in accepted(part)}
    encoder: SentenceEncoder = build(part, rest, where=where, **given)
    return encoder
