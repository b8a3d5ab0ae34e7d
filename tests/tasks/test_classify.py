"""Classification: the loss against a written-out formula, views averaged as told, mixing that changes both sides."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from videozoo.models.model import VideoModel
from videozoo.tasks.classify import Classify

NAMES = ("a", "b", "c")


class Linear(VideoModel):
    """Scores of the mean colour: enough of a network to see what a task does around it."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.head = nn.Linear(3, 3)

    def forward(self, x):
        return self.head(x.mean((1, 3, 4)))


@pytest.fixture
def video():
    return torch.rand(4, 2, 3, 5, 5, generator=torch.Generator().manual_seed(1))


LABEL = torch.tensor([0, 1, 2, 1])


def test_loss_is_cross_entropy(video):
    task = Classify(Linear(), NAMES)
    expected = F.cross_entropy(task.model(video), LABEL)
    torch.testing.assert_close(task({"video": video, "label": LABEL})["loss"], expected)


def test_label_smoothing(video):
    task = Classify(Linear(), NAMES, label_smoothing=0.1)
    expected = F.cross_entropy(task.model(video), LABEL, label_smoothing=0.1)
    torch.testing.assert_close(task({"video": video, "label": LABEL})["loss"], expected)


def test_multi_label_loss_is_binary(video):
    task = Classify(Linear(), NAMES, multi_label=True)
    label = torch.tensor([[1.0, 0, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0]])
    expected = F.binary_cross_entropy_with_logits(task.model(video), label)
    torch.testing.assert_close(task({"video": video, "label": label})["loss"], expected)


def test_mixup_mixes_clips_and_targets(video):
    task = Classify(Linear(), NAMES, mixup_alpha=1.0)
    torch.manual_seed(3)
    loss = task({"video": video, "label": LABEL})["loss"]
    torch.manual_seed(3)
    mixed, target, other, share = task.mix(video, F.one_hot(LABEL, 3).float())
    assert not torch.equal(mixed, video) and 0 < share < 1
    scores = task.model(mixed).log_softmax(-1)
    expected = -((share * target + (1 - share) * other) * scores).sum(-1).mean()
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize("average", ["prob", "score"])
def test_views_are_averaged(average):
    views = torch.rand(2, 3, 2, 3, 5, 5)
    task = Classify(Linear(), NAMES, average=average).eval()
    with torch.no_grad():
        found = task.predict({"video": views})
        scores = torch.stack([task.model(clip) for clip in views])
    expected = scores.softmax(-1).mean(1) if average == "prob" else scores.mean(1).softmax(-1)
    for labels, row in zip(found, expected, strict=True):
        torch.testing.assert_close(torch.from_numpy(labels.scores), row)
        assert labels.names == NAMES


def test_multi_label_predictions_are_independent_probabilities():
    task = Classify(Linear(), NAMES, multi_label=True).eval()
    views = torch.rand(1, 1, 2, 3, 5, 5)
    with torch.no_grad():
        found = task.predict({"video": views})[0]
        expected = task.model(views[0]).sigmoid()[0]
    torch.testing.assert_close(torch.from_numpy(found.scores), expected)
