"""Class names of public data sets."""

from __future__ import annotations

import pytest

from videozoo.errors import WeightsError
from videozoo.weights.label_sets import LABEL_SETS, label_set

NUM_CLASSES = {
    "diving48": 48,
    "hmdb51": 51,
    "kinetics400": 400,
    "kinetics600": 600,
    "kinetics700": 700,
    "kinetics710_videomae2": 710,
    "ssv2": 174,
    "ucf101": 101,
}


def test_each_set_names_each_class_once():
    assert {name: len(set(label_set(name).class_names)) for name in LABEL_SETS} == NUM_CLASSES
    assert {name: len(label_set(name).class_names) for name in LABEL_SETS} == NUM_CLASSES
    assert all(name == name.strip() and name for each in LABEL_SETS for name in label_set(each).class_names)


def test_outputs_of_a_larger_set_are_the_same_classes():
    """The names differ in spelling only: at 13 of 400 places."""
    small, large = label_set("kinetics400"), label_set("kinetics710_videomae2")
    rows = small.rows_of(710)
    assert rows is not None and len(set(rows)) == 400
    found = [large.class_names[row] for row in rows]
    others = {theirs: ours for ours, theirs in zip(small.class_names, found, strict=True) if ours != theirs}
    assert len(others) == 13
    assert others["dyeing hair"] == "dying hair" and others["inflating balloons"] == "balloon blowing"


def test_sets_fit_their_own_number_of_classes_only():
    assert label_set("ssv2").rows_of(174) is None
    with pytest.raises(WeightsError, match=r"^labels ssv2: has 174 classes, but the weights have 400; give the set or"):
        label_set("ssv2").rows_of(400)
    with pytest.raises(WeightsError, match=r"labels 'kinetics40': .* did you mean 'kinetics400'"):
        label_set("kinetics40")
