"""Networks with causal shifts: clips, and streams frame by frame."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from tests.contract.tiny import TINY
from tests.models.streams import stepped
from videozoo.errors import ConfigError
from videozoo.layers.temporal_shift import past_shift
from videozoo.models import create_model

NAMES = ("tsm", "pptsm", "pptsm_mobile", "pptsm_v2")


def causal(name, **args):
    """A tiny causal network whose residual branches all matter."""
    torch.manual_seed(0)
    own = TINY[name] | ({"frame_attention": False} if name == "pptsm_v2" else {})
    model = create_model(name, **own, is_causal=True, **args).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.0)
    nn.init.normal_(model.head.weight)
    return model


def naive_scores(model, clips):
    """The scores [b t k] of the clips that end with each frame: the mean of the latest frames' scores."""
    scores = model.head(model.forward_frames(clips))
    num = model.num_segments
    return torch.stack([scores[:, max(0, end - num) : end].mean(1) for end in range(1, clips.shape[1] + 1)], 1)


def naive_past_shift(x, num_frames, fraction):
    y = x.clone()
    moving = int(x.shape[1] * fraction)
    for i in range(len(x)):
        y[i, :moving] = 0 if i % num_frames == 0 else x[i - 1, :moving]
    return y


@pytest.mark.parametrize("channels_last", [False, True])
def test_the_shift_is_that_of_the_paper(channels_last):
    x = torch.randn(6, 16, 3, 5)
    x = x.contiguous(memory_format=torch.channels_last) if channels_last else x
    shifted, last = past_shift(x, 3, 1 / 8)
    assert torch.equal(shifted, naive_past_shift(x, 3, 1 / 8))
    assert torch.equal(last, x[[2, 5], :2])
    assert shifted.is_contiguous(memory_format=torch.channels_last) == channels_last
    following, _ = past_shift(x, 3, 1 / 8, last)
    assert torch.equal(following[[0, 3], :2], x[[2, 5], :2])
    assert torch.equal(following[[0, 3], 2:], x[[0, 3], 2:])


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_a_stream_is_the_whole_clip(name):
    model = causal(name).double()  # the differences of small networks are far above its rounding
    px = model.input_shape[-1]
    clips = torch.randn(2, 11, 3, px, px, dtype=torch.float64)
    scores = stepped(model, clips)
    assert_close(scores, naive_scores(model, clips), atol=1e-12, rtol=1e-12)
    assert_close(scores[:, model.num_segments - 1], model(clips[:, : model.num_segments]), atol=1e-12, rtol=1e-12)
    later = stepped(model, clips[:, -model.num_segments :])
    assert (later[:, -1] - scores[:, -1]).abs().max() > 1e-8  # the past counts, beyond the latest frames


@pytest.mark.parametrize("num_frames", [300, pytest.param(10_000, marks=pytest.mark.long)])
@torch.no_grad()
def test_a_long_stream_is_the_whole_clip(num_frames):
    model = causal("tsm")
    clip = torch.randn(1, num_frames, 3, 32, 32)
    assert_close(stepped(model, clip), naive_scores(model, clip), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_causal_network_does_not_see_later_frames():
    model = causal("tsm")
    clip = torch.randn(1, 4, 3, 32, 32)
    other = torch.cat([clip[:, :3], torch.randn(1, 1, 3, 32, 32)], 1)
    assert_close(model.forward_frames(clip)[:, :3], model.forward_frames(other)[:, :3])


@torch.no_grad()
def test_clips_after_a_stream_have_no_past_and_copies_share_none():
    model = causal("tsm")
    clips = torch.randn(1, 4, 3, 32, 32)
    before = model(clips)
    twin = copy.deepcopy(model)
    stepped(model, clips)
    assert torch.equal(model(clips), before)
    assert twin.past is not model.past
    assert torch.equal(stepped(twin, clips), stepped(model, clips))


@pytest.mark.parametrize("name", NAMES)
def test_shifts_in_both_directions_cannot_stream(name):
    model = create_model(name, **TINY[name])
    assert model.stream_state() is None
    with pytest.raises(ConfigError, match=f"{name}: reads later frames, so it cannot run frame by frame; train"):
        model.stream_step(torch.zeros(1, 3, 32, 32), {})


def test_attention_over_frames_is_not_causal():
    with pytest.raises(ConfigError, match="is_causal: is true with frame_attention, which reads all frames"):
        create_model("pptsm_v2", is_causal=True, frame_attention=True)
