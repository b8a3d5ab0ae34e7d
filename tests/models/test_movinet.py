"""MoViNet on streams, and its two kinds of convolution."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from tests.models.streams import stepped
from videozoo.errors import ConfigError
from videozoo.models import create_model, movinet
from videozoo.models.movinet import CumulativeMean


def small(**args):
    torch.manual_seed(0)
    model = create_model("movinet", num_classes=4, crop_px=64, **args).eval()
    with torch.no_grad():
        for block in model.blocks:
            block.alpha.fill_(0.5)  # starts at zero, which would hide the branches
    return model


@pytest.mark.parametrize("conv_type", ["3d", "2plus1d"])
@torch.no_grad()
def test_a_stream_is_the_whole_clip(conv_type):
    model = small(is_causal=True, conv_type=conv_type)
    clip = torch.randn(2, 7, 3, 64, 64)
    scores = stepped(model, clip)
    for end in (1, 4, 7):
        assert_close(scores[:, end - 1], model(clip[:, :end]), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(scores[:, -1], model(clip[:, 5:]), atol=1e-3)  # a stream without its past is another


@torch.no_grad()
def test_the_mean_of_a_long_stream_is_exact():
    mean = CumulativeMean()
    frames = torch.rand(1, 2, 3000, 1, 1) + 100
    memory = {}
    for chunk in frames.split(1, 2):
        last = mean(chunk, memory)
    assert_close(last[:, :, -1], frames.double().mean(2).float(), atol=0, rtol=1e-7)


@pytest.mark.parametrize("num_frames", [300, pytest.param(10_000, marks=pytest.mark.long)])
@torch.no_grad()
def test_a_long_stream_is_the_whole_clip(num_frames, monkeypatch):
    sizes = (movinet.A0[0], movinet.BlockSize(16, 32, (5, 3, 3), stride=2))
    monkeypatch.setattr(movinet, "A0", sizes)  # the whole network takes minutes
    model = small(is_causal=True)
    frames = torch.randn(1, num_frames, 3, 64, 64)
    scores = stepped(model, frames)
    assert_close(scores[:, 299], model(frames[:, :300]), atol=1e-5, rtol=1e-5)
    memory = {}
    for end, chunk in enumerate(frames.split(100, 1), start=1):  # the activations of the whole clip fill the memory
        features = model._features(chunk, memory)
        assert_close(scores[:, 100 * end - 1], model.forward_head(features), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_causal_network_does_not_see_later_frames():
    model = small(is_causal=True)
    seen = []
    model.last.register_forward_hook(lambda module, args, output: seen.append(output))
    clip = torch.randn(1, 4, 3, 64, 64)
    model(clip)
    model(torch.cat([clip[:, :3], torch.randn(1, 1, 3, 64, 64)], 1))
    assert_close(seen[0][:, :, :3], seen[1][:, :, :3])
    assert not torch.allclose(seen[0][:, :, 3], seen[1][:, :, 3])


def test_only_causal_networks_stream():
    model = small()
    assert model.stream_state() is None
    with pytest.raises(ConfigError, match=r"movinet: reads later frames.*is_causal: true"):
        model.stream_step(torch.zeros(1, 3, 64, 64), {})


def test_small_frames_are_an_error():
    with pytest.raises(ConfigError, match=r"needs clips \[b t c h w\] of 64 px or more"):
        small()(torch.zeros(1, 2, 3, 32, 64))
