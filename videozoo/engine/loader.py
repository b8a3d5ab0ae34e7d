"""Batches as a function of (seed, step), whatever the number of workers and wherever the run was resumed.

The order of samples is a function of (seed, epoch); the randomness within a sample is a function of
(seed, epoch, index). Worker processes fetch whole batches by these keys, so neither their number nor a restart
changes anything.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Generator, Iterator

import numpy as np

from videozoo.contracts.dataset import Dataset
from videozoo.contracts.record import Record
from videozoo.engine.distributed import World
from videozoo.engine.fetch import Bad, Batch, Fetcher, Key, Pipeline, sample_rng
from videozoo.engine.order import order_of
from videozoo.engine.stream import Stream
from videozoo.errors import ConfigError, counted
from videozoo.transforms.tensors import collate

__all__ = ["Bad", "EvalLoader", "Key", "TrainLoader", "Workers", "collate", "sample_rng"]


@dataclasses.dataclass(frozen=True)
class Workers:
    """The worker processes of a loader.

    Args:
        num: number of processes; 0 decodes in this process.
        timeout_s: time limit for decoding a sample; 0 sets no limit.
        pin_memory: whether batches lie in page-locked memory.
    """

    num: int = 0
    timeout_s: float = 0.0
    pin_memory: bool = False


class TrainLoader:
    """The micro-batches of a training run, starting at any step.

    The processes of `world`, with `accumulate` micro-batches each, share the `batch_size` samples of an optimizer step.
    These two numbers change only who gets which sample. The samples after an epoch's last full batch are dropped;
    they differ from epoch to epoch.

    The next record of the data set replaces a broken one; `bad` of the micro-batch lists (id, reason).

    Args:
        sampler: "uniform" uses every sample once an epoch, "balanced" draws the same number from every class.

    Raises:
        ConfigError: the batch cannot be divided evenly, or the data set is smaller than one batch.
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
        workers: Workers = Workers(),
        world: World = World(),
    ):
        self.micro_batch_size, rest = divmod(batch_size, accumulate * world.size)
        if rest or not self.micro_batch_size:
            raise ConfigError(
                f"fit.batch_size: {batch_size} cannot be shared evenly by {counted(world.size, 'process')} with "
                f"fit.accumulate {accumulate}; give a multiple of {accumulate * world.size}"
            )
        self.steps_per_epoch = len(records) // batch_size
        if not self.steps_per_epoch:
            raise ConfigError(
                f"fit.batch_size: {batch_size} is more than the training data has ({counted(len(records), 'sample')}); "
                "lower it"
            )
        self.records, self.pipeline = records, pipeline
        self.batch_size, self.accumulate, self.seed = batch_size, accumulate, seed
        self.world = world
        self._order = order_of(sampler, records)
        self._epoch = (-1, np.empty(0, dtype=np.int64))  # the latest epoch in use, and its order
        self.fetcher = Fetcher(
            records, pipeline, seed=seed, replace=True, num_workers=workers.num, timeout_s=workers.timeout_s
        )
        self._pin_memory = workers.pin_memory

    def keys(self, step: int) -> list[list[Key]]:
        """Returns (epoch, index) of this process's samples in one step, a list per micro-batch."""
        epoch, place = divmod(step, self.steps_per_epoch)
        order = self._order_of(epoch)
        size = self.micro_batch_size
        keys: list[list[Key]] = []
        for micro in range(self.accumulate):
            first = place * self.batch_size + (micro * self.world.size + self.world.rank) * size
            keys.append([(epoch, int(index)) for index in order[first : first + size]])
        return keys

    def keys_at_full_size(self, step: int) -> list[list[Key]]:
        """Returns the keys of a batch in the recipe's shape, even if the step's batch has a different one."""
        return self.keys(step)

    def num_samples(self, step: int) -> int:
        """Returns the number of samples of a step, over all processes."""
        return self.batch_size

    def norm_splits(self, step: int) -> int:
        """Returns the number of parts into which batch norms split a micro-batch."""
        return 1

    def _order_of(self, epoch: int) -> np.ndarray:
        if self._epoch[0] != epoch:
            self._epoch = (epoch, self._order(self.seed, epoch))
        return self._epoch[1]

    def steps(self, start: int, stop: int, *, full_size: bool = False) -> Generator[list[Batch], None, None]:
        """Yields the micro-batches of steps start, start + 1, ... stop - 1; `full_size` takes `keys_at_full_size`."""
        size, keys_of = self.accumulate, self.keys_at_full_size if full_size else self.keys
        stream = Stream(
            self.fetcher.fresh(),  # two streams may be open at the same time
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
    """Batches of every sample exactly once over all processes, in the data set's order.

    A broken record is left out and listed in `bad` as (id, reason). A batch may thus be smaller than the others, or
    hold only `bad` and an empty `id`.
    """

    def __init__(
        self,
        records: Dataset[Record],
        pipeline: Pipeline,
        *,
        batch_size: int,
        seed: int = 0,
        workers: Workers = Workers(),
        world: World = World(),
    ):
        self.records = records
        self.batch_size = batch_size
        self._indices = range(world.rank, len(records), world.size)
        self.fetcher = Fetcher(
            records, pipeline, seed=seed, replace=False, num_workers=workers.num, timeout_s=workers.timeout_s
        )
        self._pin_memory = workers.pin_memory

    def __len__(self) -> int:
        """Returns the number of batches of this process."""
        return -(-len(self._indices) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        size = self.batch_size

        def keys_from(first: int) -> Iterator[list[Key]]:
            for start in range(first * size, len(self._indices), size):
                yield [(0, index) for index in self._indices[start : start + size]]

        return iter(Stream(self.fetcher.fresh(), keys_from, num_batches=len(self), pin_memory=self._pin_memory))
