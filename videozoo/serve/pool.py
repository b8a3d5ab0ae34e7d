"""The worker processes of a server, each with a thread that supervises it."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import multiprocessing
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, TimeoutError
from multiprocessing.connection import Connection
from typing import Any

from videozoo.contracts.backend import Outputs
from videozoo.errors import VideoZooError
from videozoo.io.isolation import signal_name
from videozoo.serve.batcher import Batcher
from videozoo.serve.refusal import Refusal
from videozoo.serve.settings import Limits
from videozoo.serve.worker import Asked, Card, Fault, Job, NetworkKey, work

__all__ = ["Pool", "Task", "Worker", "too_slow"]

START_S = 120.0  # for a worker to start
END_S = 5.0  # for a worker to end by itself
LOOK_S = 0.2  # how often a thread looks whether its request still waits

log = logging.getLogger("videozoo.serve")


@dataclasses.dataclass(frozen=True, eq=False)
class Task:
    """A job, its future answer as JSON, and the time at which it ends in any case (of `time.monotonic`)."""

    job: Job
    ends_s: float
    answer: Future[bytes] = dataclasses.field(default_factory=Future)
    is_dropped: threading.Event = dataclasses.field(default_factory=threading.Event)

    def rest_s(self) -> float:
        """Returns the seconds left.

        Raises:
            Refusal: none are, or nobody waits for the answer any more.
        """
        rest_s = self.ends_s - time.monotonic()
        if self.is_dropped.is_set():
            raise Refusal(499, "gone", "the client has closed the connection")
        if rest_s <= 0:
            raise too_slow(self.job.name)
        return rest_s


def too_slow(name: str) -> Refusal:
    """Returns the refusal of a request that took too long."""
    return Refusal(504, "time", f"{name}: the answer takes longer than the time limit; send a shorter video")


class Pool:
    """Worker processes that answer tasks. A worker that crashes or exceeds a task's time is ended and replaced.

    Args:
        batchers: run the networks for the workers.
        observe_restart: called when a worker is replaced.

    Attributes:
        workers: the workers, one for each thread.
    """

    def __init__(
        self,
        cards: Mapping[str, Card],
        batchers: Mapping[NetworkKey, Batcher],
        limits: Limits,
        *,
        num_workers: int,
        allow_code: Sequence[str] = (),
        observe_restart: Callable[[], None] = lambda: None,
    ):
        self._batchers, self._observe_restart = batchers, observe_restart
        self._tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._context = multiprocessing.get_context("forkserver")
        modules = ["__main__", "videozoo.serve.worker"]
        if any(card.form == "tensors" for card in cards.values()):
            modules.append("videozoo.transforms.tensors")
        self._context.set_forkserver_preload(modules)
        self._arguments = (dict(cards), limits, tuple(allow_code))
        self.workers = [self._start() for _ in range(num_workers)]
        self._threads = [threading.Thread(target=self._serve, args=(i,), daemon=True) for i in range(num_workers)]
        for worker in self.workers:
            worker.wait_ready()
        for thread in self._threads:
            thread.start()

    def submit(self, task: Task) -> None:
        """Gives a task to the next free worker."""
        self._tasks.put(task)

    def close(self) -> None:
        """Ends the workers after the tasks that wait."""
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            thread.join()

    def _start(self) -> Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=work, args=(theirs, *self._arguments), daemon=True)
        process.start()
        theirs.close()
        return Worker(process, ours)

    def _serve(self, number: int) -> None:
        """Gives tasks to one worker, or to those that replace it; the body of a thread."""
        while (task := self._tasks.get()) is not None:
            if not task.answer.set_running_or_notify_cancel():
                continue
            worker = self.workers[number]
            try:
                answer = self._answered(worker, task)
            except Refusal as refusal:
                task.answer.set_exception(refusal)
            except Exception as error:  # a fault of this package: the request fails, and the server goes on
                worker.kill()
                task.answer.set_exception(error)
            else:
                task.answer.set_result(answer)
            if not worker.is_alive:
                self.workers[number] = self._replacement()
        self.workers[number].exit_status()

    def _replacement(self) -> Worker:
        self._observe_restart()
        while True:
            worker = self._start()
            try:
                worker.wait_ready()
            except Refusal:
                log.error("a worker does not start; trying again")
                worker.kill()
                time.sleep(1.0)
            else:
                return worker

    def _answered(self, worker: Worker, task: Task) -> bytes:
        """Returns the answer of a worker, which is killed if it does not give one in time.

        Raises:
            Refusal: the task has no answer.
        """
        task.rest_s()
        try:
            worker.send(task.job)
            while isinstance(message := worker.received(task), Asked):
                worker.send(self._outputs(message, task))
        except Refusal:
            worker.kill()  # it may still be at work
            raise
        except (EOFError, OSError):
            raise self._crash_of(worker, task.job.name) from None
        if isinstance(message, Refusal):
            raise message
        if isinstance(message, Fault):
            log.error("a worker failed", extra={"fields": {"error": message.text}})
            raise _fault(task.job.name)
        assert isinstance(message, bytes)
        return message

    def _outputs(self, asked: Asked, task: Task) -> Outputs | VideoZooError:
        batcher = self._batchers[asked.network]
        try:
            if asked.batch is not None:
                return batcher.outputs(asked.batch, asked.graph)
            future = batcher.submit(asked.samples, asked.graph)
            while True:
                with contextlib.suppress(TimeoutError):
                    return future.result(min(task.rest_s(), LOOK_S))
        except VideoZooError as error:
            return error

    def _crash_of(self, worker: Worker, name: str) -> Refusal:
        code = worker.exit_status()
        if code < 0:
            return Refusal(415, "video", f"{name}: it crashed the decoder ({signal_name(-code)}); send another file")
        log.error("a worker ended with status %d", code)
        return _fault(name)


def _fault(name: str) -> Refusal:
    return Refusal(500, "internal", f"{name}: the server failed; its log has the reason")


class Worker:
    """A worker process and the connection to it."""

    def __init__(self, process: Any, connection: Connection):
        self._process, self._connection = process, connection
        self.is_alive = True

    @property
    def pid(self) -> int:
        return int(self._process.pid)

    def wait_ready(self) -> None:
        """Waits until the worker has started.

        Raises:
            Refusal: it has not.
        """
        try:
            if self._connection.poll(START_S) and self._connection.recv() == "ready":
                return
        except (EOFError, OSError):
            pass
        raise Refusal(503, "starting", "a worker does not start")

    def send(self, message: Any) -> None:
        self._connection.send(message)

    def received(self, task: Task) -> Any:
        while not self._connection.poll(min(task.rest_s(), LOOK_S)):
            pass
        return self._connection.recv()

    def kill(self) -> None:
        """Ends the process at once."""
        self.is_alive = False
        self._connection.close()
        self._process.kill()
        self._process.join()

    def exit_status(self) -> int:
        """Waits until the process has ended; returns its exit status, negative for a signal."""
        self._connection.close()
        self._process.join(END_S)
        self.kill()
        return self._process.exitcode or 0
