"""Balanced sampling: every class as often as the others, as a function of (seed, epoch) alone."""

import dataclasses
from collections import Counter

import numpy as np
import pytest

from tests.engine.toy import ToyPipeline
from videozoo.engine.loader import TrainLoader
from videozoo.engine.order import balanced_order, class_groups, order_of
from videozoo.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Record:
    id: str
    labels: tuple[int, ...]


def records(*labels):
    return [Record(str(i), x if isinstance(x, tuple) else (x,)) for i, x in enumerate(labels)]


SKEWED = records(*[0] * 20, *[1] * 7, *[3] * 3)


def test_every_class_comes_as_often():
    for epoch in range(3):
        order = order_of("balanced", SKEWED)(5, epoch)
        assert Counter(SKEWED[i].labels[0] for i in order) == {0: 10, 1: 10, 3: 10}
        small = Counter(int(i) for i in order if SKEWED[i].labels == (3,))
        assert sorted(small.values()) == [3, 3, 4]  # gone through whole before one comes again


def test_the_rest_goes_to_any_class():
    data = records(0, 0, 0, 0, 1)
    orders = [balanced_order(0, epoch, class_groups(data), 5) for epoch in range(20)]
    counts = [Counter(data[i].labels[0] for i in order) for order in orders]
    assert {tuple(sorted(c.items())) for c in counts} == {((0, 2), (1, 3)), ((0, 3), (1, 2))}


def test_large_classes_show_all_of_themselves_in_time():
    order = order_of("balanced", SKEWED)
    seen = {int(i) for epoch in range(8) for i in order(0, epoch)}
    assert seen == set(range(30))


def test_order_is_a_function_of_seed_and_epoch():
    order = order_of("balanced", SKEWED)
    assert np.array_equal(order(1, 4), order_of("balanced", SKEWED)(1, 4))
    assert not np.array_equal(order(1, 4), order(1, 5)) and not np.array_equal(order(1, 4), order(2, 4))


def test_samples_of_several_classes_and_of_none():
    groups = class_groups(records((0, 2), (2,), (), (0,)))
    assert [g.tolist() for g in groups] == [[2], [0, 3], [0, 1]]


def test_data_without_labels():
    with pytest.raises(ConfigError, match=r"fit\.sampler: 'balanced' needs class labels and this data has"):
        order_of("balanced", records((), ()))


def test_loader_goes_by_it_and_takes_up_anywhere():
    loader = TrainLoader(SKEWED, ToyPipeline(), batch_size=6, seed=2, sampler="balanced", accumulate=2)
    expected = order_of("balanced", SKEWED)(2, 1)[6:12].tolist()
    assert [index for keys in loader.keys(6) for _, index in keys] == expected
    loader.keys(0)  # another epoch in between changes nothing
    assert [index for keys in loader.keys(6) for _, index in keys] == expected
