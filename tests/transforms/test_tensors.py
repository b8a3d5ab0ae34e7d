"""Agreement with OpenCV and PaddleVideo's pipelines is in tests/parity (kept/paddlevideo2_transforms)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from videozoo.errors import ConfigError
from videozoo.transforms.geometry import Box, multi_scale_boxes, scaled_size, view_boxes
from videozoo.transforms.tensors import color_jitter, crop, normalize, resize


@pytest.fixture
def clip():
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.integers(0, 256, (3, 40, 60, 3)).astype(np.uint8)).permute(0, 3, 1, 2)


def test_short_side():
    assert scaled_size(480, 640, 256) == (256, 341)
    assert scaled_size(640, 480, 256) == (341, 256)
    assert scaled_size(301, 397, 256) == (256, 337)
    assert scaled_size(301, 397, 256, rounding="nearest") == (256, 338)


def test_forced_ratio():
    assert scaled_size(360, 640, 256, force_ratio=4 / 3) == (256, 341)
    assert scaled_size(256, 640, 256, force_ratio=4 / 3) == (256, 640)  # fits already: left as it is


def test_resize_pillow_is_pillow(clip):
    expected = [
        Image.fromarray(f).resize((30, 20), Image.Resampling.BILINEAR) for f in clip.permute(0, 2, 3, 1).numpy()
    ]
    ours = resize(clip, (20, 30), method="pillow")
    np.testing.assert_array_equal(ours.permute(0, 2, 3, 1).numpy(), np.stack([np.asarray(f) for f in expected]))


@pytest.mark.parametrize("size", [(20, 30), (50, 90), (40, 37)])
def test_resize_methods_agree_as_far_as_they_say(clip, size):
    pillow, torch_ = (resize(clip, size, method=m).int() for m in ("pillow", "torch"))
    assert (pillow - torch_).abs().max() <= 1
    opencv, exact = (resize(clip, size, method=m).float() for m in ("opencv", "float"))
    assert (opencv - exact).abs().max() < 1.01


def test_resize_keeps_the_size_and_the_kind(clip):
    assert resize(clip, (40, 60)) is clip
    assert resize(clip, (20, 30)).dtype == torch.uint8
    assert resize(clip, (40, 60), method="float").dtype == torch.float32
    with pytest.raises(ConfigError, match="method 'pillow' takes uint8, got torch"):
        resize(clip.float(), (20, 30), method="pillow")


def corners(boxes):
    return [(b.top, b.left) for b in boxes]


def test_view_boxes():
    assert corners(view_boxes(40, 60, 32, 1)) == [(4, 14)]
    assert corners(view_boxes(40, 60, 32, 3)) == [(4, 0), (4, 28), (4, 14)]
    assert corners(view_boxes(60, 40, 32, 3)) == [(0, 4), (28, 4), (14, 4)]
    assert corners(view_boxes(60, 40, 32, 3, along="width")) == [(14, 0), (14, 8), (14, 4)]
    assert corners(view_boxes(40, 60, 32, 5)) == [(0, 0), (0, 28), (8, 0), (8, 28), (4, 14)]
    ten = view_boxes(40, 60, 32, 10)
    assert corners(ten[::2]) == corners(ten[1::2]) == corners(view_boxes(40, 60, 32, 5))
    assert [b.flip for b in ten] == [False, True] * 5


@pytest.mark.parametrize(
    ("snap", "lefts"),
    [
        ("nearest", (0, 11, 6)),
        ("floor", (0, 11, 5)),
        ("ceil", (0, 11, 6)),
        ("half", (0, 10, 5)),
        ("quarter", (0, 8, 4)),
    ],
)
def test_snap(snap, lefts):
    assert tuple(b.left for b in view_boxes(32, 43, 32, 3, snap=snap)) == lefts


def test_crops_that_cannot_be():
    with pytest.raises(ConfigError, match="64 px do not fit into 60x40 px; lower crop_px or raise short_side_px"):
        view_boxes(40, 60, 64, 1)
    with pytest.raises(ConfigError, match="no protocol with 4 crops; use 1, 3, 5 or 10"):
        view_boxes(40, 60, 32, 4)


def test_crop_and_flip(clip):
    assert torch.equal(crop(clip, Box(1, 2, 3, 4)), clip[..., 1:4, 2:6])
    assert torch.equal(crop(clip, Box(1, 2, 3, 4, flip=True)), clip[..., 1:4, [5, 4, 3, 2]])


def test_multi_scale_boxes_lie_inside_and_touch_the_borders():
    shapes = list(multi_scale_boxes(100, 140, (1.0, 0.8, 0.6)))
    assert [(b[0].height, b[0].width) for b in shapes] == [
        *((100, 100), (100, 80), (80, 100), (80, 80), (80, 60), (60, 80), (60, 60))
    ]
    for boxes in shapes:
        assert len(set(boxes)) == (13 if boxes[0].height < 100 else 5)
        assert min(b.top for b in boxes) == min(b.left for b in boxes) == 0
        assert max(b.top + b.height for b in boxes) == 100 and max(b.left + b.width for b in boxes) == 140
    assert all(len(boxes) == 5 for boxes in multi_scale_boxes(100, 140, (0.8,), more=False))


def test_normalize():
    video = torch.tensor([0, 51, 255], dtype=torch.uint8).reshape(1, 3, 1, 1)
    out = normalize(video, (0.5, 0.0, 0.2), (0.5, 1.0, 0.4))
    torch.testing.assert_close(out.flatten(), torch.tensor([-1.0, 0.2, 2.0]))


def test_color_jitter_is_the_same_in_every_frame(clip):
    still = clip[:1].expand(3, -1, -1, -1)
    changed = color_jitter(still, brightness=1.3, contrast=0.7, saturation=0.5, hue=0.1)
    assert torch.equal(changed[0], changed[2]) and not torch.equal(changed[0], still[0])
    assert color_jitter(clip) is clip
