"""StNet: how frames are stacked, and how its stem starts."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from videozoo.errors import ConfigError
from videozoo.models import create_model
from videozoo.models.stnet import TemporalBlock, _stacked_stem

ARGS = {
    "backbone": "resnet18",
    "backbone_args": {"layers": [1, 1, 1, 1], "channels": [8, 8, 8, 8]},
    "num_segments": 3,
    "segment_frames": 2,
    "head_width": 8,
    "num_classes": 4,
}


@torch.no_grad()
def test_a_segment_is_one_image_with_its_frames_as_channels():
    model = create_model("stnet", **ARGS).eval()
    seen = []
    model.backbone.conv1.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    clip = torch.randn(2, 6, 3, 64, 64)
    model(clip)
    assert seen[0].shape == (6, 6, 64, 64)
    assert_close(seen[0][4, 3:], clip[1, 3])  # second clip, second segment, second frame


@torch.no_grad()
def test_a_still_image_gives_the_same_through_an_inflated_stem():
    conv = nn.Conv2d(3, 8, 7, 2, 3, bias=False)
    grey = torch.randn(1, 1, 16, 16).expand(-1, 3, -1, -1)
    stem = _stacked_stem(conv, 5, is_trained=True)
    assert_close(stem(grey.repeat(1, 5, 1, 1)), conv(grey), atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_segments_see_their_neighbours_alone():
    block = TemporalBlock(4).eval()
    x = torch.randn(8, 4, 2, 2)  # two clips of four segments
    changed = x.clone()
    changed[0] += 1
    differs = (block(x, 4) != block(changed, 4)).flatten(1).any(1)
    assert differs.tolist() == [True, True, False, False, False, False, False, False]


def test_broken_segments_are_an_error():
    with pytest.raises(ConfigError, match=r"stnet: the input has shape .*; needs clips .* whole segments of 2 frames"):
        create_model("stnet", **ARGS)(torch.zeros(1, 5, 3, 64, 64))


def test_other_backbones_are_an_error():
    with pytest.raises(ConfigError, match="'resnet18d' is not a ResNet with a single stem convolution"):
        create_model("stnet", **ARGS | {"backbone": "resnet18d"})
