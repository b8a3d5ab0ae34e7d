"""The batches of a sequence of keys, over worker processes that may hang or crash.

If a decoder hangs or crashes a worker, all workers are replaced and its sample counts as broken. The batches continue
from the same position, so nothing else changes.
"""

from __future__ import annotations

import collections
import itertools
import multiprocessing.connection
import signal
import threading
import time
import warnings
from collections.abc import Callable, Generator, Iterable, Sequence
from types import FrameType
from typing import Any

import torch
from torch.utils.data import DataLoader

from videozoo.engine.fetch import TRIES, Batch, Fetcher, Key
from videozoo.errors import TrainingError, VideoZooError, counted
from videozoo.io.isolation import signal_name

__all__ = ["Stream", "explain"]

_CUT_OFF = (OSError, EOFError)  # a worker died before its tensors arrived
_BROKEN = (RuntimeError, *_CUT_OFF)
CHECK_EVERY_S = 1.0  # waiting time for a batch between checks of the workers


def explain(error: Exception) -> Exception:
    """Returns the error to raise in place of an error of the worker processes; other errors are returned unchanged."""
    reason = " ".join(str(error).split())
    if "shared memory" in reason or "Bus error" in reason:
        return _shared_memory_is_full()
    return error


class Stream:
    """The batches of a sequence of keys; it continues after the loss of a worker.

    `keys_from(n)` gives the keys of batch n (a multiple of `granularity`) and of all later batches.
    """

    def __init__(
        self,
        fetcher: Fetcher,
        keys_from: Callable[[int], Iterable[list[Key]]],
        *,
        num_batches: int,
        granularity: int = 1,
        pin_memory: bool = False,
    ):
        self.fetcher, self.keys_from = fetcher, keys_from
        self.num_batches, self.granularity, self.pin_memory = num_batches, granularity, pin_memory
        self.batches: Any = None
        self._deaths = _Deaths(self._workers)
        self._kills: collections.Counter[int] = collections.Counter()  # workers killed by SIGKILL, by sample
        self._lost_in_a_row = 0

    def __iter__(self) -> Generator[Batch, None, None]:
        done = 0
        with self._deaths:
            try:
                while done < self.num_batches:
                    first = done - done % self.granularity
                    self._open(first)
                    for number in range(first, self.num_batches):
                        batch = self._next()
                        if batch is None:  # a worker was lost and its sample given up: reopen
                            break
                        if isinstance(batch, VideoZooError):
                            raise batch
                        if number >= done:
                            done += 1
                            self._lost_in_a_row = 0
                            yield batch
            finally:
                self._close()

    def _open(self, first: int) -> None:
        fetcher, rest = self.fetcher, iter(self.keys_from(first))
        keys = itertools.chain(list(itertools.islice(rest, 1)), rest)  # an error in them comes before workers start
        with warnings.catch_warnings():
            # workers acquire no lock that another thread may hold at the fork
            warnings.filterwarnings("ignore", message=".*use of fork.*", category=DeprecationWarning)
            # the recipe decides; the log's data_wait_share shows the effect
            warnings.filterwarnings("ignore", message="This DataLoader will create .* worker processes")
            loader = DataLoader(
                fetcher,
                batch_size=None,
                sampler=keys,
                collate_fn=_same,
                num_workers=fetcher.num_workers,
                timeout=CHECK_EVERY_S if fetcher.num_workers else 0,
                generator=torch.Generator(),  # otherwise the workers' seed comes from the global generator
                worker_init_fn=_start_worker if fetcher.num_workers else None,
                pin_memory=self.pin_memory,
            )
            self.batches = iter(loader)
        self._deaths.take_handler()

    def _close(self, *, at_once: bool = False) -> None:
        workers = self._workers()
        for worker in workers if at_once else ():
            worker.kill()
        self.batches = None  # asks the workers to exit, and waits some seconds
        for worker in workers:
            if worker.is_alive():  # it ignores SIGTERM
                worker.kill()

    def _next(self) -> Batch | VideoZooError | None:
        """Returns the next batch, or None if a worker was lost."""
        while True:
            try:
                return self._deaths.heeded(lambda: next(self.batches))
            except _BROKEN as error:
                if self._give_up_lost() or (isinstance(error, _CUT_OFF) and self._give_up_lost(patience_s=1.0)):
                    self._close(at_once=True)
                    return None
                if "timed out" not in str(error):
                    raise explain(error) from error

    def _give_up_lost(self, *, patience_s: float = 0.0) -> bool:
        """Gives up the samples of dead or hanging workers; returns whether there were any."""
        if patience_s:
            ending = multiprocessing.connection.wait([worker.sentinel for worker in self._workers()], patience_s)
            for worker in self._workers():
                worker.join(patience_s if worker.sentinel in ending else 0.0)
        now_s, limit_s = time.monotonic(), self.fetcher.timeout_s
        lost = False
        for slot, worker in enumerate(self._workers()):
            index = int(self.fetcher.at_index[slot])
            if not worker.is_alive():
                self._give_up_crashed(index, worker.exitcode or 0)
            elif index >= 0 and limit_s and now_s - float(self.fetcher.since_s[slot]) > limit_s:
                self.fetcher.given_up[index] = self.fetcher.too_slow(self.fetcher.records[index])
            else:
                continue
            lost = True
            self.fetcher.at_index[slot] = -1
        return lost

    def _give_up_crashed(self, index: int, exit_code: int) -> None:
        """Gives up the sample of a dead worker.

        SIGKILL usually means that memory ran out, possibly through another process, so a sample is given up only after
        the second one.

        Raises:
            TrainingError: shared memory is full, or too many workers die in a row.
        """
        how = signal_name(-exit_code) if exit_code < 0 else f"exit status {exit_code}"
        if exit_code == -signal.SIGBUS:
            raise _shared_memory_is_full()
        place = "between two samples"
        self._lost_in_a_row += 1
        if index >= 0:
            place = f"at {self.fetcher.records[index].location}"
            self._kills[index] += exit_code == -signal.SIGKILL
            if exit_code != -signal.SIGKILL or self._kills[index] > 1:
                self.fetcher.given_up[index] = self.fetcher.crashed(index, how)
        if self._lost_in_a_row == TRIES:
            raise TrainingError(
                f"data loading: {counted(TRIES, 'worker process')} in a row died, the last {place} ({how}); lower "
                "fit.num_workers if memory ran out"
            )

    def _workers(self) -> Sequence[Any]:
        return getattr(self.batches, "_workers", ())


class _WorkerDied(RuntimeError):
    """Ends the wait for a batch of a dead worker."""


class _Deaths:
    """Makes the death of a worker interrupt only the wait for a batch, while entered.

    torch's own handler raises anywhere in the main thread, even in the middle of an optimizer step.
    """

    def __init__(self, workers: Callable[[], Sequence[Any]]):
        self._workers = workers
        self._waits = False
        self._before: Any = None

    def heeded(self, wait: Callable[[], Batch | VideoZooError]) -> Batch | VideoZooError:
        """Returns the result of `wait`.

        Raises:
            RuntimeError: a worker died.
        """
        self._waits = True
        try:
            if self._any():
                raise _WorkerDied
            return wait()
        finally:
            self._waits = False

    def _any(self) -> bool:
        return any(not worker.is_alive() for worker in self._workers())

    def take_handler(self) -> None:
        """Replaces the handler of SIGCHLD, which torch sets with its first loader."""
        if threading.current_thread() is threading.main_thread():  # only there can handlers be set
            signal.signal(signal.SIGCHLD, self._on_child)

    def _on_child(self, number: int, frame: FrameType | None) -> None:
        # A worker that dies while it sends a batch leaves part of it in the pipe, and the wait for the rest would
        # never end.
        is_between = frame is not None and frame.f_code.co_name in ("select", "_recv")
        if self._waits and is_between and self._any():
            raise _WorkerDied

    def __enter__(self) -> None:
        self._before = signal.getsignal(signal.SIGCHLD)
        self.take_handler()

    def __exit__(self, *_: object) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGCHLD, self._before or signal.SIG_DFL)


def _shared_memory_is_full() -> TrainingError:
    return TrainingError(
        "data loading: the shared memory that batches travel through is full (/dev/shm); enlarge it "
        "(docker run --shm-size=8g), or lower fit.num_workers or fit.batch_size"
    )


def _same(batch: Any) -> Any:
    return batch


def _start_worker(worker_id: int) -> None:
    # Ctrl-C and the signals of Slurm, systemd or Docker reach the whole process group. The training process finishes
    # its step and saves; without this, the death of a worker would raise in the middle of the step.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
