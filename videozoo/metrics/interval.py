"""Confidence intervals of scores, with clips of one recording counted as dependent.

Proportions get Wilson's interval (JASA 22, 1927). Every other score gets the same form with its own standard error: the
score is recomputed without each unit in turn (the jackknife), and the number of independent outcomes with the same
error replaces the sample size. An interval thus keeps a width for perfect scores, stays within the score's range, and
does not depend on a seed or on the order of samples. `benchmarks/coverage.py` measures the coverage of the intervals.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np

from videozoo.metrics.parts import Interval

__all__ = [
    "batch_units",
    "jackknife_intervals",
    "left_out",
    "proportions",
    "score_intervals",
    "unit_numbers",
    "wilson_interval",
]

LEVEL = 0.95
MANY = 20_000  # units; larger numbers are left out in blocks
BLOCKS, FEW_BLOCKS = 100, 20
PRIOR_UNITS = 0.5  # from benchmarks/coverage.py: less falls short of 95 %, more is too wide for few recordings


def batch_units(batch: Mapping[str, Any]) -> Sequence[str]:
    """Returns the recording of each sample of a batch: `group` if the evaluation groups samples, else its `id`."""
    units: Sequence[str] = batch["group"] if "group" in batch else batch["id"]
    return units


def unit_numbers(names: Sequence[str]) -> np.ndarray:
    """Returns a number for each name, uint32 `[n]`: a checksum, so that every process gives a name the same number."""
    return np.fromiter((zlib.crc32(str(name).encode("utf-8", "surrogatepass")) for name in names), np.uint32)


def wilson_interval(right: np.ndarray, units: np.ndarray) -> tuple[float, float]:
    """Returns Wilson's 95 % interval of the share of `right`, 0..1.

    Outcomes of one unit are dependent: the variance between units gives the effective number of outcomes. A few wrong
    outcomes determine that variance poorly, so half a unit of identical outcomes is added. If all outcomes are right or
    all are wrong, each unit counts as one outcome.

    Args:
        right: bool `[n]`.
        units: the recording of each outcome `[n]`; all distinct for independent outcomes.
    """
    right = np.asarray(right, np.float64)
    share, count = float(right.mean()), len(right)
    _, unit = np.unique(units, return_inverse=True)
    sizes = np.bincount(unit)
    num_units = len(sizes)
    if num_units == count:
        return _wilson(share, count, _quantile(None))
    alike = float(np.square(sizes).sum()) / count  # the design effect of units with identical outcomes
    hits = np.bincount(unit, weights=right)
    informative = min(np.count_nonzero(hits), np.count_nonzero(hits < sizes))
    effect = 1.0
    if informative:
        between = float(np.square(hits - sizes * share).sum()) * num_units / max(num_units - 1, 1)
        effect = max(between / (count * share * (1 - share)), 1.0)
    effect = float((informative * effect + PRIOR_UNITS * alike) / (informative + PRIOR_UNITS))
    return _wilson(share, count / effect, _quantile(num_units - 1))


def proportions(outcomes: Mapping[str, np.ndarray], units: np.ndarray) -> list[Interval]:
    """Returns Wilson's intervals, in percent, of the shares of several outcomes bool `[n]`, by score."""
    found = {name: wilson_interval(right, units) for name, right in outcomes.items()}
    return [Interval(name, 100 * low, 100 * high, LEVEL) for name, (low, high) in found.items()]


def score_intervals(
    scores: Callable[[np.ndarray], Mapping[str, float]],
    units: np.ndarray,
    *,
    highest: float | Mapping[str, float] = 100.0,
    is_biased: bool = False,
) -> list[Interval]:
    """Returns the 95 % intervals of scores other than shares of independent outcomes: precision, recall curves ...

    Args:
        scores: returns the scores by name, 0 to `highest`, of the samples in a mask bool `[n]`; nan where undefined.
        units: the recording of each sample `[n]`; all samples of a unit are left out together.
        highest: the best value of the scores, or of some of them by name; infinite for scores without a limit.
        is_biased: whether the scores of few samples are biased; intervals are then centered on the jackknife's
            bias-corrected estimate.
    """
    masks = left_out(units)
    full_scores = scores(np.ones(len(np.asarray(units)), bool))
    return jackknife_intervals(
        full_scores, [scores(kept) for kept in masks], units, highest=highest, is_biased=is_biased
    )


def left_out(units: np.ndarray, *, max_blocks: int = BLOCKS) -> list[np.ndarray]:
    """Returns masks bool `[n]` that each leave out one unit, or a block of units if there are too many."""
    distinct, unit = np.unique(units, return_inverse=True)
    num_blocks = min(len(distinct), max_blocks if len(distinct) <= MANY else FEW_BLOCKS)
    return [unit % num_blocks != block for block in range(num_blocks)] if num_blocks > 1 else []


def jackknife_intervals(
    full_scores: Mapping[str, float],
    without: Sequence[Mapping[str, float]],
    units: np.ndarray,
    *,
    highest: float | Mapping[str, float] = 100.0,
    is_biased: bool = False,
) -> list[Interval]:
    """Returns the 95 % intervals of scores, from their values under each mask of `left_out`."""
    found = []
    for name, score in full_scores.items():
        left = np.array([other.get(name, math.nan) for other in without])
        left = left[np.isfinite(left)]
        if not math.isfinite(score) or len(left) < 2:
            continue
        error = math.sqrt((len(left) - 1) / len(left) * float(np.square(left - left.mean()).sum()))
        limit = highest.get(name, 100.0) if isinstance(highest, Mapping) else highest
        quantile = _quantile(len(left) - 1)
        if math.isinf(limit):
            low, high = max(score - quantile * error, 0.0), score + quantile * error
        else:
            share = min(max(score / limit, 0.0), 1.0)
            variance = (error / limit) ** 2
            effective = share * (1 - share) / variance if variance > 1e-12 else len(np.unique(units))
            bias = (len(left) - 1) * (float(left.mean()) - score) / limit if is_biased else 0.0
            center = min(max(share - bias, 0.0), 1.0)
            low, high = (limit * end for end in _wilson(center, max(effective, 1.0), quantile))
            low, high = min(low, score), max(high, score)
        found.append(Interval(name, float(low), float(high), LEVEL))
    return found


def _wilson(share: float, count: float, quantile: float) -> tuple[float, float]:
    squared = quantile**2 / count
    middle = (share + squared / 2) / (1 + squared)
    half = math.sqrt(squared * share * (1 - share) + squared**2 / 4) / (1 + squared)
    return max(middle - half, 0.0) if share > 0 else 0.0, min(middle + half, 1.0) if share < 1 else 1.0


def _quantile(freedom: int | None) -> float:
    """Returns the 97.5 % quantile of Student's t with `freedom` degrees of freedom; None: of the normal distribution.

    Abramowitz and Stegun, 26.7.5; exact for one and two degrees.
    """
    upper = (1 + LEVEL) / 2
    z = NormalDist().inv_cdf(upper)
    if freedom is None:
        return z
    if freedom <= 1:
        return math.tan(math.pi * (upper - 0.5))
    if freedom == 2:
        return (2 * upper - 1) * math.sqrt(1 / (2 * upper * (1 - upper)))
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return float(sum(term / freedom**power for power, term in enumerate(terms)))
