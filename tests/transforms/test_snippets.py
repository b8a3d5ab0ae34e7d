import dataclasses

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from videozoo.contracts.features import Features
from videozoo.contracts.record import FeatureRecord
from videozoo.contracts.video import Span
from videozoo.errors import ConfigError, DataError
from videozoo.transforms.input import build_input
from videozoo.transforms.snippets import ClassTrack, Extent, SnippetsInput, segments_within
from videozoo.transforms.tensors import collate


def ramp(t, *, stride_s=None, offset_s=None, duration_s=None, **more):
    """Features whose first column is the row's number, the second its square."""
    values = np.stack([np.arange(t), np.arange(t) ** 2], 1).astype(np.float32)
    return Features(values, stride_s=stride_s, offset_s=offset_s, duration_s=duration_s, **more)


@dataclasses.dataclass(frozen=True)
class Video(FeatureRecord):
    content: Features
    duration_s: float | None
    segments: tuple[Span, ...]
    covered_s: float | None
    id: str = "a"

    def features(self):
        return self.content


def video(features, *, duration_s=None, segments=(), covered_s=None):
    return Video(features, duration_s, segments, covered_s)


def read(spec, record, rng=None):
    pipeline = spec.eval_pipeline() if rng is None else spec.train_pipeline()
    sample = pipeline(record, rng)
    return [sequence[:, 0].tolist() for sequence in sample["features"]], sample["timeline"]


def test_rows_that_are_snippets_already_stay_as_they_are():
    (found,), timeline = read(SnippetsInput(num_snippets=6, feature_dim=2), video(ramp(6), duration_s=9.0))
    assert found == [0, 1, 2, 3, 4, 5]
    assert timeline.extents == (Extent(0.0, 9.0),) and timeline.video_s == 9.0


def test_snippets_are_read_between_the_middles_of_the_rows():
    # rows are about 1, 3, 5, 7 s; four snippets of a video of 10 s are about 1.25, 3.75, 6.25, 8.75 s
    record = video(ramp(4, stride_s=2.0, offset_s=1.0, duration_s=10.0))
    (found,), _ = read(SnippetsInput(num_snippets=4, feature_dim=2), record)
    assert_allclose(found, [0.125, 1.375, 2.625, 3.0])  # held behind the last row


def test_points_are_averaged_from_a_snippets_start_to_its_end():
    record = video(ramp(8, stride_s=1.0, offset_s=0.5, duration_s=8.0))
    sample = SnippetsInput(num_snippets=4, feature_dim=2, num_points=3).eval_pipeline()(record)
    # snippet 1 is 2..4 s: rows 1.5, 2.5, 3.5, whose squares read 2.5, 6.5, 12.5
    assert_allclose(sample["features"][0][1], [2.5, (2.5 + 6.5 + 12.5) / 3])


def test_evenly_spread_rows_are_about_the_covered_part():
    record = video(ramp(4), duration_s=10.0, covered_s=8.0)
    _, timeline = read(SnippetsInput(num_snippets=4, feature_dim=2), record)
    assert timeline.extents == (Extent(0.0, 8.0),) and timeline.video_s == 10.0


def test_windows_cover_the_video():
    spec = SnippetsInput(num_snippets=4, feature_dim=2, sampling="windows", overlap=0.5)
    record = video(ramp(9, stride_s=1.0, offset_s=0.5, duration_s=9.0))
    found, timeline = read(spec, record)
    assert [extent.length_s for extent in timeline.extents] == [4.0] * 4
    assert timeline.extents[0].start_s == 0 and timeline.extents[-1].start_s == 5
    assert found[0] == [0, 1, 2, 3] and found[-1] == [5, 6, 7, 8]
    found, timeline = read(spec, video(ramp(3, stride_s=1.0, offset_s=0.5, duration_s=3.0)))
    assert found == [[0, 1, 2, 0]] and timeline.extents == (Extent(0.0, 4.0),)  # zeros behind a short video


def test_a_windows_rate_may_be_given():
    spec = SnippetsInput(num_snippets=4, feature_dim=2, sampling="windows", snippet_s=2.0, overlap=0.0)
    found, _ = read(spec, video(ramp(16, stride_s=1.0, offset_s=0.5, duration_s=16.0)))
    assert found == [[0.5, 2.5, 4.5, 6.5], [8.5, 10.5, 12.5, 14.5]]


def test_training_windows_see_a_segment():
    spec = SnippetsInput(num_snippets=4, feature_dim=2, sampling="windows")
    record = video(ramp(100, stride_s=1.0, offset_s=0.5, duration_s=100.0), segments=(Span(70, 72, "x"),))
    for seed in range(20):
        _, timeline = read(spec, record, np.random.default_rng(seed))
        (extent,) = timeline.extents
        assert extent.start_s <= 71 <= extent.start_s + extent.length_s
    assert timeline.track is None
    with pytest.raises(ConfigError, match="draws at random"):
        spec.train_pipeline()(record)


def test_random_crops_of_rescaled_videos():
    spec = SnippetsInput(num_snippets=4, feature_dim=2, crop_range=(0.3, 0.6))
    record = video(ramp(100, stride_s=1.0, offset_s=0.5, duration_s=100.0))
    extents = [read(spec, record, np.random.default_rng(seed))[1].extents[0] for seed in range(30)]
    assert all(30 <= e.length_s <= 60 and e.start_s >= 0 and e.start_s + e.length_s <= 100 + 1e-9 for e in extents)
    assert len({e.start_s for e in extents}) == 30


def test_rows_of_scores():
    scores = np.eye(4, 3, dtype=np.float32)
    features = ramp(4, stride_s=1.0, offset_s=0.5, duration_s=4.0, scores=scores, class_names=("x", "y", "z"))
    sample = SnippetsInput(num_snippets=4, feature_dim=5, rows="both").eval_pipeline()(video(features))
    assert_allclose(sample["features"][0][:, 2:], scores)
    assert sample["timeline"].track.class_names == ("x", "y", "z")
    with pytest.raises(DataError, match=r"a: its features hold no class scores, .* input\.rows=scores"):
        SnippetsInput(rows="scores").eval_pipeline()(video(ramp(4), duration_s=4.0))


def test_class_means_inside_segments():
    track = ClassTrack(np.array([0.5, 1.5, 2.5, 3.5]), np.array([[1, 0], [0, 1], [0, 1], [1, 0]]), ("a", "b"))
    found = track.means(np.array([[0.0, 4.0], [1.0, 3.0], [2.6, 2.9], [0.5, 1.5]]))
    assert_allclose(found, [[0.5, 0.5], [0, 1], [0, 1], [0.5, 0.5]])


def test_segments_within():
    spans = [Span(0, 4, "a"), Span(3, 9, "b"), Span(9, 10, "c"), Span(6, 7, "d")]
    segments, labels = segments_within(spans, Extent(5.0, 4.0))
    assert labels == ["b", "d"]
    assert_allclose(segments, [[0.0, 1.0], [0.25, 0.5]])
    assert segments_within([], Extent(0.0, 1.0))[0].shape == (0, 2)


def test_a_batch_has_all_sequences_in_a_row():
    spec = SnippetsInput(num_snippets=4, feature_dim=2, sampling="windows", overlap=0.0)
    long, short = (video(ramp(t, stride_s=1.0, offset_s=0.5, duration_s=float(t))) for t in (8, 3))
    batch = spec.to_device(collate([spec.eval_pipeline()(record) for record in (long, short)]), "cpu")
    assert batch["features"].shape == (3, 4, 2) and batch["features"].dtype == torch.float32
    assert [len(timeline.extents) for timeline in batch["timeline"]] == [2, 1]


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (
            Features(np.zeros((4, 3), np.float32), duration_s=1.0),
            r"a: its features are 3 wide, but .*input\.feature_dim=2",
        ),
        (ramp(4), r"the times of the feature rows are unknown; give the video's duration, or stride_s"),
    ],
)
def test_features_that_cannot_be_used(features, message):
    with pytest.raises(DataError, match=message):
        SnippetsInput(num_snippets=4, feature_dim=2).eval_pipeline()(video(features))


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"num_snippets": 0}, r"input\.num_snippets: is 0; it must be at least 1"),
        ({"overlap": 1.0}, r"input\.overlap: is 1\.0; it must be at least 0 and below 1"),
        ({"snippet_s": 1.0}, r"input\.snippet_s: is 1\.0; set it only with sampling 'windows'"),
        ({"snippet_s": 0.0, "sampling": "windows"}, r"input\.snippet_s: is 0\.0; give seconds above 0"),
        ({"crop_range": (0.5, 1.0), "sampling": "windows"}, r"input\.crop_range: set it only with sampling 'rescale'"),
        ({"crop_range": (0.9, 0.5)}, r"input\.crop_range: is \(0\.9, 0\.5\)"),
    ],
)
def test_wrong_values(args, message):
    with pytest.raises(ConfigError, match=message):
        SnippetsInput(**args)


def test_the_spec_travels():
    spec = SnippetsInput(num_snippets=7, crop_range=(0.5, 1.0))
    assert build_input(spec.to_dict()) == spec
    with pytest.raises(ConfigError, match=r"input\.views: is '3x1'; features have one view"):
        spec.eval_pipeline("3x1")
