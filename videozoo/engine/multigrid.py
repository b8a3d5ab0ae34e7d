"""Multigrid training: fewer frames and pixels in larger batches at first, at the same cost a step.

Paper: Wu et al., arXiv:1912.00998. Everything here is a function of the step.
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

# share of the frames and of the side, coarse to fine
LONG = ((0.25, 0.5**0.5), (0.5, 0.5**0.5), (0.5, 1.0), (1.0, 1.0))
SHORT = (0.5, 0.5**0.5)


@dataclasses.dataclass(frozen=True)
class Multigrid:
    """What `fit.multigrid` takes.

    Args:
        long: frames and size grow in cycles, one for each stretch between the schedule's milestones, or
            `cycles` of them in equal parts; what comes after the last is at full size.
        short: sizes alternate from step to step.
        epoch_factor: samples of the run, as a multiple of those that `fit.duration` says.
        scale_lr: the rate grows with the batch of the long cycle, as SGD wants it; Adam and the like do not.
        cycles: of a schedule without milestones.
        split_norms: batch norms see as many samples in the long cycle's larger batches as in the recipe's own.
    """

    long: bool = True
    short: bool = True
    epoch_factor: float = 1.5
    scale_lr: bool = True
    cycles: int = 3
    split_norms: bool = True

    def __post_init__(self) -> None:
        if not (self.long or self.short):
            raise ConfigError("fit.multigrid: has neither long nor short cycles; turn one on, or set it to null")
        if self.epoch_factor <= 0:
            raise ConfigError(f"fit.multigrid.epoch_factor: is {self.epoch_factor}; it takes a number above 0")
        if self.cycles < 1:
            raise ConfigError(f"fit.multigrid.cycles: is {self.cycles}; it takes a whole number from 1 up")


@dataclasses.dataclass(frozen=True)
class Grid:
    """The shape of a batch: `batch_factor` times the recipe's samples, each smaller."""

    batch_factor: int
    num_frames: int
    crop_px: int


@dataclasses.dataclass(frozen=True)
class Phase:
    """A grid of the long cycle and how long it lasts.

    Attributes:
        stage: which stretch between milestones it belongs to.
        amount: of samples, in the unit of the milestones that it was made from.
    """

    stage: int
    grid: Grid
    amount: float


def long_grids(num_frames: int, crop_px: int) -> list[Grid]:
    """The grids of a long cycle, coarse to fine; the last is the recipe's own."""
    grids = []
    for frames_share, side_share in LONG:
        frames, side = max(round(num_frames * frames_share), 1), round(crop_px * side_share)
        grids.append(Grid(round(num_frames * crop_px**2 / (frames * side**2)), frames, side))
    return grids


def short_grids(grid: Grid, crop_px: int) -> list[Grid]:
    """The grids that steps go through within `grid`, small to large; `crop_px` is the recipe's own."""
    sides = [min(round(crop_px * share), grid.crop_px) for share in SHORT]
    return [
        *(Grid(grid.batch_factor * round((grid.crop_px / side) ** 2), grid.num_frames, side) for side in sides),
        grid,
    ]


def long_cycle(
    starts: Sequence[float], length: float, *, cycles: Sequence[Sequence[Grid]], epoch_factor: float
) -> list[Phase]:
    """The phases of a run whose stages begin at `starts`; each but the last goes through all grids.

    A stage's samples are shared so that each of its grids has as many steps; the whole run then takes
    `epoch_factor` times `length`.

    Args:
        length: of the run without multigrid, in the unit of `starts`.
        cycles: for each grid of the long cycle, the grids of its steps; the last is the long cycle's.
    """
    means = [sum(grid.batch_factor for grid in cycle) / len(cycle) for cycle in cycles]
    phases = [
        Phase(stage, cycle[-1], (end - start) * mean / sum(means))
        for stage, (start, end) in enumerate(itertools.pairwise(starts))
        for cycle, mean in zip(cycles, means, strict=True)
    ]
    # the last stage saves steps as the others do
    saving = len(cycles) / sum(means) if phases else 1 / means[-1]
    phases.append(Phase(len(starts) - 1, cycles[-1][-1], (length - starts[-1]) * saving * means[-1]))
    scale = epoch_factor * length / sum(phase.amount for phase in phases)
    return [dataclasses.replace(phase, amount=phase.amount * scale) for phase in phases]


class GridPlan:
    """Which grid a step is on, and where in the data and in the schedule the run then is.

    Args:
        phases: with amounts in steps of the recipe's batch size.
        starts, length: of the stages, in steps of the run without multigrid.
        cycles: the grids of the steps of each long grid.
    """

    def __init__(
        self, phases: Sequence[Phase], *, starts: Sequence[int], length: int, cycles: Mapping[Grid, Sequence[Grid]]
    ):
        self.phases, self.cycles = tuple(phases), cycles
        self.grids = tuple(dict.fromkeys(grid for cycle in cycles.values() for grid in cycle))
        per_cycle = [Fraction(sum(g.batch_factor for g in cycles[p.grid]), len(cycles[p.grid])) for p in phases]
        steps = [max(round(p.amount / mean), 1) for p, mean in zip(phases, per_cycle, strict=True)]
        *self.first_steps, self.total_steps = itertools.accumulate(steps, initial=0)
        seen = [self._within(i, count) for i, count in enumerate(steps)]
        *self.first_samples, self.total_samples = itertools.accumulate(seen, initial=0)
        # a phase's part of its stage is that of its samples
        sums = [sum(p.amount for p in phases if p.stage == stage) for stage in range(len(starts))]
        spans = [
            p.amount / sums[p.stage] * (end - start) if sums[p.stage] else 0.0
            for p in phases
            for start, end in [([*starts, length])[p.stage : p.stage + 2]]
        ]
        self.places = list(itertools.accumulate(spans, initial=0.0))

    def grid(self, step: int) -> Grid:
        """The shape of a step's batch."""
        phase = self._phase(step)
        cycle = self.cycles[self.phases[phase].grid]
        return cycle[(step - self.first_steps[phase]) % len(cycle)]

    def norm_splits(self, step: int) -> int:
        """Parts of a step's batch that are as large as the batches of the recipe: the factor of the long cycle's."""
        return self.phases[self._phase(step)].grid.batch_factor

    def samples_before(self, step: int) -> int:
        """What earlier steps have seen, in batches of the recipe's size."""
        phase = self._phase(step)
        return self.first_samples[phase] + self._within(phase, step - self.first_steps[phase])

    def schedule(self, schedule: Schedule, *, scale_lr: bool) -> Schedule:
        """`schedule`, of the run without multigrid, along this one."""

        def factor(step: int) -> float:
            phase = self._phase(step)
            ends = [*self.first_steps[1:], self.total_steps]
            part = (step - self.first_steps[phase]) / (ends[phase] - self.first_steps[phase])
            place = self.places[phase] + part * (self.places[phase + 1] - self.places[phase])
            # to the step that it is in: a milestone must not be missed by a rounding error
            rate = schedule(int(place + 1e-6))
            return rate * self.phases[phase].grid.batch_factor if scale_lr else rate

        return factor

    def horizon(self, horizon: Horizon) -> Horizon:
        """How long this run is, where `horizon` is without multigrid; its epochs have steps on average."""
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
    """The plan of a run.

    Args:
        horizon: of the run without multigrid.
        milestones: of its schedule, in steps.
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
    """The input spec of a grid: it shows the same stretch of time and the same part of the frame, more coarsely.

    Of a range of scales, only the lower end shrinks with the crop.
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
