"""The caption task: its loss, the sentences it says, and a run from features to a caption."""

import math

import pytest
import torch
from torch.testing import assert_close

from tests.contract.tiny import TINY
from videozoo.errors import ConfigError
from videozoo.models import create_model
from videozoo.tasks.caption import Caption, word_loss

NAMES = ("<s>", "<e>", "<unk>", "a", "ring", "grows", "n't")


def task(**args):
    torch.manual_seed(0)
    return Caption(create_model("ets", **TINY["ets"]), NAMES, **args).eval()


def batch(**more):
    features = torch.randn(2, 6, 5, generator=torch.Generator().manual_seed(1))
    mask = torch.arange(6) < torch.tensor([[6], [4]])
    return {"features": features, "mask": mask, **more}


def test_the_loss_is_over_every_word_and_the_end_mark():
    subject = task()
    given = batch(words=torch.tensor([[3, 4, 5], [4, -1, -1]]))
    parts = subject(given)
    total = 0.0
    for row, said in enumerate(([3, 4, 5], [4])):
        scores = subject.model(given["features"], given["mask"], torch.tensor([[0, *said], [0, *said]]))[row]
        total -= sum(float(scores.log_softmax(-1)[i, word].detach()) for i, word in enumerate([*said, 1]))
    assert_close(parts["loss"].item(), total / 6)
    assert 0 <= parts["words_right"] <= 1


def test_smoothing_spreads_the_target():
    scores, words = torch.zeros(1, 2, 4), torch.tensor([[1, -1]])
    assert_close(word_loss(scores, words, label_smoothing=0.1), torch.tensor(math.log(4)))


@pytest.mark.parametrize("beam_size", [1, 3, 100])
def test_what_is_said(beam_size):
    subject = task(beam_size=beam_size, max_words=4)
    with torch.inference_mode():
        first, second = subject.predict(batch(times_s=[[None], [torch.arange(4).numpy() + 0.5]]))
    for caption in (first, second):
        assert 1 <= len(caption.words) <= 4 and not {"<s>", "<e>", "<unk>"} & set(caption.words)
        assert caption.text.replace("n't", " n't").split() == list(caption.words)
        assert 0 < caption.score < 1
    assert second.attention.shape == (len(second.words), 4) and second.times_s == (0.5, 1.5, 2.5, 3.5)
    assert second.attention.sum(1) == pytest.approx(1.0, abs=1e-5)
    assert first.attention is None and first.times_s == ()  # nobody knows when its rows are


def test_the_score_is_the_mean_probability_of_what_was_said():
    subject = task(beam_size=1, max_words=4, unknown=True)
    given = batch()
    with torch.inference_mode():
        caption = subject.predict(given)[0]
        said = [NAMES.index(word) for word in caption.words]
        scores = subject.model(given["features"][:1], given["mask"][:1], torch.tensor([[0, *said]]))[0]
    never = torch.tensor([0])  # the start mark
    logs = scores.index_fill(1, never, -torch.inf).log_softmax(-1)
    told = [*said, *([1] if len(said) < 4 else [])]
    mean = sum(float(logs[i, word]) for i, word in enumerate(told)) / len(told)
    assert caption.score == pytest.approx(math.exp(mean), abs=1e-5)


def test_arguments_that_cannot_be():
    with pytest.raises(ConfigError, match=r"task.beam_size: is 0; it must be at least 1"):
        task(beam_size=0)
    for names in (NAMES[:3], ("<s> 9", *NAMES[1:])):
        with pytest.raises(
            ConfigError, match=rf"the vocabulary begins with {names[0]}.*; it needs <s>, <e>, <unk>, then words"
        ):
            Caption(create_model("ets", **TINY["ets"]), names)
