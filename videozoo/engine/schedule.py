"""Learning-rate schedules: pure functions of the optimizer step, without state.

A schedule returns a factor of the recipe's rate. All schedules take the same linear warm-up:

    warmup:        length of the warm-up
    warmup_start:  the factor at step zero
    warmup_end:    the factor at the end of the warm-up; by default the schedule's factor at that step
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
    """A constant rate."""
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
    """Multiplies the rate by `gamma` after each `every`."""
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
    """Multiplies the rate by `gamma` at each milestone; or sets `factors`, one per interval between milestones."""
    if factors is None:
        factors = [gamma**i for i in range(len(milestones) + 1)]
    if len(factors) != len(milestones) + 1:
        raise ConfigError(
            f"schedule.factors: has {len(factors)} values for {len(milestones)} milestones; give {len(milestones) + 1}"
        )
    steps = [horizon.steps(m) for m in milestones]
    if steps != sorted(steps):
        raise ConfigError(f"schedule.milestones: {[str(m) for m in milestones]} are not in ascending order; sort them")
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
    """Decays along half a cosine from 1 to `end` over the run (arXiv:1608.03983, without restarts).

    Args:
        staircase: whether the cosine changes only at whole epochs.
        after_warmup: whether the cosine begins at the end of the warm-up. Otherwise it begins at step zero and the
            warm-up ends on it, below 1 (PaddleVideo, SlowFast).
        warmup_scales: whether the warm-up rises to 1 and multiplies the cosine, instead of rising to the cosine.
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
    """Rises from `start` to 1 and falls to `end`, each along half a cosine (arXiv:1708.07120).

    Args:
        peak_at: position of the peak as a fraction of the run; `warmup` gives it as a duration instead.
    """
    if not 0 <= peak_at < 1:
        raise ConfigError(f"schedule.peak_at: is {peak_at}; must be between 0 and 1")
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
    """Multiplies the rate by `gamma` over each `every`, smoothly unless `staircase`."""
    every_steps = _at_least_one(horizon.steps(every), where=f"schedule.every: {every}")

    def factor(step: int) -> float:
        return gamma ** (step // every_steps if staircase else step / every_steps)

    return _warmed(factor, horizon.steps(warmup), warmup_start)


@register_schedule
def inverse_sqrt(horizon: Horizon, *, warmup: Duration) -> Schedule:
    """Rises linearly to 1, then falls as 1 / sqrt(step) (arXiv:1706.03762, section 5.3).

    Differs: the peak is the recipe's rate. The paper's peak is (width * warm-up steps) ** -0.5.
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
        raise ConfigError(f"{where} is less than one step; give at least 1st")
    return steps
