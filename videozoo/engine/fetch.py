"""From keys to a batch: the work of a loader process, and the notes of the sample it is at."""

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
Bad = tuple[str, str]  # (id of a record, why it cannot be used)
Key = tuple[int, int] | tuple[int, int, int]  # (epoch, index), and the pipeline's variant if it has several
Pipeline = Callable[..., Mapping[str, Any]]  # (record, rng) -> sample

TRIES = 20  # faults in a row after which a training batch gives up


def sample_rng(seed: int, epoch: int, index: int, *, tries: int = 0) -> np.random.Generator:
    """The generator of everything that is random in one sample; a replacement has its own."""
    return np.random.default_rng((seed, epoch, index, tries))


class Fetcher(torch.utils.data.Dataset[Any]):
    """Makes the batch of a list of keys; worker processes get a copy.

    Args:
        replace: a broken record is replaced by the next of the data set; otherwise it is left out.

    Attributes:
        given_up: why a sample is not decoded any more, by index: its decoder hung or crashed.
        crash_file: without workers, the file that survives a crash of this process.
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
        # each worker's sample and its start, in memory that outlives the worker: index (-1 idle) and time
        self.at_index = torch.full((max(num_workers, 1),), -1, dtype=torch.int64)
        self.since_s = torch.zeros(max(num_workers, 1), dtype=torch.float64)
        for notes in (self.at_index, self.since_s):
            notes.share_memory_()  # type: ignore[no-untyped-call]

    def fresh(self, *, num_workers: int | None = None) -> Fetcher:
        """A fetcher with notes of its own, which gives up the same samples."""
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
            f"training data: {counted(tries + 1, 'sample')} in a row cannot be used, the last is {bad[-1][1]}; "
            "check where the recipe's data.train leads"
        )

    @contextlib.contextmanager
    def _noted(self, index: int, record: Record) -> Iterator[None]:
        """Notes the sample until the block ends, where it can be read after a crash."""
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
        """Cuts off what takes longer than the limit."""
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
        """Why a sample that crashed its process is given up."""
        return str(DecodeError(self.records[index].location, f"it crashed the decoder{f' ({how})' if how else ''}"))

    def too_slow(self, record: Record) -> str:
        """Why a record over its time is given up."""
        return (
            f"{record.location}: took longer than {self.timeout_s:g} s to decode and was cut off; re-encode it, "
            "remove it from the list, or raise fit.decode_timeout_s"
        )
