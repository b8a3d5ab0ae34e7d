"""Sequences of different lengths: padding may hold anything, and the formulas are written out a frame at a time."""

import pytest
import torch
from torch import nn

from videozoo.errors import ConfigError
from videozoo.layers.sequence import (
    PeepholeLSTM,
    masked_norm,
    masked_softmax,
    reverse,
    split_modalities,
    zero_padding,
)

LENGTHS = (5, 2, 1)
MASK = torch.arange(5) < torch.tensor(LENGTHS).unsqueeze(1)


@pytest.fixture
def x():
    x = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0))
    return x.masked_fill(~MASK.unsqueeze(-1), float("nan"))  # whatever a step reads of the padding shows


def test_softmax_over_the_frames_that_are_there(x):
    found = masked_softmax(x, MASK)
    for row, scores, n in zip(found, x, LENGTHS, strict=True):
        torch.testing.assert_close(row[:n], scores[:n].softmax(0))
        assert not row[n:].any()
    torch.testing.assert_close(masked_softmax(x[:1], None), x[:1].softmax(1))


def test_reverse_leaves_padding_behind():
    x = torch.arange(15.0).view(3, 5, 1)
    assert reverse(x, MASK)[..., 0].tolist() == [[4, 3, 2, 1, 0], [6, 5, 7, 8, 9], [10, 11, 12, 13, 14]]
    assert torch.equal(reverse(reverse(x, MASK), MASK), x)
    assert torch.equal(reverse(x, None), x.flip(1))


def test_norm_is_of_the_frames_that_are_there(x):
    norm, plain = nn.BatchNorm1d(4), nn.BatchNorm1d(4)
    found = masked_norm(norm, x, MASK)
    frames = torch.cat([row[:n] for row, n in zip(x, LENGTHS, strict=True)])
    torch.testing.assert_close(found[MASK], plain(frames))
    assert not found[~MASK].any()
    torch.testing.assert_close(norm.running_mean, plain.running_mean)
    torch.testing.assert_close(masked_norm(norm.eval(), x, MASK)[MASK], plain.eval()(frames))


def test_zero_padding(x):
    assert torch.equal(zero_padding(x, MASK), x.nan_to_num())
    assert zero_padding(x, None) is x


def test_peephole_lstm_is_the_formula():
    torch.manual_seed(0)
    lstm = PeepholeLSTM(4, 3)
    nn.init.normal_(lstm.peepholes)
    x = torch.randn(2, 5, 4)
    found, _ = lstm(x)
    wx, b, wh = lstm.inputs.weight.chunk(4), lstm.inputs.bias.chunk(4), lstm.hidden.weight.chunk(4)
    h = c = torch.zeros(2, 3)
    for t in range(5):
        i, f, g, o = (x[:, t] @ wx[k].T + b[k] + h @ wh[k].T for k in range(4))
        i, f = torch.sigmoid(i + lstm.peepholes[0] * c), torch.sigmoid(f + lstm.peepholes[1] * c)
        c = f * c + i * torch.tanh(g)
        h = torch.sigmoid(o + lstm.peepholes[2] * c) * torch.tanh(c)
        torch.testing.assert_close(found[:, t], h)


def test_without_peepholes_it_is_torchs_lstm():
    torch.manual_seed(0)
    ours, theirs = PeepholeLSTM(4, 3), nn.LSTM(4, 3, batch_first=True)
    theirs.weight_ih_l0.data, theirs.weight_hh_l0.data = ours.inputs.weight.data, ours.hidden.weight.data
    theirs.bias_ih_l0.data, theirs.bias_hh_l0.data = ours.inputs.bias.data, torch.zeros(12)
    x = torch.randn(2, 6, 4)
    torch.testing.assert_close(ours(x)[0], theirs(x)[0])


def test_modalities_with_lengths_of_their_own():
    x = torch.zeros(2, 3, 5)
    mask = torch.tensor([[[1, 1], [1, 0], [0, 0]], [[1, 1], [1, 1], [1, 1]]], dtype=torch.bool)
    (rgb, rgb_mask), (audio, audio_mask) = split_modalities(x, mask, (3, 2), where="net")
    assert (rgb.shape[2], audio.shape[2]) == (3, 2)
    assert (rgb_mask.sum().item(), audio_mask.sum().item()) == (5, 4)


@pytest.mark.parametrize(
    ("shape", "mask_shape", "message"),
    [
        ((2, 3, 6), None, r"net: the input has shape \(2, 3, 6\); needs features \[b t 5\] \(the widths 3 \+ 2 side"),
        ((2, 3, 5), (2, 4), r"net: the mask has shape \(2, 4\); needs \[b t\] = \(2, 3\), or one more axis of 2"),
    ],
)
@pytest.mark.usefixtures("unchecked_shapes")
def test_other_shapes(shape, mask_shape, message):
    mask = None if mask_shape is None else torch.ones(mask_shape, dtype=torch.bool)
    with pytest.raises(ConfigError, match=message):
        split_modalities(torch.zeros(shape), mask, (3, 2), where="net")
