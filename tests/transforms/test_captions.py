"""Which rows a captioner reads of a stretch, and how a batch is padded."""

import dataclasses

import numpy as np
import pytest
import torch

from videozoo.contracts.features import Features
from videozoo.contracts.record import FeatureRecord
from videozoo.errors import ConfigError, DataError
from videozoo.transforms.captions import CaptionsInput
from videozoo.transforms.input import build_input

SPEC = CaptionsInput(feature_dim=2)


@dataclasses.dataclass
class Record(FeatureRecord):
    content: Features
    id: str = "a#1"
    video: str = "a"
    start_s: float | None = None
    end_s: float | None = None
    duration_s: float | None = 10.0
    captions: tuple = ("a b", "c")
    words: tuple = ((3, 4), (5,))

    def features(self):
        return self.content


def rows(num_rows=10, **known):
    return Features(np.arange(2 * num_rows, dtype=np.float32).reshape(num_rows, 2), **known)


def read(record, spec=SPEC):
    sample = spec.eval_pipeline()(record)
    return (sample["features"][0][:, 0] / 2).tolist(), sample


def test_the_whole_video_without_times():
    at, sample = read(Record(rows(), duration_s=None))
    assert at == list(range(10)) and sample["times_s"] == [None] and sample["segment"] is None
    assert sample["references"] == ("a b", "c") and sample["video"] == "a" and "words" not in sample


@pytest.mark.parametrize(
    ("start_s", "end_s", "expected"),
    [(0, 10, range(10)), (2, 5, [2, 3, 4]), (2.6, 4.4, [3]), (9.6, 9.9, [9]), (2.1, 2.2, [2])],
)
def test_rows_with_their_middle_in_the_stretch_or_the_nearest(start_s, end_s, expected):
    at, sample = read(Record(rows(), start_s=start_s, end_s=end_s))
    assert at == list(expected)
    assert sample["times_s"][0].tolist() == [k + 0.5 for k in expected]


def test_rows_that_know_their_times():
    at, _ = read(Record(rows(stride_s=0.5, offset_s=1.0), start_s=2.0, end_s=3.0))
    assert at == [2, 3]


def test_long_stretches_are_thinned_evenly():
    at, _ = read(Record(rows(9)), CaptionsInput(feature_dim=2, max_rows=3))
    assert at == [1, 4, 7]


def test_training_draws_one_of_the_captions():
    pipeline = SPEC.train_pipeline()
    drawn = {tuple(pipeline(Record(rows()), np.random.default_rng(i))["words"]) for i in range(20)}
    assert drawn == {(3, 4), (5,)}


def test_a_batch_is_padded():
    batch = {"features": [[torch.ones(2, 2)], [torch.ones(3, 2)]], "words": [[3, 4, 5], [6]], "id": ["a", "b"]}
    moved = SPEC.to_device(batch, "cpu")
    assert moved["features"].shape == (2, 3, 2) and not moved["features"][0, 2].any()
    assert moved["mask"].tolist() == [[True, True, False], [True, True, True]]
    assert moved["words"].tolist() == [[3, 4, 5], [6, -1, -1]] and moved["id"] == ["a", "b"]


def test_the_spec_comes_back_from_plain_values():
    spec = CaptionsInput(feature_dim=7, max_rows=9)
    assert build_input(spec.to_dict()) == spec


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (
            Record(Features(np.ones((3, 5), np.float32))),
            r"a#1: its features are 5 wide, but the recipe says .*feature_dim=2",
        ),
        (Record(rows(), start_s=1, end_s=2, duration_s=None), r"a#1: the times of the feature rows are unknown"),
        (Record(rows(), words=()), r"a#1: has no caption; training needs one"),
    ],
)
def test_records_that_cannot_be_read(record, message):
    with pytest.raises(DataError, match=message):
        SPEC.train_pipeline()(record, np.random.default_rng(0))


def test_options_that_cannot_be():
    with pytest.raises(ConfigError, match=r"input.max_rows: is 0; it must be at least 1"):
        CaptionsInput(max_rows=0)
    with pytest.raises(ConfigError, match=r"input.views: is '3x1'; features have one view, 1x1"):
        SPEC.eval_pipeline("3x1")
    with pytest.raises(ConfigError, match="draws at random"):
        SPEC.train_pipeline()(Record(rows()))
