"""Compares the forms of one network on videos: the outputs on the same pixels, and the answers, also a server's."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from videozoo.contracts.answer import Segments
from videozoo.contracts.backend import Backend, Outputs
from videozoo.contracts.input import Batch, Form
from videozoo.contracts.network import Network
from videozoo.errors import ConfigError, DataError
from videozoo.export.served import TOP, Document, Server, apart, best_of
from videozoo.predict.index import RunMark, VideoIndex
from videozoo.predict.predictor import Predictor
from videozoo.predict.search import Searcher
from videozoo.runtimes.folder import EXTRACTOR_FOLDER, ExportPrecision, read_description

__all__ = ["TOLERANCES", "Comparison", "ServedAnswer", "compare", "usual_tolerance"]

# Differences of outputs that are usual for a precision, relative to outputs above 1.
TOLERANCES: dict[ExportPrecision, float] = {"fp32": 1e-4, "fp16": 1e-2, "int8": 0.2}

Call = tuple[str, Outputs]


@dataclasses.dataclass(frozen=True)
class ServedAnswer:
    """How a server's answer agrees with that of the reference or of the other, whichever is nearer.

    Attributes:
        difference: the largest of all numbers; infinite where words or the number of entries differ.
        has_same_best: whether its best entries are the same.
        seconds: from the request to the answer.
    """

    difference: float
    has_same_best: bool
    seconds: float


@dataclasses.dataclass(frozen=True)
class Comparison:
    """How two forms of a network agree on a video.

    Attributes:
        difference: the largest of all outputs on the same pixels; of outputs above 1 relative to the largest of them,
            infinite where the outputs have different shapes.
        best: the best answers, in windows one each, of (the reference, the other), each with its own preprocessing.
        seconds: that (the reference, the other) computed, without decoding and preprocessing.
        served: the answer of a server, if there is one.
    """

    video: str
    difference: float
    best: tuple[tuple[str, ...], tuple[str, ...]]
    seconds: tuple[float, float]
    served: ServedAnswer | None = None

    @property
    def has_same_best(self) -> bool:
        return self.best[0] == self.best[1]


def compare(
    reference: Network,
    other: Network,
    videos: Iterable[Path],
    *,
    window_s: float | None = None,
    query: str | None = None,
    server: Server | None = None,
) -> Iterator[Comparison | DataError]:
    """Yields one comparison a video; of a video that cannot be read, its error.

    Args:
        window_s: length of windows that are answered, too.
        query: the sentence for networks that answer sentences.
        server: answers as well, with one of both networks.

    Raises:
        ConfigError: the networks do not belong together, a query is missing, or the server does not answer.
    """
    marks = [f"{network.name} with weights {network.fingerprint()[:12]}" for network in (reference, other)]
    if marks[0] != marks[1]:
        raise ConfigError(
            f"{other.source}: was exported from {marks[1]}, and {reference.source} holds {marks[0]}; export it again, "
            "or name the run that it came from"
        )
    if reference.task == "ground" and query is None:
        raise ConfigError("--query: is missing; the network answers sentences, so give one")
    same_pixels, as_usual, exported = (
        _Ear(network, form=form, window_s=window_s, query=query)
        for network, form in ((reference, other.backend.form), (reference, reference.backend.form), (other, None))
    )
    is_warm = False
    for video in videos:
        try:
            if not is_warm:  # the first call of a runtime plans its memory
                as_usual(video), exported(video)
                is_warm = True
            _, _, wanted = same_pixels(video)
            usual_best, usual_s, _ = as_usual(video)
            best, seconds, found = exported(video)
            served = _served(server, video, (as_usual, exported)) if server is not None else None
        except DataError as error:
            yield error
            continue
        yield Comparison(str(video), _difference(wanted, found), (usual_best, best), (usual_s, seconds), served)


def _served(server: Server, video: Path, ears: Sequence[_Ear]) -> ServedAnswer:
    query = ears[0].query
    found, seconds = server.answer(video, window_s=ears[0].window_s if query is None else None, query=query)
    differences = [apart(ear.said, found) for ear in ears]
    has_same_best = any(best_of(ear.said) == best_of(found) for ear in ears)
    return ServedAnswer(min(differences), has_same_best, seconds)


def usual_tolerance(folder: Path) -> float:
    """Returns the difference of outputs that the precision of an exported network, or of its extractor, explains."""
    told = read_description(folder)
    inner = [usual_tolerance(folder / EXTRACTOR_FOLDER)] if told.get("has_extractor") else []
    return max(TOLERANCES[told["precision"]], *inner, 0.0)


class _Ear:
    """A network that answers for videos while all its outputs, and those of its extractor, are kept."""

    def __init__(self, network: Network, *, form: Form | None, window_s: float | None, query: str | None):
        self.calls: list[Call] = []
        self.seconds = 0.0
        self.said: Document = {}  # the latest answer
        self.window_s, self.query = window_s, query
        network = self._heard(network, form)
        if (opener := network.open_extractor) is not None:
            extractor = opener()
            network = dataclasses.replace(network, open_extractor=lambda: self._heard(extractor, form))
        self.predictor = Predictor(network)
        self.mark = RunMark(network.source, network.fingerprint())

    def __call__(self, video: Path) -> tuple[tuple[str, ...], float, list[Call]]:
        """Returns (the best answers, seconds that were computed, the outputs of all calls)."""
        self.calls, self.seconds = [], 0.0
        best = self._answered(video) if self.query is None else self._searched(video, self.query)
        return best, self.seconds, self.calls

    def _answered(self, video: Path) -> tuple[str, ...]:
        prediction = self.predictor(video, window_s=self.window_s)
        self.said = prediction.keep(top=TOP).to_dict(top=TOP)
        answers = [prediction.answer, *(window.answer for window in prediction.windows)]
        return tuple(text for answer in answers for text, _ in answer.ranked(top=1))

    def _searched(self, video: Path, query: str) -> tuple[str, ...]:
        searcher = Searcher(self.predictor, self.mark)
        hits = searcher.ask(VideoIndex(self.mark, (searcher.look(video),)), query, top=TOP)
        self.said = {**Segments(tuple(hit.span for hit in hits)).to_dict(), "windows": []}
        return tuple(f"{hit.start_s:.2f}..{hit.end_s:.2f} s" for hit in hits[:1])

    def _heard(self, network: Network, form: Form | None) -> Network:
        return dataclasses.replace(network, backend=_Heard(network.backend, form or network.backend.form, self))


@dataclasses.dataclass(frozen=True)
class _Heard:
    """A backend that tells an ear what it computes; samples may come in the other form, which it takes as well."""

    backend: Backend
    form: Form
    ear: _Ear

    def collate(self, samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        return self.backend.collate(samples)

    def outputs(self, batch: Batch, *, graph: str = "main") -> Outputs:
        start_s = time.perf_counter()
        found = self.backend.outputs(batch, graph=graph)
        self.ear.seconds += time.perf_counter() - start_s
        self.ear.calls.append((graph, found))
        return found


def _difference(wanted: Sequence[Call], found: Sequence[Call]) -> float:
    if [graph for graph, _ in wanted] != [graph for graph, _ in found]:
        return float("inf")
    pairs = zip(wanted, found, strict=True)
    return max((_apart(a, b[name]) for (_, ours), (_, b) in pairs for name, a in ours.items()), default=float("inf"))


def _apart(wanted: np.ndarray, found: np.ndarray) -> float:
    if wanted.shape != found.shape:
        return float("inf")
    a, b = wanted.astype(np.float64), found.astype(np.float64)
    return float(np.abs(a - b).max(initial=0.0) / max(1.0, np.abs(a).max(initial=0.0)))
