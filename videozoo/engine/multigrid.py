"""Multigrid training: begins with fewer frames and pixels in larger batches, at the same cost per step.

Paper: Wu et al., arXiv:1912.00998. All values are functions of the step.
"""

from __future__ import annotations

import bisect
import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from videozoo.engine.duration import Horizon
from videozoo.engine.schedule import Schedule
from videozoo.errors import ConfigError

__all__ = ["Grid", "GridPlan", "Multigrid", "Phase", "clip_on", "long_cycle", "long_grids", "plan_grids", "short_grids"]

# shares of the frames and of the crop's side, coarse to fine
LONG = ((0.25, 0.5**0.5), (0.5, 0.5**0.5), (0.5, 1.0), (1.0, 1.0))
SHORT = (0.5, 0.5**0.5)


@dataclasses.dataclass(frozen=True)
class Multigrid:
    """The options of `fit.multigrid`.

    Args:
        long: whether frames and size grow in cycles: one per interval between the schedule's milestones, or `cycles`
            equal ones. After the last cycle clips have full size.
        short: whether sizes alternate from step to step.
        epoch_factor: samples of the run, as a multiple of `fit.duration`.
        scale_lr: whether the learning rate grows with the batch of the long cycle; true for SGD, false for Adam.
        cycles: number of long cycles of a schedule without milestones.
        split_norms: whether batch norms split the long cycle's larger batches into parts of the recipe's batch size.
    """

    long: bool = True
    short: bool = True
    epoch_factor: float = 1.5
    scale_lr: bool = True
    cycles: int = 3
    split_norms: bool = True

    def __post_init__(self) -> None:
        if not (self.long or self.short):
            raise ConfigError("fit.multigrid: long and short are both false; set one to true, or set multigrid to null")
        if self.epoch_factor <= 0:
            raise ConfigError(f"fit.multigrid.epoch_factor: is {self.epoch_factor}; must be above 0")
        if self.cycles < 1:
            raise ConfigError(f"fit.multigrid.cycles: is {self.cycles}; must be 1 or more")


@dataclasses.dataclass(frozen=True)
class Grid:
    """The shape of a batch: `batch_factor` times the recipe's number of samples, each smaller."""

    batch_factor: int
    num_frames: int
    crop_px: int


@dataclasses.dataclass(frozen=True)
class Phase:
    """A grid of the long cycle and its length.

    Attributes:
        stage: index of its interval between milestones.
        amount: number of samples, in the unit of the milestones.
    """

    stage: int
    grid: Grid
    amount: float


def long_grids(num_frames: int, crop_px: int) -> list[Grid]:
    """Returns the grids of a long cycle, coarse to fine; the last has the recipe's shape."""
    grids = []
    for frames_share, side_share in LONG:
        frames, side = max(round(num_frames * frames_share), 1), round(crop_px * side_share)
        grids.append(Grid(round(num_frames * crop_px**2 / (frames * side**2)), frames, side))
    return grids


def short_grids(grid: Grid, crop_px: int) -> list[Grid]:
    """Returns the grids of the short cycle within `grid`, small to large; `crop_px` is the recipe's crop."""
    sides = [min(round(crop_px * share), grid.crop_px) for share in SHORT]
    return [
        *(Grid(grid.batch_factor * round((grid.crop_px / side) ** 2), grid.num_frames, side) for side in sides),
        grid,
    ]


def long_cycle(
    starts: Sequence[float], length: float, *, cycles: Sequence[Sequence[Grid]], epoch_factor: float
) -> list[Phase]:
    """Returns the phases of a run whose stages begin at `starts`; each but the last goes through all grids.

    The grids of a stage have the same number of steps. The run takes `epoch_factor` times `length`.

    Args:
        length: length of the run without multigrid, in the unit of `starts`.
        cycles: for each grid of the long cycle, the grids of its short cycle; the last is the long cycle's grid.
    """
    means = [sum(grid.batch_factor for grid in cycle) / len(cycle) for cycle in cycles]
    phases = [
        Phase(stage, cycle[-1], (end - start) * mean / sum(means))
        for stage, (start, end) in enumerate(itertools.pairwise(starts))
        for cycle, mean in zip(cycles, means, strict=True)
    ]
    # the last stage saves the same share of steps as the others
    saving = len(cycles) / sum(means) if phases else 1 / means[-1]
    phases.append(Phase(len(starts) - 1, cycles[-1][-1], (length - starts[-1]) * saving * means[-1]))
    scale = epoch_factor * length / sum(phase.amount for phase in phases)
    return [dataclasses.replace(phase, amount=phase.amount * scale) for phase in phases]


class GridPlan:
    """The grid of each step, and its position in the data and in the schedule.

    Args:
        phases: phases with amounts in steps of the recipe's batch size.
        starts: first step of each stage in a run without multigrid.
        length: number of steps of a run without multigrid.
        cycles: the grids of the short cycle of each long grid.
    """

    def __init__(
        self, phases: Sequence[Phase], *, starts: Sequence[int], length: int, cycles: Mapping[Grid, Sequence[Grid]]
    ):
        self.phases, self.cycles = tuple(phases), cycles
        self.grids = tuple(dict.fromkeys(grid for cycle in cycles.values() for grid in cycle))
        per_cycle = [Fraction(sum(g.batch_factor for g in cycles[p.grid]), len(cycles[p.grid])) for p in phases]
        steps = [max(round(p.amount / mean), 1) for p, mean in zip(phases, per_cycle, strict=True)]
        *self.first_steps, self.total_steps = itertools.accumulate(steps, initial=0)
        samples = [self._within(i, count) for i, count in enumerate(steps)]
        *self.first_samples, self.total_samples = itertools.accumulate(samples, initial=0)
        # a phase takes up its share of the stage's samples
        sums = [sum(p.amount for p in phases if p.stage == stage) for stage in range(len(starts))]
        spans = [
            p.amount / sums[p.stage] * (end - start) if sums[p.stage] else 0.0
            for p in phases
            for start, end in [([*starts, length])[p.stage : p.stage + 2]]
        ]
        self.places = list(itertools.accumulate(spans, initial=0.0))

    def grid(self, step: int) -> Grid:
        """Returns the shape of a step's batch."""
        phase = self._phase(step)
        cycle = self.cycles[self.phases[phase].grid]
        return cycle[(step - self.first_steps[phase]) % len(cycle)]

    def norm_splits(self, step: int) -> int:
        """Returns the number of parts of a step's batch that have the recipe's batch size."""
        return self.phases[self._phase(step)].grid.batch_factor

    def samples_before(self, step: int) -> int:
        """Returns the samples of earlier steps, in batches of the recipe's size."""
        phase = self._phase(step)
        return self.first_samples[phase] + self._within(phase, step - self.first_steps[phase])

    def schedule(self, schedule: Schedule, *, scale_lr: bool) -> Schedule:
        """Returns `schedule`, which is that of a run without multigrid, stretched over this run."""

        def factor(step: int) -> float:
            phase = self._phase(step)
            ends = [*self.first_steps[1:], self.total_steps]
            part = (step - self.first_steps[phase]) / (ends[phase] - self.first_steps[phase])
            place = self.places[phase] + part * (self.places[phase + 1] - self.places[phase])
            # rounding must not make a step miss its milestone
            rate = schedule(int(place + 1e-6))
            return rate * self.phases[phase].grid.batch_factor if scale_lr else rate

        return factor

    def horizon(self, horizon: Horizon) -> Horizon:
        """Returns the length of this run, given that of a run without multigrid; steps per epoch are an average."""
        steps_per_epoch = round(self.total_steps * horizon.steps_per_epoch / self.total_samples)
        batch_size = round(horizon.batch_size * self.total_samples / self.total_steps)
        return Horizon(self.total_steps, max(steps_per_epoch, 1), batch_size)

    def _phase(self, step: int) -> int:
        return bisect.bisect_right(self.first_steps, step) - 1

    def _within(self, phase: int, steps: int) -> int:
        cycle = [grid.batch_factor for grid in self.cycles[self.phases[phase].grid]]
        whole, rest = divmod(steps, len(cycle))
        return whole * sum(cycle) + sum(cycle[:rest])


def plan_grids(
    options: Multigrid, horizon: Horizon, *, milestones: Sequence[int] = (), num_frames: int, crop_px: int
) -> GridPlan:
    """Returns the plan of a run.

    Args:
        horizon: length of the run without multigrid.
        milestones: milestones of its schedule, in steps.
    """
    length = horizon.total_steps
    starts = [0]
    if options.long:
        starts += [m for m in milestones if 0 < m < length] or [
            length * i // (options.cycles + 1) for i in range(1, options.cycles + 1)
        ]
    longs = long_grids(num_frames, crop_px) if options.long else [Grid(1, num_frames, crop_px)]
    cycles = {grid: short_grids(grid, crop_px) if options.short else [grid] for grid in longs}
    phases = long_cycle(starts, length, cycles=list(cycles.values()), epoch_factor=options.epoch_factor)
    return GridPlan(phases, starts=starts, length=length, cycles=cycles)


def clip_on(spec: Any, grid: Grid) -> Any:
    """Returns the input spec of a grid: the same interval of time and part of the frame at a lower resolution.

    In a range of scales, only the lower end shrinks with the crop.
    """
    if grid == Grid(1, spec.num_frames, spec.crop_px):
        return spec
    share = grid.crop_px / spec.crop_px
    changed: dict[str, Any] = {"num_frames": grid.num_frames, "crop_px": grid.crop_px}
    changed["short_side_px"] = max(round(spec.short_side_px * share), grid.crop_px)
    if spec.sampling.startswith("dense"):
        changed["frame_stride"] = max(round(spec.frame_stride * spec.num_frames / grid.num_frames), 1)
    if (scales := spec.augment.short_side_range_px) is not None:
        low = max(round(scales[0] * share), grid.crop_px)
        changed["augment"] = dataclasses.replace(spec.augment, short_side_range_px=(low, scales[1]))
    return dataclasses.replace(spec, **changed)
