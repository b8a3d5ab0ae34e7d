import pytest
import torch
from torch import nn
from torch.testing import assert_close

from videozoo.errors import ConfigError
from videozoo.models import create_model

SIZES = {"feature_dim": 5, "sentence_dim": 4, "embed_dim": 6, "hidden_dim": 7}


def model():
    torch.manual_seed(0)
    return create_model("tall", **SIZES).double()


def as_in_the_paper(tall, windows, sentences):
    """Every pair as [v * s, v + s, v, s] through two 1 x 1 convolutions, pair by pair."""
    hidden = nn.Conv2d(24, 7, 1, bias=False).double()
    head = nn.Conv2d(7, 3, 1, bias=False).double()
    hidden.weight.data = tall.hidden.weight.data[:, :, None, None]
    head.weight.data = tall.head.weight.data[:, :, None, None]
    table = torch.zeros(1, 24, len(sentences), len(windows), dtype=torch.float64)
    for i, sentence in enumerate(sentences):
        for j, window in enumerate(windows):
            v, s = tall.window(window), tall.sentence(sentence)
            v, s = v / v.norm(), s / s.norm()
            table[0, :, i, j] = torch.cat([v * s, v + s, v, s])
    return head(hidden(table).relu())[0]


@torch.no_grad()
def test_all_pairs_are_as_in_the_paper():
    tall = model()
    windows, sentences = torch.randn(4, 15).double(), torch.randn(3, 4).double()
    want = as_in_the_paper(tall, windows, sentences)
    assert_close(tall.pairs(windows, sentences), want, atol=1e-12, rtol=1e-9)
    for i, sentence in enumerate(sentences):
        assert_close(tall.answer(tall.embed_windows(windows), sentence).T, want[:, i], atol=1e-12, rtol=1e-9)
    one_by_one = tall(torch.cat([windows[:3], sentences], dim=1))
    assert_close(one_by_one.T, want[:, :, :3].diagonal(dim1=1, dim2=2), atol=1e-12, rtol=1e-9)


def test_another_width_is_refused():
    with pytest.raises(ConfigError, match=r"tall: the input has shape \(2, 18\); needs \[b, 19\]"):
        model()(torch.randn(2, 18).double())


@torch.no_grad()
def test_standardised_windows_look_the_same_at_any_scale():
    torch.manual_seed(0)
    tall = create_model("tall", **SIZES, standardise=True)
    windows, sentences = torch.randn(64, 15), torch.randn(3, 4)
    want = tall.train().pairs(windows, sentences)
    assert_close(tall.pairs(windows * 7 + 100, sentences), want, atol=1e-3, rtol=1e-3)
    assert set(tall.state_dict()) - set(create_model("tall", **SIZES).state_dict()) == {
        "norm.running_mean",
        "norm.running_var",
        "norm.num_batches_tracked",
    }
