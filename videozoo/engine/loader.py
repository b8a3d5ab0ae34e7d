"""Batches as a function of (seed, step): whoever decodes them, wherever the run was taken up again.

The order of samples is a function of (seed, epoch), what is random in a sample of (seed, epoch, index).
Worker processes fetch whole batches by these keys, so neither their number nor a restart changes anything.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from types import FrameType
from typing import Any, Protocol

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from videozoo.engine.order import order_of
from videozoo.errors import ConfigError, DataError, TrainingError, VideoZooError, counted
from videozoo.transforms.collate import collate

__all__ = ["Bad", "EvalLoader", "Records", "TrainLoader", "by_reason", "collate", "sample_rng"]

Batch = dict[str, Any]
Bad = tuple[str, str]  # (id of a record, why it cannot be used)
Key = tuple[int, int] | tuple[int, int, int]  # (epoch, index), and which variant of the pipeline if it has some

TRIES = 20  # faults in a row after which a training batch gives up


class Records(Protocol):
    """A data set: a sequence of records, each with an `id`; nothing in it is decoded."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Any: ...


def sample_rng(seed: int, epoch: int, index: int, *, tries: int = 0) -> np.random.Generator:
    """The generator of everything that is random in one sample; a replacement has its own."""
    return np.random.default_rng((seed, epoch, index, tries))


def by_reason(bad: Iterable[Bad]) -> dict[str, list[str]]:
    """The ids by why they cannot be used: all the sentences of a video without features have one reason."""
    found: dict[str, list[str]] = {}
    for id_, why in bad:
        found.setdefault(why, []).append(id_)
    return found


class TrainLoader:
    """The micro-batches of a training run, from any step on.

    An optimizer step sees `batch_size` samples, which `world_size` processes and `accumulate` micro-batches
    share: who gets which is the only thing that these two numbers change. What is left of an epoch after its
    last whole step is dropped; it is another part in every epoch.

    A broken record is replaced by the next of the data set; `bad` of the micro-batch lists (id, reason).

    Args:
        sampler: "uniform" goes through all samples once an epoch, "balanced" draws as many of every class.

    Raises:
        ConfigError: the numbers do not divide, or there is less than one batch of samples.
    """

    def __init__(
        self,
        records: Records,
        pipeline: Callable[[Any, np.random.Generator], Mapping[str, Any]],
        *,
        batch_size: int,
        seed: int = 0,
        sampler: str = "uniform",
        accumulate: int = 1,
        num_workers: int = 0,
        rank: int = 0,
        world_size: int = 1,
        timeout_s: float = 0.0,
        pin_memory: bool = False,
    ):
        self.micro_batch_size, rest = divmod(batch_size, accumulate * world_size)
        if rest or not self.micro_batch_size:
            raise ConfigError(
                f"fit.batch_size: is {batch_size}, which {counted(world_size, 'process')} with fit.accumulate "
                f"{accumulate} cannot share evenly; give a multiple of {accumulate * world_size}"
            )
        self.steps_per_epoch = len(records) // batch_size
        if not self.steps_per_epoch:
            raise ConfigError(
                f"fit.batch_size: is {batch_size}, the training data has only {counted(len(records), 'sample')}; "
                "lower it"
            )
        self.records, self.pipeline = records, pipeline
        self.batch_size, self.accumulate, self.seed = batch_size, accumulate, seed
        self.rank, self.world_size = rank, world_size
        self._order = order_of(sampler, records)
        self._epoch = (-1, np.empty(0, dtype=np.int64))  # the last epoch that was asked for, and its order
        self._fetcher = functools.partial(
            _Fetcher, records, pipeline, seed=seed, replace=True, num_workers=num_workers, timeout_s=timeout_s
        )
        self._pin_memory = pin_memory
        self._stream: _Stream | None = None  # the one that was opened last

    def keys(self, step: int) -> list[list[Key]]:
        """(epoch, index) of every sample of this process in one step, a list for each micro-batch."""
        epoch, place = divmod(step, self.steps_per_epoch)
        order = self._order_of(epoch)
        size = self.micro_batch_size
        keys: list[list[Key]] = []
        for micro in range(self.accumulate):
            first = place * self.batch_size + (micro * self.world_size + self.rank) * size
            keys.append([(epoch, int(index)) for index in order[first : first + size]])
        return keys

    def keys_at_full_size(self, step: int) -> list[list[Key]]:
        """The keys of a batch as the recipe has it, also where the step's own has another shape."""
        return self.keys(step)

    def num_samples(self, step: int) -> int:
        """Samples that all processes see in a step."""
        return self.batch_size

    def norm_splits(self, step: int) -> int:
        """Parts of a micro-batch that batch norms are to look at one by one."""
        return 1

    def _order_of(self, epoch: int) -> np.ndarray:
        if self._epoch[0] != epoch:
            self._epoch = (epoch, self._order(self.seed, epoch))
        return self._epoch[1]

    def steps(self, start: int, stop: int, *, full_size: bool = False) -> Generator[list[Batch], None, None]:
        """The micro-batches of steps start, start + 1, ... stop - 1, or such as `keys_at_full_size` has."""
        size, keys_of = self.accumulate, self.keys_at_full_size if full_size else self.keys
        outer = self._stream
        self._stream = _Stream(
            self._fetcher(),  # not shared: there may be two streams at a time
            lambda first: (keys for step in range(start + first // size, stop) for keys in keys_of(step)),
            num_batches=(stop - start) * size,
            granularity=size,
            pin_memory=self._pin_memory,
        )
        step: list[Batch] = []
        with contextlib.closing(iter(self._stream)) as batches:
            for batch in batches:
                step.append(batch)
                if len(step) == size:
                    yield step
                    step = []
        self._stream = outer

    def explain(self, error: RuntimeError) -> Exception:
        """What to raise in place of `error` if a worker is behind it: torch reports its death anywhere."""
        return self._stream.explain(error) if self._stream is not None else error


class EvalLoader:
    """Every sample exactly once over all processes, in the data set's order.

    A broken record is left out and named in `bad`, a list of (id, reason); a batch may thus be smaller than
    the others, or hold `bad` and an empty `id` alone.
    """

    def __init__(
        self,
        records: Records,
        pipeline: Callable[[Any, np.random.Generator], Mapping[str, Any]],
        *,
        batch_size: int,
        seed: int = 0,
        num_workers: int = 0,
        rank: int = 0,
        world_size: int = 1,
        timeout_s: float = 0.0,
        pin_memory: bool = False,
    ):
        self.records = records
        self.batch_size = batch_size
        self._indices = range(rank, len(records), world_size)
        self._fetcher = _Fetcher(
            records, pipeline, seed=seed, replace=False, num_workers=num_workers, timeout_s=timeout_s
        )
        self._pin_memory = pin_memory

    def __len__(self) -> int:
        """Batches of this process."""
        return -(-len(self._indices) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        size = self.batch_size

        def keys_from(first: int) -> Iterator[list[Key]]:
            for start in range(first * size, len(self._indices), size):
                yield [(0, index) for index in self._indices[start : start + size]]

        return iter(_Stream(self._fetcher, keys_from, num_batches=len(self), pin_memory=self._pin_memory))


class _Fetcher(Dataset[Any]):
    """Makes the batch of a list of keys; this is what travels into worker processes."""

    def __init__(
        self,
        records: Records,
        pipeline: Callable[[Any, np.random.Generator], Mapping[str, Any]],
        *,
        seed: int,
        replace: bool,
        num_workers: int,
        timeout_s: float,
    ):
        self.records, self.pipeline = records, pipeline
        self.seed, self.replace = seed, replace
        self.num_workers, self.timeout_s = num_workers, timeout_s
        self.given_up: set[int] = set()  # samples at which a worker hung, beyond the reach of its own alarm
        # what each worker is at, for when it cannot say so itself: index (-1 idle) and time of start
        self.at_index = torch.full((max(num_workers, 1),), -1, dtype=torch.int64).share_memory_()
        self.since_s = torch.zeros(max(num_workers, 1), dtype=torch.float64).share_memory_()

    def __getitem__(self, keys: Sequence[Key]) -> Batch | VideoZooError:
        """The batch, or the error that speaks against it: torch would wrap a raised one in a traceback."""
        samples: list[Mapping[str, Any]] = []
        bad: list[Bad] = []
        try:
            for epoch, index, *variant in keys:
                sample = self._sample(epoch, index, bad, *variant)
                if sample is not None:
                    samples.append(sample)
            return {**(collate(samples) if samples else {"id": []}), "bad": bad}
        except VideoZooError as error:
            return error

    def _sample(self, epoch: int, index: int, bad: list[Bad], variant: int | None = None) -> Mapping[str, Any] | None:
        given = {} if variant is None else {"variant": variant}
        faults: set[str] = set()  # a hundred sentences of a video without features are one
        for tries in range(len(self.records) if self.replace else 1):
            place = (index + tries) % len(self.records)
            record = self.records[place]
            try:
                if place in self.given_up:
                    raise self._timed_out(record)
                with self._watched(place, record):
                    sample = self.pipeline(record, sample_rng(self.seed, epoch, index, tries=tries), **given)
            except DataError as error:
                bad.append((str(record.id), str(error)))
                faults.add(str(error))
                if len(faults) == TRIES:
                    break
            else:
                return {**sample, "index": place}
        if not self.replace:
            return None
        raise TrainingError(
            f"training data: {counted(tries + 1, 'sample')} in a row cannot be used, the last is {bad[-1][1]}; "
            "check where the recipe's data.train leads"
        )

    @contextlib.contextmanager
    def _watched(self, index: int, record: Any) -> Iterator[None]:
        """Says what this worker is at, and cuts off what takes longer than the limit."""
        worker = get_worker_info()
        slot = worker.id if worker else 0
        self.since_s[slot], self.at_index[slot] = time.monotonic(), index
        alarm = (
            self.timeout_s > 0 and hasattr(signal, "SIGALRM") and threading.current_thread() is threading.main_thread()
        )

        def ring(signum: int, frame: FrameType | None) -> None:
            raise self._timed_out(record)

        before = signal.signal(signal.SIGALRM, ring) if alarm else None
        try:
            if alarm:
                signal.setitimer(signal.ITIMER_REAL, self.timeout_s)
            yield
        finally:
            if alarm:
                signal.setitimer(signal.ITIMER_REAL, 0)
                signal.signal(signal.SIGALRM, before)
            self.at_index[slot] = -1

    def _timed_out(self, record: Any) -> DataError:
        return DataError(
            f"{getattr(record, 'path', record.id)}: took longer than {self.timeout_s:g} s to decode and was "
            "cut off; re-encode it, remove it from the list, or raise fit.decode_timeout_s"
        )


class _Stream:
    """The batches of a run of keys, taken up again where a worker hung.

    `keys_from(n)` gives the keys of batch n (a multiple of `granularity`) and of all after it.
    """

    def __init__(
        self,
        fetcher: _Fetcher,
        keys_from: Callable[[int], Iterable[list[Key]]],
        *,
        num_batches: int,
        granularity: int = 1,
        pin_memory: bool = False,
    ):
        self.fetcher, self.keys_from = fetcher, keys_from
        self.num_batches, self.granularity, self.pin_memory = num_batches, granularity, pin_memory
        self.batches: Any = None

    def __iter__(self) -> Generator[Batch, None, None]:
        done = 0
        try:
            while done < self.num_batches:
                first = done - done % self.granularity
                self.batches = self._open(first)
                for number in range(first, self.num_batches):
                    batch = self._next()
                    if batch is None:  # a worker hung and its sample was given up: open anew
                        break
                    if isinstance(batch, VideoZooError):
                        raise batch
                    if number >= done:
                        done += 1
                        yield batch
        finally:
            self._close()

    def explain(self, error: RuntimeError) -> Exception:
        """What to raise in place of an error of the worker processes; other errors come back as they are."""
        reason = " ".join(str(error).split())
        if "shared memory" in reason or "Bus error" in reason:
            return TrainingError(
                "data loading: the shared memory that batches travel through is full (/dev/shm); enlarge it "
                "(docker run --shm-size=8g), or lower fit.num_workers or fit.batch_size"
            )
        if "DataLoader worker" not in reason:
            return error
        at_work, workers = self._at_work(), self._workers()
        dead = {i for slot, i in at_work.items() if slot < len(workers) and not workers[slot].is_alive()}
        names = ", ".join(_name(self.fetcher.records[i]) for i in sorted(dead or at_work.values()))
        return TrainingError(
            f"data loading: a worker process died at {names or 'no file'} ({reason}); remove the file if it "
            "happens there again, lower fit.num_workers if memory ran out"
        )

    def _open(self, first: int) -> Iterator[Any]:
        fetcher = self.fetcher
        self._close()
        with warnings.catch_warnings():
            # a worker takes no lock that another thread may hold while it is forked
            warnings.filterwarnings("ignore", message=".*use of fork.*", category=DeprecationWarning)
            # the recipe decides; the log's data_wait_share says whether it is right
            warnings.filterwarnings("ignore", message="This DataLoader will create .* worker processes")
            loader = DataLoader(
                fetcher,
                batch_size=None,
                sampler=self.keys_from(first),  # type: ignore[arg-type]
                collate_fn=_same,
                num_workers=fetcher.num_workers,
                # a worker's alarm cuts off Python code; this one is for what hangs inside a decoder
                timeout=fetcher.timeout_s + 5 if fetcher.timeout_s and fetcher.num_workers else 0,
                generator=torch.Generator(),  # else its workers' seed is drawn from the global one
                worker_init_fn=_start_worker if fetcher.num_workers else None,
                pin_memory=self.pin_memory,
            )
            return iter(loader)

    def _close(self) -> None:
        workers = self._workers()
        self.batches = None  # asks the workers to end, and waits for some seconds
        for worker in workers:
            if worker.is_alive():  # they are deaf to SIGTERM
                worker.kill()

    def _next(self) -> Batch | VideoZooError | None:
        while True:
            try:
                return next(self.batches)
            except RuntimeError as error:
                if "timed out" not in str(error):
                    raise self.explain(error) from error
                if self._give_up_hung():
                    return None

    def _give_up_hung(self) -> bool:
        """Ends the workers that are over their time and gives up what they were at; False if none is."""
        now, limit_s = time.monotonic(), self.fetcher.timeout_s
        hung = {slot: i for slot, i in self._at_work().items() if now - float(self.fetcher.since_s[slot]) > limit_s}
        self.fetcher.given_up.update(hung.values())
        for slot, worker in enumerate(self._workers()):
            if slot in hung:
                self.fetcher.at_index[slot] = -1
                with contextlib.suppress(RuntimeError):  # torch reports the death of any of its workers
                    worker.kill()
                    worker.join()
        return bool(hung)

    def _at_work(self) -> dict[int, int]:
        """The index that each busy worker is at."""
        at_index = self.fetcher.at_index.tolist()
        return {slot: at_index[slot] for slot in range(self.fetcher.num_workers) if at_index[slot] >= 0}

    def _workers(self) -> Sequence[Any]:
        return getattr(self.batches, "_workers", ())


def _name(record: Any) -> str:
    return os.fspath(getattr(record, "path", record.id))


def _same(batch: Any) -> Any:
    return batch


def _start_worker(worker_id: int) -> None:
    # Ctrl-C goes to the whole group, and so does what ends a job of Slurm, systemd or Docker: the training process
    # finishes its step and saves; torch would raise the death of a worker in the middle of it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
