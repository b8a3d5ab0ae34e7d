"""Intervals against closed forms; `benchmarks/coverage.py` measures how often they hold."""

import math

import numpy as np
import pytest

from videozoo.metrics.interval import score_intervals, unit_numbers, wilson_interval


def alone(count):
    return np.arange(count)


@pytest.mark.parametrize(
    ("right", "count", "low", "high"),
    [(3, 3, 43.85, 100), (200, 200, 98.12, 100), (0, 3, 0, 56.15), (0, 200, 0, 1.88), (45, 50, 78.64, 95.65)],
)
def test_wilson_by_hand(right, count, low, high):
    outcomes = np.arange(count) < right
    found = wilson_interval(outcomes, alone(count))
    assert [100 * end for end in found] == pytest.approx([low, high], abs=0.005)
    assert found == wilson_interval(outcomes[::-1], alone(count))


def test_outcomes_that_come_twice_count_once():
    right = np.arange(400) % 4 > 0
    low, high = wilson_interval(right, alone(400))
    wide_low, wide_high = wilson_interval(np.repeat(right, 9), np.repeat(alone(400), 9))
    assert (wide_low, wide_high) == pytest.approx((low, high), abs=0.001)


def test_recordings_that_differ_in_nothing_cost_little():
    rng = np.random.default_rng(0)
    right = rng.random(2000) < 0.7
    low, high = wilson_interval(right, alone(2000))
    grouped_low, grouped_high = wilson_interval(right, np.arange(2000) // 10)
    assert grouped_high - grouped_low == pytest.approx(high - low, rel=0.25)


def test_all_right_counts_recordings():
    low, high = wilson_interval(np.ones(200, bool), np.arange(200) // 50)
    assert high == 1.0 and low < 0.4  # four recordings, not 200 clips


def test_interval_of_a_mean_is_the_t_interval_in_the_middle():
    values = np.random.default_rng(1).uniform(30, 70, 40)
    (found,) = score_intervals(lambda kept: {"mean": float(values[kept].mean())}, alone(40))
    half = 2.0227 * values.std(ddof=1) / math.sqrt(40)
    assert found.high - found.low == pytest.approx(2 * half, rel=0.02)
    assert found.low < values.mean() < found.high


def test_samples_of_one_unit_are_left_out_together():
    values = np.random.default_rng(1).uniform(30, 70, 20)
    twice, units = np.repeat(values, 2), np.repeat(alone(20), 2)
    (once,) = score_intervals(lambda kept: {"mean": float(values[kept].mean())}, alone(20))
    (again,) = score_intervals(lambda kept: {"mean": float(twice[kept].mean())}, units)
    assert (again.low, again.high) == pytest.approx((once.low, once.high))


def test_a_score_without_variance_keeps_a_width_and_its_range():
    (found,) = score_intervals(lambda kept: {"map": 100.0}, alone(20))
    assert found.low == pytest.approx(100 / (1 + 2.093**2 / 20), abs=0.01) and found.high == 100.0


def test_a_biased_score_is_judged_around_its_limit():
    values = np.random.default_rng(3).uniform(30, 70, 40)

    def biased(kept):
        return {"score": float(values[kept].mean() + 200 / kept.sum())}  # 5 too high over 40

    (plain,), (moved,) = (score_intervals(biased, alone(40), is_biased=b) for b in (False, True))
    shift = (plain.low + plain.high - moved.low - moved.high) / 2
    assert shift == pytest.approx(5, abs=1)  # Wilson draws the middle towards 50
    assert moved.low <= biased(np.ones(40, bool))["score"] <= moved.high


def test_scores_that_are_undefined_without_a_unit_are_left_out():
    (found,) = score_intervals(lambda kept: {"a": 50.0 if kept[0] else math.nan, "b": math.nan}, alone(5))
    assert found.score == "a" and found.low < 50 < found.high
    assert not score_intervals(lambda kept: {"a": 50.0}, np.zeros(5))  # one recording says nothing


def test_units_have_the_same_number_everywhere():
    assert unit_numbers(["a", "b", "a"]).tolist() == [3904355907, 1908338681, 3904355907]
    assert unit_numbers(["\udcff"]).dtype == np.uint32  # names that are not UTF-8
