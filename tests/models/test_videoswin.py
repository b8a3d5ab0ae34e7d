"""Windows, shifts and biases of Video Swin, beside what a loop over tokens gives."""

from __future__ import annotations

import itertools

import pytest
import timm
import torch
from torch.testing import assert_close

from videozoo.errors import ConfigError
from videozoo.models import create_model
from videozoo.models.videoswin import SwinBlock, SwinStage, WindowAttention, _mask, _split, _unsplit


def test_windows_hold_what_the_loop_finds_and_come_back():
    x = torch.arange(2 * 4 * 6 * 4).view(2, 4, 6, 4, 1)
    window = 2, 3, 2
    windows = _split(x, window)
    corners = itertools.product(range(0, 4, 2), range(0, 6, 3), range(0, 4, 2))
    for i, (t, h, w) in enumerate(corners):
        assert torch.equal(windows[1, i], x[1, t : t + 2, h : h + 3, w : w + 2].flatten(0, 2))
    assert torch.equal(_unsplit(windows, window, (4, 6, 4)), x)


def test_shifted_windows_keep_opposite_ends_apart():
    size, window, shift = (4, 4, 2), (2, 2, 2), (1, 1, 0)
    place = torch.stack(torch.meshgrid(*(torch.arange(n) for n in size), indexing="ij"), -1).unsqueeze(0)
    rolled = _split(torch.roll(place, [-s for s in shift], (1, 2, 3)), window)[0]  # where the tokens come from
    distance = (rolled.unsqueeze(1) - rolled.unsqueeze(2)).abs()
    apart = (distance >= torch.tensor(window)).any(-1)
    assert torch.equal(_mask(size, window, shift, torch.zeros(1)) < 0, apart)


@pytest.mark.parametrize("small_maps", ["positions", "prefix"])
def test_biases_of_a_clipped_window(small_maps):
    full, window = (2, 3, 3), (2, 2, 3)
    attention = WindowAttention(4, 1, full, small_maps)
    with torch.no_grad():
        attention.relative_position_bias_table.copy_(torch.arange(75.0).unsqueeze(1))
    bias = attention._bias(window)[0]
    places = list(itertools.product(*(range(n) for n in window)))
    if small_maps == "prefix":
        places = list(itertools.product(*(range(n) for n in full)))[: len(places)]
    for (i, a), (j, b) in itertools.product(enumerate(places), repeat=2):
        t, h, w = (x - y + n - 1 for x, y, n in zip(a, b, full, strict=True))
        assert bias[i, j] == (t * 5 + h) * 5 + w


@torch.no_grad()
def test_a_batch_of_shifted_windows_is_each_clip_alone():
    torch.manual_seed(0)
    block = SwinBlock(8, 2, (2, 2, 2), is_shifted=True, mlp_ratio=2, drop_path=0, small_maps="positions")
    still = SwinBlock(8, 2, (2, 2, 2), is_shifted=False, mlp_ratio=2, drop_path=0, small_maps="positions")
    stage = SwinStage([still, block], (2, 2, 2), None).eval()
    x = torch.randn(3, 4, 5, 4, 8)  # 5 is padded to 6
    assert_close(stage(x)[1:2], stage(x[1:2]))


@torch.no_grad()
def test_any_size_is_taken():
    model = create_model("videoswin", width=8, depths=(1, 2, 1, 1), num_heads=(1, 1, 1, 1), num_classes=3).eval()
    assert model(torch.randn(1, 5, 3, 50, 70)).shape == (1, 3)


def test_an_inflated_network_sees_a_still_clip_as_an_image(monkeypatch):
    torch.manual_seed(0)
    swin = timm.create_model("swin_tiny_patch4_window7_224", num_classes=0).eval()
    for parameter in swin.parameters():
        if (
            parameter.ndim == 2 and parameter.shape[0] == 169
        ):  # position biases that start at nothing would hide mistakes
            torch.nn.init.normal_(parameter)
    monkeypatch.setattr("videozoo.models.videoswin.image_backbone", lambda name, pretrained: swin)
    model = create_model("videoswin", depths=(2, 2, 6, 2), num_frames=2, pretrained="imagenet", num_classes=0).eval()
    image = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        assert_close(model(image.unsqueeze(1).expand(-1, 2, -1, -1, -1)), swin(image), atol=1e-4, rtol=1e-3)


def test_sizes_that_no_image_network_has():
    with pytest.raises(
        ConfigError, match=r"no ImageNet weights of width=32, .*; take those of the tiny, small or base"
    ):
        create_model("videoswin", width=32, num_heads=(1, 1, 1, 1), depths=(1, 1, 1, 1), pretrained="imagenet")


@pytest.mark.parametrize(("init_std", "expected"), [(0.02, (0.02, 0.02)), (None, (32**-0.5, 64**-0.5))])
def test_random_weights_as_wide_as_told(init_std, expected):
    args = {"width": 32, "depths": (1, 1, 1, 1), "num_heads": (1, 1, 1, 1), "init_std": init_std}
    model = create_model("videoswin", num_classes=4, **args)
    for stage, std in enumerate(expected):
        assert model.layers[stage].blocks[0].attn.qkv.weight.std().item() == pytest.approx(std, rel=0.1)
