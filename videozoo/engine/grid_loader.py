"""The batches of a multigrid run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from videozoo.contracts.dataset import Dataset
from videozoo.contracts.record import Record
from videozoo.engine.loader import Key, TrainLoader
from videozoo.engine.multigrid import Grid, GridPlan

__all__ = ["GridLoader", "GridPipeline"]

Pipeline = Callable[[Any, np.random.Generator], Mapping[str, Any]]


@dataclasses.dataclass(frozen=True)
class GridPipeline:
    """A pipeline for each grid; the loader's `variant` is the index of the grid."""

    pipelines: tuple[Pipeline, ...]

    def __call__(self, record: Any, rng: np.random.Generator, *, variant: int = 0) -> Mapping[str, Any]:
        return self.pipelines[variant](record, rng)


class GridLoader(TrainLoader):
    """A `TrainLoader` whose batches have the shape of the step's grid.

    Epochs are as long as without multigrid; a batch may extend into the next epoch.

    Args:
        pipeline_on: returns the pipeline of a grid.
        split_norms: whether batch norms split large batches; see `Multigrid`.
    """

    def __init__(
        self,
        records: Dataset[Record],
        pipeline_on: Callable[[Grid], Pipeline],
        *,
        plan: GridPlan,
        split_norms: bool = True,
        **sharing: Any,
    ):
        super().__init__(records, GridPipeline(tuple(map(pipeline_on, plan.grids))), **sharing)
        self.plan, self.split_norms = plan, split_norms

    def keys_at_full_size(self, step: int) -> list[list[Key]]:
        variant = self.plan.grids.index(self.plan.phases[-1].grid)
        return [[(epoch, index, variant) for epoch, index, *_ in micro] for micro in super().keys(step)]

    def num_samples(self, step: int) -> int:
        return self.batch_size * self.plan.grid(step).batch_factor

    def norm_splits(self, step: int) -> int:
        return self.plan.norm_splits(step) if self.split_norms else 1

    def keys(self, step: int) -> list[list[Key]]:
        grid = self.plan.grid(step)
        variant = self.plan.grids.index(grid)
        size = self.micro_batch_size * grid.batch_factor
        epoch_size = self.steps_per_epoch * self.batch_size
        keys: list[list[Key]] = []
        for micro in range(self.accumulate):
            first = (
                self.plan.samples_before(step) * self.batch_size + (micro * self.world.size + self.world.rank) * size
            )
            places = [divmod(place, epoch_size) for place in range(first, first + size)]
            keys.append([(epoch, int(self._order_of(epoch)[place]), variant) for epoch, place in places])
        return keys
