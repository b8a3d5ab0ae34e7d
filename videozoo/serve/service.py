"""Everything of a server but HTTP: its networks, workers and limits."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections.abc import Iterator, Mapping, Sequence

from typing_extensions import Self

from videozoo.contracts.network import Network
from videozoo.errors import ConfigError, did_you_mean
from videozoo.predict.search import can_search
from videozoo.serve.batcher import Batcher
from videozoo.serve.files import UploadFolder
from videozoo.serve.metrics import Metrics
from videozoo.serve.pool import Pool, Task
from videozoo.serve.refusal import Refusal
from videozoo.serve.settings import Settings
from videozoo.serve.worker import Card, Job, NetworkKey

__all__ = ["Model", "Service"]

MAX_CLASS_NAMES = 1000
UPLOADS_PER_ANSWER = 4  # that may arrive at the same time, for each place in the queue


@dataclasses.dataclass(frozen=True)
class Model:
    """A served network as clients see it."""

    name: str
    task: str
    class_names: tuple[str, ...]
    searches: bool
    timed: bool
    default: bool

    def to_dict(self) -> dict[str, object]:
        """Returns plain values for JSON, with a bounded number of class names."""
        return {
            "name": self.name,
            "task": self.task,
            "num_classes": len(self.class_names),
            "class_names": list(self.class_names[:MAX_CLASS_NAMES]),
            "searches": self.searches,
            "timed": self.timed,
            "default": self.default,
        }


class Slots:
    """Places for requests; a request without one is refused."""

    def __init__(self, count: int):
        self._count, self.taken = count, 0
        self._lock = threading.Lock()

    @property
    def are_full(self) -> bool:
        return self.taken >= self._count

    @contextlib.contextmanager
    def one(self) -> Iterator[None]:
        """Takes a place until the block ends.

        Raises:
            Refusal: all are taken.
        """
        with self._lock:
            if self.are_full:
                raise busy()
            self.taken += 1
        try:
            yield
        finally:
            with self._lock:
                self.taken -= 1


def busy() -> Refusal:
    """Returns the refusal of a request that finds no place."""
    return Refusal(429, "busy", "too many requests wait; try again in a second", {"Retry-After": "1"})


class Service:
    """Networks that answer for files, within limits; a context manager that ends its processes.

        with Service({"tsm": open_network("runs/tsm")}, Settings()) as service:
            app = create_app(service)

    Args:
        networks: by the name in requests; the first is the default.
        allow_code: modules with parts of your own, which workers import as well.

    Raises:
        ConfigError: there is no network.
    """

    def __init__(self, networks: Mapping[str, Network], settings: Settings, *, allow_code: Sequence[str] = ()):
        if not networks:
            raise ConfigError("serve: there is no model; name a run or an exported folder")
        self.settings, self.metrics = settings, Metrics()
        self.models = {
            name: Model(
                name,
                network.task,
                network.class_names,
                searches=can_search(network),
                timed=network.decoder.answers.is_timed,
                default=number == 0,
            )
            for number, (name, network) in enumerate(networks.items())
        }
        self.is_stopping = False
        places = settings.num_workers + settings.queue
        self.uploading, self.answering = Slots(UPLOADS_PER_ANSWER * places), Slots(places)
        extractors = {
            name: network.open_extractor() for name, network in networks.items() if network.open_extractor is not None
        }
        with contextlib.ExitStack() as starting:
            self.uploads = UploadFolder()
            starting.callback(self.uploads.close)
            batchers: dict[NetworkKey, Batcher] = {}
            for part, opened in (("main", networks), ("extractor", extractors)):
                for name, network in opened.items():
                    batchers[name, part] = self._batcher(f"{name}/{part}", network)
                    starting.callback(batchers[name, part].close)
            self._pool = Pool(
                {name: Card.of(network, extractors.get(name)) for name, network in networks.items()},
                batchers,
                settings.limits,
                num_workers=settings.num_workers,
                allow_code=allow_code,
                observe_restart=self.metrics.worker_restarts.inc,
            )
            starting.callback(self._pool.close)
            self._ending = starting.pop_all()
        self.metrics.watch("videozoo_active_requests", "Requests that wait or run.", lambda: self.answering.taken)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the workers after the requests that wait, and deletes all uploads."""
        self.is_stopping = True
        self._ending.close()

    @property
    def num_active(self) -> int:
        """The number of requests in progress."""
        return self.uploading.taken + self.answering.taken

    def check_open(self) -> None:
        """Refuses requests that this server has no time for.

        Raises:
            Refusal: too many requests wait, or the server stops.
        """
        if self.is_stopping:
            raise Refusal(503, "stopping", "the server is stopping; try another one", {"Connection": "close"})
        if self.answering.are_full:
            raise busy()

    def model(self, name: str | None) -> Model:
        """Returns the model of a name, or the default.

        Raises:
            Refusal: there is none of this name.
        """
        if name is None:
            return next(iter(self.models.values()))
        if name not in self.models:
            raise Refusal(404, "model", f"model: there is no '{name[:100]}'{did_you_mean(name[:100], self.models)}")
        return self.models[name]

    def submit(self, job: Job) -> Task:
        """Gives a job to the next free worker and returns it as a task."""
        task = Task(job, ends_s=time.monotonic() + self.settings.limits.time_s)
        self._pool.submit(task)
        return task

    def _batcher(self, name: str, network: Network) -> Batcher:
        samples, seconds = self.metrics.samples.labels(name), self.metrics.network_s.labels(name)

        def observe(num_samples: int, took_s: float) -> None:
            samples.observe(num_samples)
            seconds.observe(took_s)

        return Batcher(
            network.backend,
            batch=self.settings.batch,
            gather_s=self.settings.gather_s,
            num_active=lambda: self.answering.taken,
            observe=observe,
        )
