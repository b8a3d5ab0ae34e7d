"""Batches as a function of (seed, step): whoever decodes them, wherever the run was taken up again.

The order of samples is a function of (seed, epoch), what is random in a sample of (seed, epoch, index).
Worker processes fetch whole batches by these keys, so neither their number nor a restart changes anything.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator

import numpy as np

from videozoo.contracts.dataset import Dataset
from videozoo.contracts.record import Record
from videozoo.engine.fetch import Bad, Batch, Fetcher, Key, Pipeline, sample_rng
from videozoo.engine.order import order_of
from videozoo.engine.stream import Stream
from videozoo.errors import ConfigError, counted
from videozoo.transforms.tensors import collate

__all__ = ["Bad", "EvalLoader", "Key", "TrainLoader", "collate", "sample_rng"]


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
        records: Dataset[Record],
        pipeline: Pipeline,
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
        self.fetcher = Fetcher(records, pipeline, seed=seed, replace=True, num_workers=num_workers, timeout_s=timeout_s)
        self._pin_memory = pin_memory

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
        stream = Stream(
            self.fetcher.fresh(),  # there may be two streams at a time
            lambda first: (keys for step in range(start + first // size, stop) for keys in keys_of(step)),
            num_batches=(stop - start) * size,
            granularity=size,
            pin_memory=self._pin_memory,
        )
        step: list[Batch] = []
        with contextlib.closing(iter(stream)) as batches:
            for batch in batches:
                step.append(batch)
                if len(step) == size:
                    yield step
                    step = []


class EvalLoader:
    """Every sample exactly once over all processes, in the data set's order.

    A broken record is left out and named in `bad`, a list of (id, reason); a batch may thus be smaller than
    the others, or hold `bad` and an empty `id` alone.
    """

    def __init__(
        self,
        records: Dataset[Record],
        pipeline: Pipeline,
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
        self.fetcher = Fetcher(
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

        return iter(Stream(self.fetcher.fresh(), keys_from, num_batches=len(self), pin_memory=self._pin_memory))
