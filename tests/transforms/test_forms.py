"""Both forms of the clip transforms, numpy's and torch's: equal to the bit, to rounding, or to a grey level."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from videozoo.contracts.input import InputSpec
from videozoo.errors import ConfigError
from videozoo.transforms import arrays, tensors
from videozoo.transforms.captioned_clip import CaptionedClipInput
from videozoo.transforms.captions import CaptionsInput
from videozoo.transforms.features import FeaturesInput
from videozoo.transforms.geometry import Box, view_boxes
from videozoo.transforms.input import ClipInput
from videozoo.transforms.moments import MomentsInput
from videozoo.transforms.registry import inputs
from videozoo.transforms.shots import ShotsInput, scaled
from videozoo.transforms.snippets import SnippetsInput

# (height, width) of a frame and of its scaled form
SHRUNK = (((40, 60), (20, 30)), ((41, 67), (23, 31)), ((64, 48), (33, 32)), ((300, 17), (11, 9)))
GROWN = (((20, 30), (40, 61)), ((7, 5), (64, 64)), ((1, 9), (8, 8)), ((9, 1), (8, 8)), ((1, 1), (16, 24)))
ONE_AXIS = (
    ((40, 60), (40, 37)),
    ((40, 60), (55, 60)),
    ((40, 60), (1, 1)),
    ((3, 4), (5, 1)),
    ((3, 4), (1, 5)),
    ((2, 400), (2, 3)),
)
SIZES = (*SHRUNK, *GROWN, *ONE_AXIS, ((40, 60), (40, 60)))


def frames(size, *, num_frames=3, channels=3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (num_frames, *size, channels)).astype(np.uint8)


def layouts(size):
    """The same frames in every layout that a reader or a crop may give them."""
    whole = frames(size)
    mirrored = frames(size)[:, :, ::-1].copy()[:, :, ::-1]
    wide = np.zeros((3, size[0] + 3, size[1] + 5, 3), np.uint8)
    wide[:, 2:-1, 4:-1] = whole
    planar = whole.transpose(0, 3, 1, 2).copy().transpose(0, 2, 3, 1)
    every_second = np.repeat(whole, 2, 0)[::2]
    fixed = whole.copy()
    fixed.flags.writeable = False
    return {
        "contiguous": whole,
        "mirrored": mirrored,
        "part of a larger frame": wide[:, 2:-1, 4:-1],
        "planar": planar,
        "every second": every_second,
        "read only": fixed,
    }


def both(operation, clip):
    """`operation(ops, clip)` in both forms, as frames `[t h w c]`."""
    results = (ops.frames_of(operation(ops, ops.clip_of(clip))) for ops in (arrays, tensors))
    return [np.asarray(result) for result in results]


def assert_same(ours, theirs, *, atol=0.0):
    assert ours.dtype == theirs.dtype and ours.shape == theirs.shape
    difference = np.abs(ours.astype(np.float64) - theirs.astype(np.float64))
    assert difference.max(initial=0) <= atol


MOST_APART = {"pillow": 0.0, "opencv": 0.0, "float": 1e-4, "torch": 1.0}


@pytest.mark.parametrize("method", MOST_APART)
@pytest.mark.parametrize(("source", "target"), SIZES)
def test_resize(method, source, target):
    for clip in layouts(source).values():
        ours, theirs = both(lambda ops, c: ops.resize(c, target, method=method), clip)
        assert ours.shape == (3, *target, 3)
        assert_same(ours, theirs, atol=MOST_APART[method])


@pytest.mark.parametrize("method", MOST_APART)
def test_resize_of_extremes(method):
    for value in (0, 255):
        ours, theirs = both(
            lambda ops, c: ops.resize(c, (9, 50), method=method), np.full((1, 31, 20, 3), value, np.uint8)
        )
        assert_same(ours, theirs, atol=1e-4)
        assert_same(ours, np.full_like(ours, value), atol=1e-4)
    edges = np.zeros((1, 33, 47, 3), np.uint8)
    edges[:, ::2, ::3] = 255
    for target in ((16, 16), (50, 70)):
        ours, theirs = both(lambda ops, c, size=target: ops.resize(c, size, method=method), edges)
        assert_same(ours, theirs, atol=MOST_APART[method])


def test_the_same_size_is_no_work():
    for method in ("pillow", "opencv", "torch"):
        for ops in (arrays, tensors):
            clip = ops.clip_of(frames((6, 7)))
            assert ops.resize(clip, (6, 7), method=method) is clip


@pytest.mark.parametrize("method", ["pillow", "opencv"])
def test_only_bytes_are_resized_to_the_bit(method):
    for ops, clip in (
        (arrays, np.zeros((1, 4, 4, 3), np.float32)),
        (tensors, torch.zeros(1, 3, 4, 4)),
    ):
        with pytest.raises(ConfigError, match=f"^resize: method '{method}' takes uint8, got .*float32; use"):
            ops.resize(clip, (2, 2), method=method)


@pytest.mark.parametrize("box", [Box(1, 2, 3, 4), Box(0, 0, 9, 12), Box(8, 11, 1, 1), Box(2, 3, 5, 7, flip=True)])
def test_crop_and_flip(box):
    for clip in layouts((9, 12)).values():
        assert_same(*both(lambda ops, c: ops.crop(c, box), clip))
        assert_same(*both(lambda ops, c: ops.flip(ops.crop(c, box)), clip))


def test_pick_and_views():
    clip = frames((9, 12), num_frames=4)
    places = np.array([3, 0, 0, 2])
    boxes = [*view_boxes(9, 12, 8, 3), *view_boxes(9, 12, 8, 10)]

    def views(ops):
        made = ops.clip_of(clip)
        assert ops.size_of(made) == (9, 12)
        return ops.stack_views([ops.pick(ops.crop(made, box), places) for box in boxes])

    ours, theirs = views(arrays), views(tensors)
    assert ours.shape == (13, 4, 3, 8, 8) and ours.flags.c_contiguous and theirs.is_contiguous()
    assert_same(ours, theirs.numpy())


def test_frames_come_back_as_they_were():
    for clip in layouts((9, 12)).values():
        for ops in (arrays, tensors):
            np.testing.assert_array_equal(ops.frames_of(ops.clip_of(clip)), clip)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize(
    ("mean", "std"),
    [((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)), ((0.45,) * 3, (0.225,) * 3), ((0.0,) * 3, (1.0,) * 3)],
)
def test_normalize(dtype, mean, std):
    video = np.arange(2 * 3 * 256).reshape(2, 3, 16, 16) % 256
    for clip in (video.astype(dtype), video.astype(dtype)[..., ::-1, :, :], video.astype(dtype)[..., ::2, ::-1]):
        ours = arrays.normalize(clip, mean, std)
        theirs = tensors.normalize(torch.from_numpy(clip.copy()), mean, std)
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-6, rtol=0)
        exact = (clip / 255 - np.array(mean)[:, None, None]) / np.array(std)[:, None, None]
        np.testing.assert_allclose(ours, exact, atol=2e-6, rtol=0)


# ---- input specs -----------------------------------------------------------------------------------------

FIELDS = {"mean": (0.4, 0.5, 0.6), "std": (0.2, 0.25, 0.3)}


@pytest.mark.parametrize("order", ["rgb", "bgr"])
@pytest.mark.parametrize("method", MOST_APART)
def test_clip_specs_see_the_same(order, method):
    spec = ClipInput(crop_px=16, short_side_px=20, resize=method, channel_order=order, **FIELDS)
    most = MOST_APART[method] / 255 / min(FIELDS["std"])
    for clip in layouts((33, 47)).values():
        scaled = [np.asarray(spec.scaled(clip, form=form)) for form in ("arrays", "tensors")]
        assert_same(*scaled, atol=MOST_APART[method])
        videos = []
        for ops in (arrays, tensors):
            made = ops.resize(ops.clip_of(clip), spec.scaled_size(*clip.shape[1:3]), method=method)
            videos.append(ops.stack_views([ops.crop(made, box) for box in view_boxes(*ops.size_of(made), 16, 3)]))
        ours, theirs = spec.to_arrays({"video": videos[0]}), spec.to_device({"video": videos[1]}, "cpu")
        assert ours["video"].shape == (3, 3, 3, 16, 16)
        np.testing.assert_allclose(ours["video"], theirs["video"].numpy(), atol=most + 1e-6, rtol=0)


def test_normalization_is_of_the_order_that_the_model_sees():
    video = np.zeros((1, 3, 1, 1), np.uint8)
    video[:, 0] = 255  # red
    spec = ClipInput(crop_px=1, short_side_px=1, channel_order="bgr", mean=(0.1, 0.2, 0.3), std=(1.0, 1.0, 1.0))
    np.testing.assert_allclose(spec.to_arrays({"video": video})["video"].ravel(), [-0.1, -0.2, 0.7], atol=1e-6)


def rows(num, width):
    return np.random.default_rng(num).normal(size=(num, width)).astype(np.float32)


def byte_rows():
    values = np.random.default_rng(0).integers(0, 256, (3, 9, 5)).astype(np.uint8)
    return {"features": values, "num_frames": np.array([4, 7, 1]), "id": ["a", "b", "c"]}


BATCHES = {  # of each registered spec, as its pipelines make them
    "clip": lambda: [
        (ClipInput(channel_order=order, **FIELDS), {"video": video, "label": np.array([1, 0]), "id": ["a", "b"]})
        for order in ("rgb", "bgr")
        for video in (
            frames((9, 12), num_frames=8).reshape(2, 2, 2, 9, 12, 3).transpose(0, 1, 2, 5, 3, 4),
            frames((9, 12), num_frames=4).reshape(2, 2, 9, 12, 3).transpose(0, 1, 4, 2, 3).astype(np.float32),
        )
    ],
    "features": lambda: [
        (FeaturesInput(feature_dims=(3, 2), mid_bin=mid_bin), batch)
        for mid_bin in ((True, True), (False, True))
        for batch in (byte_rows(), {**byte_rows(), "features": rows(27, 5).reshape(3, 9, 5)})
    ],
    "snippets": lambda: [
        (SnippetsInput(num_snippets=4, feature_dim=3), {"features": [[rows(4, 3), rows(4, 3)[::-1]], [rows(4, 3)]]})
    ],
    "captions": lambda: [
        (CaptionsInput(feature_dim=3), {"features": [[rows(2, 3)], [rows(5, 3)]], "words": [[1, 2, 3], [4]]}),
        (CaptionsInput(feature_dim=3), {"features": [[rows(1, 3)]]}),
    ],
    "captioned_clip": lambda: [
        (
            CaptionedClipInput(**FIELDS),
            {"video": frames((9, 12), num_frames=4).reshape(2, 2, 9, 12, 3).transpose(0, 1, 4, 2, 3), "id": ["a", "b"]},
        )
    ],
    "shots": lambda: [
        (ShotsInput(), {"video": scaled(frames((27, 48), num_frames=4).reshape(2, 2, 27, 48, 3)), "id": ["a", "b"]})
    ],
    "moments": lambda: [(MomentsInput(feature_dim=3), {"windows": rows(4, 9), "sentence": ["a", "b"]})],
}


def test_every_registered_spec_has_a_batch():
    assert set(BATCHES) == set(inputs.names())


@pytest.mark.parametrize("name", BATCHES)
def test_arrays_are_those_of_the_device(name):
    for spec, batch in BATCHES[name]():
        assert isinstance(spec, inputs.get(name)) and isinstance(spec, InputSpec)
        ours = spec.to_arrays(batch)
        tensor_batch = {
            key: torch.from_numpy(value.copy()) if isinstance(value, np.ndarray) else value
            for key, value in batch.items()
        }
        for theirs in (spec.to_device(batch, "cpu"), spec.to_device(tensor_batch, "cpu")):
            assert ours.keys() == theirs.keys()
            for key, value in ours.items():
                if not isinstance(value, np.ndarray):
                    assert value == theirs[key]
                    continue
                assert isinstance(theirs[key], torch.Tensor)
                assert value.dtype == theirs[key].numpy().dtype, key
                np.testing.assert_allclose(value, theirs[key].numpy(), atol=1e-5, rtol=1e-6, err_msg=key)
