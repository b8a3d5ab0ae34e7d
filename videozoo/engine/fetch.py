"""Makes batches from keys, as a loader process does, and records the sample being decoded."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch.utils.data import get_worker_info

from videozoo.contracts.dataset import Dataset
from videozoo.contracts.record import Record
from videozoo.engine.crash_file import CrashFile
from videozoo.errors import DataError, DecodeError, TrainingError, VideoZooError, counted
from videozoo.io.isolation import current_journal
from videozoo.transforms.tensors import collate

__all__ = ["Bad", "Batch", "Fetcher", "Key", "Pipeline", "sample_rng"]

Batch = dict[str, Any]
Bad = tuple[str, str]  # (id of a record, reason why it is unusable)
Key = tuple[int, int] | tuple[int, int, int]  # (epoch, index), then the pipeline's variant if it has several
Pipeline = Callable[..., Mapping[str, Any]]  # (record, rng) -> sample

TRIES = 20  # consecutive faults after which a training batch fails


def sample_rng(seed: int, epoch: int, index: int, *, tries: int = 0) -> np.random.Generator:
    """Returns the random generator of one sample; a replacement sample (`tries` > 0) has its own."""
    return np.random.default_rng((seed, epoch, index, tries))


class Fetcher(torch.utils.data.Dataset[Any]):
    """Makes the batch of a list of keys; each worker process holds a copy.

    Args:
        replace: whether the next record of the data set replaces a broken one; otherwise it is left out.

    Attributes:
        given_up: samples that hung or crashed the decoder, and the reason, by index; they are not decoded again.
        crash_file: the file that records crashes of this process, for a fetcher without workers.
    """

    def __init__(
        self,
        records: Dataset[Record],
        pipeline: Pipeline,
        *,
        seed: int,
        replace: bool,
        num_workers: int,
        timeout_s: float,
    ):
        self.records, self.pipeline = records, pipeline
        self.seed, self.replace = seed, replace
        self.num_workers, self.timeout_s = num_workers, timeout_s
        self.given_up: dict[int, str] = {}
        self.crash_file: CrashFile | None = None
        # index (-1: idle) and start time of each worker's sample, in memory that outlives the worker
        self.at_index = torch.full((max(num_workers, 1),), -1, dtype=torch.int64)
        self.since_s = torch.zeros(max(num_workers, 1), dtype=torch.float64)
        for notes in (self.at_index, self.since_s):
            notes.share_memory_()

    def fresh(self, *, num_workers: int | None = None) -> Fetcher:
        """Returns a fetcher with its own notes that skips the same samples."""
        other = Fetcher(
            self.records,
            self.pipeline,
            seed=self.seed,
            replace=self.replace,
            num_workers=self.num_workers if num_workers is None else num_workers,
            timeout_s=self.timeout_s,
        )
        other.given_up, other.crash_file = self.given_up, self.crash_file
        return other

    def __getitem__(self, keys: Sequence[Key]) -> Batch | VideoZooError:
        """Returns the batch, or the error if there is none: torch would wrap a raised error in a traceback."""
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
        faults: set[str] = set()  # a missing video counts once, however many samples it has
        for tries in range(len(self.records) if self.replace else 1):
            place = (index + tries) % len(self.records)
            record = self.records[place]
            try:
                if place in self.given_up:
                    raise DataError(self.given_up[place])
                with self._noted(place, record), self._timed(record):
                    sample = self.pipeline(record, sample_rng(self.seed, epoch, index, tries=tries), **given)
            except DataError as error:
                bad.append((record.id, str(error)))
                faults.add(str(error))
                if len(faults) == TRIES:
                    break
            else:
                return {**sample, "index": place}
        if not self.replace:
            return None
        raise TrainingError(
            f"training data: {counted(tries + 1, 'sample')} in a row cannot be used, the last: {bad[-1][1]}; "
            "check the paths in the recipe's data.train"
        )

    @contextlib.contextmanager
    def _noted(self, index: int, record: Record) -> Iterator[None]:
        """Records the sample until the block ends, so that it is known after a crash."""
        worker = get_worker_info()
        slot = worker.id if worker else 0
        self.since_s[slot], self.at_index[slot] = time.monotonic(), index
        try:
            with contextlib.ExitStack() as notes:
                if worker is None:
                    notes.enter_context(current_journal().reading(record.location))
                    if self.crash_file is not None:
                        notes.enter_context(self.crash_file.noting(index))
                yield
        finally:
            self.at_index[slot] = -1

    @contextlib.contextmanager
    def _timed(self, record: Record) -> Iterator[None]:
        """Interrupts decoding that exceeds the time limit."""
        if not (
            self.timeout_s > 0 and hasattr(signal, "SIGALRM") and threading.current_thread() is threading.main_thread()
        ):
            yield
            return

        def ring(signum: int, frame: FrameType | None) -> None:
            raise DataError(self.too_slow(record))

        before = signal.signal(signal.SIGALRM, ring)
        try:
            signal.setitimer(signal.ITIMER_REAL, self.timeout_s)
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)

    def crashed(self, index: int, how: str = "") -> str:
        """Returns the reason for skipping a sample that crashed its process."""
        return str(DecodeError(self.records[index].location, f"it crashed the decoder{f' ({how})' if how else ''}"))

    def too_slow(self, record: Record) -> str:
        """Returns the reason for skipping a record that exceeded the time limit."""
        return (
            f"{record.location}: took longer than {self.timeout_s:g} s to decode; re-encode it, "
            "remove it from the list, or raise fit.decode_timeout_s"
        )
