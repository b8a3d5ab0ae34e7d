"""Searches many videos by words, with a network that compares videos with sentences."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from videozoo.contracts.answer import Embedding
from videozoo.contracts.network import Network
from videozoo.errors import ConfigError, DataError
from videozoo.predict.index import RunMark
from videozoo.predict.predictor import Predictor
from videozoo.predict.search import Hit
from videozoo.predict.vector_index import Found, VectorIndex

__all__ = ["Hits", "VectorSearcher"]


@dataclasses.dataclass(frozen=True)
class Hits:
    """The answer to a query: hits, best first, and whether the best one stands out from all other stretches."""

    hits: tuple[Hit, ...]
    found: Found

    @property
    def stands_out(self) -> bool:
        return self.found.stands_out


@dataclasses.dataclass(frozen=True)
class VectorSearcher:
    """Embeds videos, and answers sentences about them.

    Args:
        network: compares videos with sentences.
        run: the mark stored in its indexes.
    """

    network: Network
    run: RunMark

    def __post_init__(self) -> None:
        if not issubclass(self.network.decoder.answers, Embedding):
            raise ConfigError(
                f"{self.run.path}: '{self.network.name}' does not compare videos with sentences; take a dual encoder, "
                "e.g. pe_core.b, or with an index ending in .parquet a grounding run"
            )

    def add(self, index: VectorIndex, video: Path, *, batch_size: int = 8) -> int:
        """Embeds the stretches of a video and adds them to the index; returns their number.

        Raises:
            DecodeError: the file cannot be read.
        """
        index.check_run(self.run)
        predictor = Predictor(self.network)
        found = predictor(video, window_s=index.window_s, stride_s=index.stride_s, batch_size=batch_size)
        vectors = np.stack([window.answer.vector for window in found.windows if isinstance(window.answer, Embedding)])
        times_s = np.array([(window.start_s, window.end_s) for window in found.windows])
        index.add(video, found.info.duration_s, times_s, vectors)
        return len(vectors)

    def ask(self, index: VectorIndex, query: str, *, top: int = 5) -> Hits:
        """Returns the best stretches of all videos for a sentence.

        Raises:
            DataError: the query is empty, or a different run made the index.
            ConfigError: `top` is below 1.
        """
        if top < 1:
            raise ConfigError(f"top: got {top}; needs at least 1")
        if not query.strip():
            raise DataError("query: is empty; say what to look for in a few words")
        index.check_run(self.run)
        (vector,) = self.network.backend.outputs({"sentences": [query]}, graph="text")["texts"]
        found = index.nearest(vector, top=top)
        hits = tuple(Hit(video.path, start_s, end_s, score, query) for video, start_s, end_s, score in found.hits)
        return Hits(hits, found)
