"""A worker process: reads one file at a time and asks the server for the outputs of the networks.

It holds everything of a network but its weights. A file that crashes or stalls the decoder ends this process only.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from videozoo.config.uses import import_modules
from videozoo.contracts.answer import Segments
from videozoo.contracts.backend import Decoder, Outputs
from videozoo.contracts.input import Batch, Form, InputSpec
from videozoo.contracts.network import Network
from videozoo.errors import ConfigError, VideoZooError
from videozoo.io.isolation import end_with
from videozoo.io.limits import set_max_duration, set_max_pixels
from videozoo.predict.answers import FORMATS, Answers
from videozoo.predict.index import RunMark, VideoIndex
from videozoo.predict.prediction import Prediction
from videozoo.predict.predictor import Predictor
from videozoo.predict.search import Searcher, can_search
from videozoo.predict.session import Request, Session
from videozoo.predict.view import to_view
from videozoo.serve.refusal import Refusal, refusal_of
from videozoo.serve.settings import Limits
from videozoo.transforms.collate import collate

__all__ = ["Asked", "Card", "Fault", "Job", "NetworkKey", "work"]

MAX_WINDOWS = 20_000  # of one answer
VIEW = "view"  # the form of an answer for drawing
NetworkKey = tuple[str, str]  # the name of a model, and "main" or "extractor"


@dataclasses.dataclass(frozen=True)
class Card:
    """The parts of a network that a worker needs: all but the backend."""

    source: str
    name: str
    task: str
    form: Form
    decoder: Decoder
    spec: InputSpec
    num_features: int
    fingerprint: str
    arrays: Mapping[str, np.ndarray]
    feature_recipe: Mapping[str, Any] | None
    extractor: Card | None

    @classmethod
    def of(cls, network: Network, extractor: Network | None) -> Card:
        """Returns the card of a network and its opened extractor."""
        return cls(
            source=network.source,
            name=network.name,
            task=network.task,
            form=network.backend.form,
            decoder=network.decoder,
            spec=network.spec,
            num_features=network.num_features,
            fingerprint=network.fingerprint(),
            arrays=network.arrays,
            feature_recipe=network.feature_recipe,
            extractor=None if extractor is None else cls.of(extractor, None),
        )


@dataclasses.dataclass(frozen=True)
class Job:
    """One request.

    Attributes:
        path: the file to read.
        name: the name of the file in the answer.
        model: the name of the model that answers.
        finder: the name of the model that finds the segments to answer for, or None.
        query: the sentence for a model that searches.
        formats: further forms of the answer: formats of files, and VIEW.
    """

    path: str
    name: str
    model: str
    request: Request
    finder: str | None = None
    query: str | None = None
    formats: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Asked:
    """The worker asks for outputs of a network: for samples of a pipeline, or for a batch that no pipeline made."""

    network: NetworkKey
    graph: str
    samples: Sequence[Mapping[str, Any]] = ()
    batch: Mapping[str, Any] | None = None


@dataclasses.dataclass(frozen=True)
class Fault:
    """A traceback of the worker, for the server's log."""

    text: str


def work(connection: Connection, cards: Mapping[str, Card], limits: Limits, allow_code: Sequence[str]) -> None:
    """Answers jobs until the server closes the connection."""
    for number in (signal.SIGINT, signal.SIGTERM):  # a server that stops finishes its requests first
        signal.signal(number, signal.SIG_IGN)
    end_with(os.getppid())
    if (torch := sys.modules.get("torch")) is not None:  # the processes are the parallelism
        torch.set_num_threads(1)
    set_max_pixels(limits.pixels)
    set_max_duration(limits.duration_s)
    import_modules(allow_code, where="allow_code")
    networks = {name: _network(card, (name, "main"), connection) for name, card in cards.items()}
    predictors = {name: Predictor(network) for name, network in networks.items()}
    connection.send("ready")
    while True:
        try:
            job: Job = connection.recv()
        except EOFError:
            return
        try:
            connection.send(_answer(job, predictors))
        except VideoZooError as error:
            connection.send(refusal_of(error, path=job.path, name=job.name))
        except MemoryError:
            connection.send(Refusal(422, "limit", f"{job.name}: needs more memory than there is; send a smaller video"))
        except Exception:  # a fault of this package, which the server logs
            connection.send(Fault(traceback.format_exc()))


def _answer(job: Job, predictors: Mapping[str, Predictor]) -> bytes:
    """Returns the answer as JSON, in the form of `predict --json`, with the files that were asked for."""
    predictor = predictors[job.model]
    if can_search(predictor.network):
        prediction = _searched(job, predictor)
    else:
        finder = predictors[job.finder] if job.finder is not None else None
        session = Session(predictor, job.request, finder=finder)
        prediction = session.answer(Path(job.path), progress=_bounded)
    info = dataclasses.replace(prediction.info, path=job.name)
    prediction = dataclasses.replace(prediction, id=job.name, info=info)
    top = 5 if job.request.top is None else job.request.top
    min_score = 0.0 if job.finder is not None else job.request.min_score or 0.0
    answers = Answers(job.model, top=top, min_score=min_score, found=[prediction])
    document = json.loads(answers.text("json"))
    if VIEW in job.formats:
        document["view"] = to_view(answers, prediction)
    if files := [name for name in job.formats if name != VIEW]:
        document["files"] = {name: text for name in files if (text := _text(answers, name)) is not None}
    return json.dumps(document, ensure_ascii=False).encode("utf-8", errors="backslashreplace")


def _text(answers: Answers, format: str) -> str | None:
    """Returns the answer in a format; None if the format needs times and the answer has none."""
    assert format in FORMATS
    try:
        return answers.text(format)
    except ConfigError:
        return None


def _searched(job: Job, predictor: Predictor) -> Prediction:
    """Returns the moments that a sentence describes, as segments."""
    mark = RunMark(job.model, predictor.network.fingerprint())
    searcher = Searcher(predictor, mark)
    content = predictor.features(Path(job.path), batch_size=job.request.batch_size, progress=_bounded)
    looked = searcher.look(Path(job.path), features=content.features)
    top = 5 if job.request.top is None else job.request.top
    hits = searcher.ask(VideoIndex(mark, (looked,)), job.query or "", top=top)
    found = Segments(tuple(hit.span for hit in hits if hit.score >= (job.request.min_score or 0.0)))
    return Prediction(job.path, found, content.info, damaged_frames=content.damaged_frames)


def _bounded(done: int, total: int) -> None:
    if total > MAX_WINDOWS:
        raise ConfigError(f"stride_s: gives {total} windows, more than {MAX_WINDOWS}; ask for longer strides")


class _Gathered(dict[str, Any]):
    """A batch that remembers its samples."""

    def __init__(self, batch: Mapping[str, Any], samples: Sequence[Mapping[str, Any]]):
        super().__init__(batch)
        self.samples = samples


@dataclasses.dataclass(frozen=True)
class _RemoteBackend:
    """The backend of a network in the server; see `contracts.backend.Backend`."""

    connection: Connection
    network: NetworkKey
    form: Form

    def collate(self, samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        plain = [_plain(sample) for sample in samples]
        return _Gathered(collate(plain), plain)

    def outputs(self, batch: Batch, *, graph: str = "main") -> Outputs:
        if isinstance(batch, _Gathered):
            self.connection.send(Asked(self.network, graph, samples=batch.samples))
        else:
            self.connection.send(Asked(self.network, graph, batch=_plain(batch)))
        found = self.connection.recv()
        if isinstance(found, VideoZooError):
            raise found
        outputs: Outputs = found
        return outputs


def _plain(value: Any) -> Any:
    """Returns values with tensors as arrays, which travel between processes without torch."""
    if type(value).__module__ == "torch":
        return np.asarray(value)
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(_plain, value))
    return value


def _network(card: Card, key: NetworkKey, connection: Connection) -> Network:
    extractor = card.extractor
    opener: Callable[[], Network] | None = None
    if extractor is not None:
        inner = _network(extractor, (key[0], "extractor"), connection)
        opener = lambda: inner  # noqa: E731
    return Network(
        source=card.source,
        name=card.name,
        task=card.task,
        backend=_RemoteBackend(connection, key, card.form),
        decoder=card.decoder,
        spec=card.spec,
        num_features=card.num_features,
        fingerprint=lambda: card.fingerprint,
        write=_refuse_to_write,
        arrays=card.arrays,
        feature_recipe=card.feature_recipe,
        open_extractor=opener,
    )


def _refuse_to_write(path: Path, arrays: Mapping[str, np.ndarray]) -> NoReturn:
    raise ConfigError(f"{path}: a served network cannot be written; use the run itself")
