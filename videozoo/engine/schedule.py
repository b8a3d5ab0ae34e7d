"""Learning-rate schedules: pure functions of the optimizer step, with nothing to save or restore.

A schedule gives the factor of the recipe's rate. Each takes the same warm-up:

    warmup:        how long the rate rises along a line
    warmup_start:  the factor at step zero
    warmup_end:    the factor that the line leads to; by default the schedule's own where the warm-up ends
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Sequence

from videozoo.engine.duration import Duration, Horizon
from videozoo.engine.registry import register_schedule
from videozoo.errors import ConfigError

__all__ = ["Schedule", "constant", "cosine", "exponential", "inverse_sqrt", "multistep", "onecycle", "step"]

Schedule = Callable[[int], float]

NONE = Duration(0, "ep")


@register_schedule
def constant(horizon: Horizon, *, warmup: Duration = NONE, warmup_start: float = 0.0) -> Schedule:
    """The recipe's rate all along."""
    return _warmed(lambda step: 1.0, horizon.steps(warmup), warmup_start)


@register_schedule
def step(
    horizon: Horizon,
    *,
    every: Duration,
    gamma: float = 0.1,
    warmup: Duration = NONE,
    warmup_start: float = 0.0,
) -> Schedule:
    """Times `gamma` after each `every`."""
    every_steps = _at_least_one(horizon.steps(every), where=f"schedule.every: {every}")
    return _warmed(lambda step: gamma ** (step // every_steps), horizon.steps(warmup), warmup_start)


@register_schedule
def multistep(
    horizon: Horizon,
    *,
    milestones: Sequence[Duration],
    gamma: float = 0.1,
    factors: Sequence[float] | None = None,
    warmup: Duration = NONE,
    warmup_start: float = 0.0,
    warmup_end: float | None = None,
) -> Schedule:
    """Times `gamma` at each milestone; or `factors`, one for each stretch that the milestones part."""
    if factors is None:
        factors = [gamma**i for i in range(len(milestones) + 1)]
    if len(factors) != len(milestones) + 1:
        raise ConfigError(
            f"schedule.factors: {len(factors)} for {len(milestones)} milestones; it takes one more than milestones"
        )
    steps = [horizon.steps(m) for m in milestones]
    if steps != sorted(steps):
        raise ConfigError(f"schedule.milestones: {[str(m) for m in milestones]} do not rise; write them in order")
    return _warmed(
        lambda step: factors[bisect.bisect_right(steps, step)],
        horizon.steps(warmup),
        warmup_start,
        warmup_end,
    )


@register_schedule
def cosine(
    horizon: Horizon,
    *,
    end: float = 0.0,
    staircase: bool = False,
    after_warmup: bool = True,
    warmup: Duration = NONE,
    warmup_start: float = 0.0,
    warmup_scales: bool = False,
) -> Schedule:
    """Half a cosine from 1 to `end` over the run (arXiv:1608.03983, without restarts).

    Args:
        staircase: the cosine moves at whole epochs only.
        after_warmup: the cosine begins where the warm-up ends; else at step zero, so that the warm-up leads
            to a point on its way down and never to 1 (PaddleVideo, SlowFast).
        warmup_scales: the line of the warm-up ends at 1 and multiplies the cosine, instead of leading to it.
    """
    warmup_steps = horizon.steps(warmup)
    first = warmup_steps if after_warmup else 0

    def factor(step: int) -> float:
        if staircase:
            step -= step % horizon.steps_per_epoch
        return _half_cosine(1.0, end, (step - first) / max(horizon.total_steps - first, 1))

    return _warmed(factor, warmup_steps, warmup_start, scales=warmup_scales)


@register_schedule
def onecycle(
    horizon: Horizon,
    *,
    peak_at: float = 0.3,
    start: float = 0.04,
    end: float = 4e-6,
    warmup: Duration | None = None,
) -> Schedule:
    """Up from `start` to 1 and down to `end`, each half a cosine (arXiv:1708.07120).

    Args:
        peak_at: where the peak is, as a part of the run; `warmup` says it as a duration.
    """
    if not 0 <= peak_at < 1:
        raise ConfigError(f"schedule.peak_at: is {peak_at}; it takes a part of the run, 0..1")
    peak = horizon.steps(warmup) if warmup is not None else round(peak_at * horizon.total_steps)

    def factor(step: int) -> float:
        if step < peak:
            return _half_cosine(start, 1.0, step / peak)
        return _half_cosine(1.0, end, (step - peak) / max(horizon.total_steps - 1 - peak, 1))

    return factor


@register_schedule
def exponential(
    horizon: Horizon,
    *,
    gamma: float,
    every: Duration,
    staircase: bool = False,
    warmup: Duration = NONE,
    warmup_start: float = 0.0,
) -> Schedule:
    """Times `gamma` over each `every`, smoothly unless `staircase`."""
    every_steps = _at_least_one(horizon.steps(every), where=f"schedule.every: {every}")

    def factor(step: int) -> float:
        return gamma ** (step // every_steps if staircase else step / every_steps)

    return _warmed(factor, horizon.steps(warmup), warmup_start)


@register_schedule
def inverse_sqrt(horizon: Horizon, *, warmup: Duration) -> Schedule:
    """A line up to 1, then 1 / sqrt(step) (arXiv:1706.03762, section 5.3).

    Differs: the peak is the recipe's rate. The paper's is that of a rate of (width * warm-up steps) ** -0.5.
    """
    warmup_steps = _at_least_one(horizon.steps(warmup), where=f"schedule.warmup: {warmup}")
    return lambda step: min((step + 1) / warmup_steps, math.sqrt(warmup_steps / (step + 1)))


def _warmed(
    factor: Schedule, warmup_steps: int, start: float, end: float | None = None, *, scales: bool = False
) -> Schedule:
    if not warmup_steps:
        return factor
    peak = 1.0 if scales else end if end is not None else factor(warmup_steps)

    def warmed(step: int) -> float:
        if step >= warmup_steps:
            return factor(step)
        line = start + (peak - start) * step / warmup_steps
        return line * factor(step) if scales else line

    return warmed


def _half_cosine(first: float, last: float, part: float) -> float:
    return last + (first - last) * (1 + math.cos(math.pi * min(max(part, 0.0), 1.0))) / 2


def _at_least_one(steps: int, *, where: str) -> int:
    if steps < 1:
        raise ConfigError(f"{where} is less than a step; it takes at least 1st")
    return steps
