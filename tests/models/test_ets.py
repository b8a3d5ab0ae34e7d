"""ETS beyond the contract: padding, teacher forcing against steps, and what the attention sees."""

import pytest
import torch
from torch.testing import assert_close

from tests.contract.tiny import TINY
from videozoo.errors import ConfigError
from videozoo.models import create_model


def tiny(**args):
    torch.manual_seed(0)
    return create_model("ets", **{**TINY["ets"], **args}).eval()


FEATURES = torch.randn(2, 6, 5, generator=torch.Generator().manual_seed(1))
WORDS = torch.tensor([[0, 4, 6, 3], [0, 5, -1, -1]])


def test_padding_changes_no_answer():
    model = tiny()
    padded = torch.cat([FEATURES, torch.full_like(FEATURES, 9.0)], dim=1)
    mask = torch.arange(12).expand(2, -1) < torch.tensor([[6], [4]])
    together = model(padded, mask, WORDS)
    assert_close(together[:1], model(FEATURES[:1], None, WORDS[:1]))
    assert_close(together[1:, :2], model(FEATURES[1:, :4], None, WORDS[1:, :2]))


def test_steps_give_what_known_words_give():
    model = tiny()
    seen = model.encode(FEATURES)
    scores, attention = model.write(seen, WORDS[:, :2])
    state = seen.first
    for i in range(2):
        step_scores, state, step_attention = model.step(WORDS[:, i], state, seen)
        assert_close(step_scores, scores[:, i])
        assert_close(step_attention, attention[:, i])
    assert_close(attention.sum(-1), torch.ones(2, 2))


def test_attention_moves_with_the_words_only_if_there_is_a_tanh():
    looks = []
    for tanh in (True, False):
        model = tiny(attention_tanh=tanh)
        _, attention = model.write(model.encode(FEATURES), WORDS[:1].expand(2, -1))
        looks.append(float((attention[:, 1:] - attention[:, :1]).abs().max().detach()))
    assert looks[0] > 1e-5 and looks[1] < 1e-6


def test_a_new_vocabulary():
    model = tiny()
    model.reset_classifier(11)
    assert model(FEATURES).shape == (2, 1, 11) and model.words.num_embeddings == 11
    assert model.forward_features(FEATURES).shape == (2, model.num_features)


def test_inputs_that_cannot_be():
    with pytest.raises(ConfigError, match=r"ets: the input has shape \(2, 6, 4\); needs features \[b t 5\]"):
        tiny()(FEATURES[..., :4])
    with pytest.raises(ConfigError, match="ets: num_classes is 0"):
        tiny(num_classes=0)
