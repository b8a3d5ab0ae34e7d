from __future__ import annotations

import dataclasses
import pickle

import numpy as np
import pytest
import torch

from tests.io.test_damage import spoiled
from tests.transforms.conftest import frame_numbers
from videozoo.contracts.record import ClipRecord
from videozoo.errors import ConfigError, DataError, DecodeError
from videozoo.io.decode import open_video
from videozoo.transforms.augment import Augment
from videozoo.transforms.input import ClipInput, build_input
from videozoo.transforms.registry import inputs

SMALL = ClipInput(num_frames=4, short_side_px=40, crop_px=32)
STILL = Augment(crop="center", flip=0.0)


def with_(spec, **changes):
    return dataclasses.replace(spec, **changes)


def test_the_registry_knows_it_by_the_name_recipes_use():
    assert "clip" in inputs.names() and inputs.get("clip") is ClipInput
    assert inputs.summary("clip").startswith("Clips of RGB frames")


def test_a_spec_survives_the_checkpoint():
    spec = with_(
        SMALL,
        fps=12.5,
        sampling="dense",
        views="3x10",
        augment=Augment(crop="random", flip_label_pairs=((0, 1),)),
    )
    assert build_input(spec.to_dict()) == spec
    assert build_input({}) == ClipInput()


def test_training_sample(steady):
    sample = SMALL.train_pipeline()(steady, np.random.default_rng(0))
    assert sample["video"].shape == (4, 3, 32, 32) and sample["video"].dtype == torch.uint8
    assert sample["video"].is_contiguous()
    assert sample["id"] == "steady" and sample["label"].dtype == np.int64 and sample["label"] == 3


def test_training_draws_only_from_the_generator(steady):
    pipeline = pickle.loads(pickle.dumps(SMALL.train_pipeline()))
    one, two, other = (pipeline(steady, np.random.default_rng(seed))["video"] for seed in (1, 1, 2))
    assert torch.equal(one, two) and not torch.equal(one, other)


def test_evaluation_takes_the_middle_of_each_segment(steady):
    video = SMALL.eval_pipeline()(steady)["video"]
    assert video.shape == (1, 4, 3, 32, 32)
    assert frame_numbers(video[0]) == [3, 11, 18, 26]


@pytest.mark.parametrize("views, count", [("1x1", 1), ("2x3", 6), ("3x10", 30), ("1x5", 5)])
def test_views(steady, views, count):
    assert SMALL.eval_pipeline(views)(steady)["video"].shape[0] == count
    assert with_(SMALL, views=views).eval_pipeline()(steady)["video"].shape[0] == count


def test_views_go_clip_by_clip(steady):
    video = with_(SMALL, sampling="dense").eval_pipeline("2x3")(steady)["video"]
    assert [frame_numbers(view) for view in video] == [[0, 1, 2, 3]] * 3 + [[26, 27, 28, 29]] * 3


def test_dense_counts_at_the_asked_rate(steady):
    spec = with_(SMALL, sampling="dense", frame_stride=2, fps=5.0)
    assert frame_numbers(spec.eval_pipeline("2x1")(steady)["video"][0]) == [
        1,
        5,
        9,
        13,
    ]  # 0.4 s apart, from 0.1 s
    fast = with_(SMALL, sampling="dense", fps=20.0)
    assert frame_numbers(fast.eval_pipeline("2x1")(steady)["video"][0]) == [0, 0, 1, 1]


def test_dense_ends_and_uniform(steady):
    ends = with_(SMALL, sampling="dense_ends", frame_stride=5)
    assert frame_numbers(ends.eval_pipeline()(steady)["video"][0]) == [5, 11, 17, 24]
    uniform = with_(SMALL, sampling="uniform")
    assert frame_numbers(uniform.eval_pipeline()(steady)["video"][0]) == [0, 9, 19, 29]


def test_variable_rates_are_sampled_by_time(uneven):
    """Segments of 1.275 s: at 0.64 s, 1.91 s, 3.19 s and 4.46 s; by index it would be 3, 10, 18 and 25."""
    assert frame_numbers(SMALL.eval_pipeline()(uneven)["video"][0]) == [12, 21, 24, 26]


def test_a_stretch_of_the_video(steady):
    record = dataclasses.replace(steady, start_s=1.0, end_s=1.8)
    assert frame_numbers(SMALL.eval_pipeline()(record)["video"][0]) == [11, 13, 15, 17]
    for seed in range(5):
        drawn = frame_numbers(SMALL.train_pipeline()(record, np.random.default_rng(seed))["video"])
        assert min(drawn) >= 10 and max(drawn) < 18
    with pytest.raises(DataError, match=r"steady: the stretch 5.0..6.0 s lies outside the video, which lasts 3.000 s"):
        SMALL.eval_pipeline()(dataclasses.replace(steady, start_s=5.0, end_s=6.0))


def test_an_open_reader_is_used_and_left_open(steady):
    pipeline = SMALL.eval_pipeline()
    with open_video(steady.path) as reader:
        for start_s in (0.0, 1.0, 2.0):
            record = dataclasses.replace(steady, start_s=start_s, end_s=start_s + 0.8)
            assert torch.equal(pipeline(record, reader=reader)["video"], pipeline(record)["video"])


def test_frame_folders_are_sampled_by_index(places):
    video = SMALL.eval_pipeline()(places)["video"]
    assert video[0, :, 0, 0, 0].tolist() == [2, 7, 12, 17]
    half = dataclasses.replace(places, start_s=1.0, extra={"fps": 10})
    assert SMALL.eval_pipeline()(half)["video"][0, :, 0, 0, 0].tolist() == [11, 13, 16, 18]
    with pytest.raises(DataError, match="a folder of frames has no frame rate"):
        with_(SMALL, sampling="dense", fps=30.0).eval_pipeline()(places)


def test_center_crop_is_the_center(places):
    spec = with_(SMALL, short_side_px=60, augment=STILL)
    for video in (
        spec.eval_pipeline()(places)["video"][0],
        spec.train_pipeline()(places, np.random.default_rng(0))["video"],
    ):
        assert video[0, 1, :, 0].tolist() == list(range(14, 46))
        assert video[0, 2, 0].tolist() == list(range(24, 56))


def test_three_crops_are_left_right_center(places):
    video = with_(SMALL, short_side_px=60, crop_px=60).eval_pipeline("1x3")(places)["video"]
    assert video[:, 0, 2, 0, 0].tolist() == [0, 20, 10]


def test_random_crops_reach_every_place_and_are_one_for_the_clip(places):
    pipeline = with_(SMALL, short_side_px=60, augment=Augment(crop="random", flip=0.0)).train_pipeline()
    videos = [pipeline(places, np.random.default_rng(seed))["video"] for seed in range(60)]
    assert all(torch.equal(v[0, 1:], v[-1, 1:]) for v in videos)
    lefts = [int(v[0, 2, 0, 0]) for v in videos]
    assert 0 <= min(lefts) < 8 and 40 < max(lefts) <= 48


@pytest.mark.parametrize("kind", ["multi_scale", "multi_scale_random", "random_resized", "random", "center"])
def test_every_crop_fills_the_square(places, kind):
    augment = Augment(crop=kind, short_side_range_px=(32, 50))
    pipeline = with_(SMALL, augment=augment, force_ratio=4 / 3).train_pipeline()
    seen = {pipeline(places, np.random.default_rng(seed))["video"][0, 1:].sum().item() for seed in range(8)}
    assert pipeline(places, np.random.default_rng(0))["video"].shape == (4, 3, 32, 32)
    assert len(seen) > 1


def test_flips_turn_labels(places):
    augment = Augment(crop="center", flip=1.0, flip_label_pairs=((2, 5), (0, 1)))
    sample = with_(SMALL, short_side_px=60, augment=augment).train_pipeline()(places, np.random.default_rng(0))
    assert sample["video"][0, 2, 0].tolist() == list(range(55, 23, -1))
    assert sample["label"] == 5


def test_labels(steady):
    many = dataclasses.replace(steady, labels=(0, 3))
    assert SMALL.eval_pipeline(num_classes=5)(many)["label"].tolist() == [1, 0, 0, 1, 0]
    with pytest.raises(DataError, match=r"steady: has 2 labels \(0, 3\); single-label data has one"):
        SMALL.eval_pipeline()(many)
    with pytest.raises(DataError, match=r"steady: label 3 is outside 0..2"):
        SMALL.eval_pipeline(num_classes=3)(many)
    none = SMALL.eval_pipeline(num_classes=5)(dataclasses.replace(steady, labels=()))
    assert none["label"].tolist() == [0] * 5
    assert "label" not in SMALL.eval_pipeline()(dataclasses.replace(steady, labels=()))


def test_to_device_normalises():
    spec = with_(SMALL, mean=(0.1, 0.2, 0.3), std=(0.1, 0.2, 0.3))
    video = torch.full((2, 1, 4, 3, 8, 8), 102, dtype=torch.uint8)
    moved = spec.to_device({"video": video, "label": torch.tensor([1, 2]), "id": ["a", "b"]}, "cpu")
    assert moved["video"].shape == video.shape and moved["video"].dtype == torch.float32
    torch.testing.assert_close(moved["video"][0, 0, 0, :, 0, 0], torch.tensor([3.0, 1.0, 1 / 3]))
    assert moved["id"] == ["a", "b"] and moved["label"].tolist() == [1, 2]


def test_bgr_turns_the_channels_round():
    video = torch.tensor([10, 20, 30], dtype=torch.uint8).reshape(1, 1, 3, 1, 1)
    spec = with_(SMALL, channel_order="bgr", mean=(0, 0, 0), std=(1 / 255,) * 3)
    assert spec.to_device({"video": video}, "cpu")["video"].flatten().round().tolist() == [30, 20, 10]


def test_resizing_in_floating_point_gives_floats(steady):
    sample = with_(SMALL, resize="float").train_pipeline()(steady, np.random.default_rng(0))
    assert sample["video"].dtype == torch.float32


def test_a_broken_file_is_named(tmp_path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"nothing")
    with pytest.raises(DecodeError, match=r"broken\.mp4"):
        SMALL.eval_pipeline()(ClipRecord("broken", broken))


def test_training_needs_a_generator(steady):
    with pytest.raises(ConfigError, match="a training pipeline draws at random"):
        SMALL.train_pipeline()(steady)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"num_frmes": 8},
            r"input\.num_frmes: clip takes no such argument; did you mean 'num_frames'\?",
        ),
        (
            {"augment": {"flp": 0.5}},
            r"input\.augment\.flp: Augment takes no such argument; did you mean 'flip'\?",
        ),
        ({"name": "clop"}, "there is no 'clop'; did you mean 'clip'"),
        ({"num_frames": 0}, r"input\.num_frames: is 0; it must be at least 1"),
        ({"num_frames": 10**11}, r"input\.num_frames: is 100000000000; it must be at most 100000"),
        ({"crop_px": 10**6}, r"input\.crop_px: is 1000000; it must be at most 100000"),
        ({"sampling": "densely"}, r"input\.sampling: input should be 'segments', 'dense'"),
        ({"segment_frames": 3}, "8 is not a multiple of"),
        ({"segment_frames": 2, "sampling": "dense"}, "set it only with sampling 'segments'"),
        ({"frame_stride": 2}, r"input\.frame_stride: is 2 with sampling 'segments'"),
        ({"fps": 0}, r"input\.fps: is 0\.0; give a rate above 0"),
        ({"crop_px": 300}, r"input\.short_side_px: 256 is below crop_px=300; the crop must fit"),
        ({"augment": {"short_side_range_px": [200, 300]}}, r"begins at 200, below crop_px=224"),
        ({"force_ratio": 0.75}, r"input\.force_ratio: is 0\.75"),
        ({"std": [0, 1, 1]}, r"input\.std: is .*; it must be above 0"),
        ({"views": "ten"}, r"input\.views: is 'ten'; write clips x crops, e\.g\. 1x1 or 10x3"),
        ({"views": "1x2"}, "the number of crops must be 1, 3, 5 or 10"),
        ({"views": "4x1", "sampling": "uniform"}, "all 4 clips of sampling 'uniform' would be equal; use 1x1"),
        ({"augment": {"flip": 2}}, r"input\.augment\.flip: is 2\.0; give a probability in 0\.\.1"),
        ({"augment": {"scales": [1.5]}}, r"input\.augment\.scales"),
        ({"augment": {"area": [0.5, 2]}}, "areas are shares of the frame, at most 1"),
        ({"augment": {"hue": 0.7}}, r"input\.augment\.hue: is 0\.7"),
    ],
)
def test_a_wrong_spec_says_what_to_do(fields, message):
    with pytest.raises(ConfigError, match=message):
        build_input(fields)


def test_an_evaluation_sample_counts_the_damage_that_the_decoder_concealed(tmp_path, steady):
    spec = ClipInput(num_frames=8, short_side_px=32, crop_px=32)
    path = spoiled(tmp_path / "bad.mkv", "libx264")
    sample = spec.eval_pipeline()(ClipRecord(id="a", path=path))
    assert 1 <= sample["damaged_frames"] <= 3
    assert spec.eval_pipeline()(steady)["damaged_frames"] == 0
    assert "damaged_frames" not in spec.train_pipeline()(ClipRecord(id="a", path=path), np.random.default_rng(0))
