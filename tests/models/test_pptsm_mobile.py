"""PP-TSM on a MobileNet: where time is mixed, and what each version is made of."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from videozoo.errors import ConfigError
from videozoo.models import create_model
from videozoo.models.pptsm_mobile import Squash

ARGS = {"num_segments": 4, "scale": 0.125, "num_classes": 3, "crop_px": 64}


@pytest.mark.parametrize(
    ("version", "num_params", "num_shifted"),
    [("v2", 2_737_360, 10), ("v3_large", 4_711_606, 10), ("v3_small", 2_171_358, 6)],
)
def test_the_published_sizes(version, num_params, num_shifted):
    with torch.device("meta"):
        model = create_model("pptsm_mobile", version=version)
    assert sum(p.numel() for p in model.parameters()) == num_params  # the first two are those of PaddleVideo's networks
    assert sum(block.has_shortcut for block in model.blocks) == num_shifted


@torch.no_grad()
def test_a_frame_reaches_its_neighbours_through_every_shortcut():
    torch.manual_seed(0)
    model = create_model("pptsm_mobile", **ARGS, version="v2", shift_fraction=0.25).eval()
    clip = torch.randn(1, 4, 3, 64, 64)
    other = clip.clone()
    other[:, 0] = torch.randn(3, 64, 64)
    differs = (model.forward_frames(clip) - model.forward_frames(other)).abs().amax((0, 2)) > 0
    assert differs.all()
    for block in model.blocks:
        block.shift.fraction = 0.0
    differs = (model.forward_frames(clip) - model.forward_frames(other)).abs().amax((0, 2)) > 0
    assert differs.tolist() == [True, False, False, False]


def test_dropout_is_that_of_the_version():
    assert create_model("pptsm_mobile", **ARGS, version="v2").dropout.p == 0
    assert create_model("pptsm_mobile", **ARGS).dropout.p == 0.2
    assert create_model("pptsm_mobile", **ARGS, version="v2", dropout=0.5).dropout.p == 0.5


def test_the_hard_sigmoid_is_paddles():
    x = torch.tensor([-3.0, -2.5, -1.0, 0.0, 2.0, 2.5, 3.0])
    assert torch.allclose(Squash()(x), torch.tensor([0, 0, 0.3, 0.5, 0.9, 1, 1]))
    assert not torch.allclose(Squash()(x), nn.functional.hardsigmoid(x))


def test_what_it_does_not_take():
    for name in ("pptsm_mobile", "pptsm_v2"):
        with pytest.raises(ConfigError, match=r"shift_fraction: got 0.9; needs 0 \(no shift\) to 0.5"):
            create_model(name, shift_fraction=0.9)
        with pytest.raises(ConfigError, match=r"scale: got 0\.0; needs a number above 0"):
            create_model(name, scale=0.0)
    with pytest.raises(ConfigError, match=r"version: .*v2"):
        create_model("pptsm_mobile", version="v1")
    with pytest.raises(ConfigError, match=r"pptsm_mobile: the input has shape .* of 4 frames: sample as many"):
        create_model("pptsm_mobile", **ARGS)(torch.zeros(1, 8, 3, 64, 64))
