import dataclasses

import numpy as np
import pytest

from videozoo.contracts.features import Features
from videozoo.contracts.intervals import interval_iou
from videozoo.contracts.record import FeatureRecord
from videozoo.errors import ConfigError, DataError
from videozoo.transforms.input import build_input
from videozoo.transforms.moments import MomentsInput, fits, mean_rows, sliding_windows

SPEC = MomentsInput(window_s=(2.0, 4.0), overlap=0.5, context_s=1.0, feature_dim=2)


@dataclasses.dataclass(frozen=True)
class Record(FeatureRecord):
    """A video of 10 s with a row each half second that says its time."""

    moments: tuple[tuple[float, float], ...] = ((3.0, 5.2),)
    id: str = "v#1"
    video: str = "v"
    sentence: str = "it happens"
    duration_s: float | None = None
    width: int = 2

    def features(self):
        rows_s = 0.25 + 0.5 * np.arange(20)
        return Features(np.repeat(rows_s[:, None], self.width, 1).astype(np.float32), 0.5, 0.25, 10.0)


def test_windows_cover_the_video_to_its_end():
    times = sliding_windows(9.0, (4.0, 2.0), overlap=0.5)
    assert times.tolist() == [
        *[[float(s), float(s + 2)] for s in range(8)],
        *[[0.0, 4.0], [2.0, 6.0], [4.0, 8.0], [5.0, 9.0]],
    ]
    assert len(sliding_windows(10.0, (1.0,), overlap=0.8)) == 46


def test_a_short_video_has_one_window_of_all_of_it():
    assert sliding_windows(3.0, (2.0, 4.0, 8.0), overlap=0.0).tolist() == [[0, 2], [1, 3], [0, 3]]
    assert sliding_windows(0.5, (2.0, 4.0), overlap=0.8).tolist() == [[0, 0.5]]


def test_mean_of_rows_by_hand():
    rng = np.random.default_rng(0)
    values, rows_s = rng.normal(size=(30, 4)).astype(np.float32), np.sort(rng.uniform(0, 10, 30))
    times = np.sort(rng.uniform(0, 10, (50, 2)), axis=1)
    times[0] = (11.0, 12.0)  # after the last row
    for mean, (start, end) in zip(mean_rows(values, rows_s, times), times, strict=True):
        inside = [row for row, t in zip(values, rows_s, strict=True) if start <= t < end]
        nearest = values[np.abs(rows_s - (start + end) / 2).argmin()]
        assert mean == pytest.approx(np.mean(inside, axis=0) if inside else nearest, abs=1e-6)


def test_what_stands_for_a_window():
    windows = SPEC.windows(Record().features())
    rows = {tuple(times): row for times, row in zip(windows.times_s.tolist(), windows.features.tolist(), strict=True)}
    assert rows[4.0, 6.0] == pytest.approx([3.5, 3.5, 5.0, 5.0, 6.5, 6.5])  # a second before, itself, a second after
    assert rows[0.0, 2.0][:2] == rows[0.0, 2.0][2:4]  # nothing is before it
    assert rows[8.0, 10.0][4:] == rows[8.0, 10.0][2:4]
    assert windows.duration_s == 10.0


def test_training_takes_each_window_that_fits():
    pipeline = SPEC.train_pipeline()
    seen = set()
    for seed in range(40):
        sample = pipeline(Record(), np.random.default_rng(seed))
        window = sample["window"]
        assert fits(window[None], sample["moment"], min_iou=0.5, max_outside=0.15).all()
        assert sample["windows"][2:4].tolist() == pytest.approx([window.mean()] * 2)
        seen.add(tuple(window.tolist()))
    assert seen == {(3.0, 5.0)}


def test_a_moment_that_no_window_fits_gets_the_nearest():
    sample = SPEC.train_pipeline()(Record(moments=((0.0, 9.5),)), np.random.default_rng(0))
    times = SPEC.windows(Record().features()).times_s
    assert (
        interval_iou(sample["window"][None], np.array([0.0, 9.5]))[0] == interval_iou(times, np.array([0.0, 9.5])).max()
    )


def test_evaluation_has_its_own_lengths():
    spec = dataclasses.replace(SPEC, eval_window_s=(5.0,))
    sample = spec.eval_pipeline()(Record())
    assert set(np.diff(sample["candidates"].times_s).ravel().tolist()) == {5.0}
    assert sample["sentence"] == "it happens" and sample["moment"].tolist() == [3.0, 5.2]
    moved = spec.to_device({"candidates": [sample["candidates"]], "id": ["v#1"]}, "cpu")
    assert np.array_equal(moved["candidates"][0].features, sample["candidates"].features)


def test_it_travels_in_a_checkpoint():
    assert build_input(SPEC.to_dict()) == SPEC


def test_what_is_wrong_with_features_is_the_same_of_all_their_sentences():
    class Lost(Record):
        def features(self):
            raise DataError("features: no features of video 'v'; extract them or leave it out")

    with pytest.raises(DataError, match=r"^features: no features of video 'v'"):
        SPEC.train_pipeline()(Lost(), np.random.default_rng(0))


def test_errors():
    with pytest.raises(DataError, match=r"v#1: is 3 wide, but the recipe says input\.feature_dim=2"):
        SPEC.eval_pipeline()(Record(width=3))
    for pipeline in (SPEC.train_pipeline(), SPEC.eval_pipeline()):
        with pytest.raises(DataError, match=r"v#1: its moment begins at 12 s, the video ends at 10 s"):
            pipeline(Record(moments=((12.0, 13.0),)), np.random.default_rng(0))
    with pytest.raises(DataError, match="v#1: its moment is unknown"):
        SPEC.train_pipeline()(Record(moments=()), np.random.default_rng(0))
    with pytest.raises(ConfigError, match="a training pipeline draws at random"):
        SPEC.train_pipeline()(Record())
    with pytest.raises(ConfigError, match=r"input\.views: is '10x3'"):
        SPEC.eval_pipeline("10x3")
    with pytest.raises(ConfigError, match=r"input\.window_s: is \(\); give lengths of 0\.05 s or more"):
        MomentsInput(window_s=())
    with pytest.raises(ConfigError, match=r"input\.overlap: is 1\.0; needs 0 or more and less than 1"):
        MomentsInput(overlap=1.0)
    bare = Record(id="a.mp4", sentence=None)
    with pytest.raises(DataError, match=r"a\.mp4: has no sentence; query a grounding run with `videozoo"):
        SPEC.eval_pipeline()(bare)
