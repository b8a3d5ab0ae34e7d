"""Classification: the loss against a written-out formula, views averaged as told, mixing that changes both sides."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from videozoo.contracts.record import ClipRecord
from videozoo.data.dataset import ClipDataset
from videozoo.errors import ConfigError
from videozoo.layers import loss as losses
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


PRESENT = torch.tensor([[1.0, 0, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0]])


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ({"loss": "focal", "focal_gamma": 3.0}, lambda s, t: losses.focal_loss(s, t, gamma=3.0)),
        ({"class_weights": [1, 2, 3]}, lambda s, t: losses.soft_cross_entropy(s, t, weights=torch.tensor([1, 2, 3]))),
        (
            {"loss": "focal", "class_weights": [1, 2, 3]},
            lambda s, t: losses.focal_loss(s, t, weights=torch.tensor([1, 2, 3])),
        ),
    ],
)
def test_losses_for_unequal_classes(video, args, expected):
    task = Classify(Linear(), NAMES, **args)
    one_hot = F.one_hot(LABEL, 3).float()
    torch.testing.assert_close(task({"video": video, "label": LABEL})["loss"], expected(task.model(video), one_hot))


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ({"loss": "focal", "focal_gamma": 1.0}, lambda s, t: losses.binary_focal_loss(s, t, gamma=1.0)),
        ({"loss": "asymmetric"}, losses.asymmetric_loss),
        ({"class_weights": [1, 2, 3]}, lambda s, t: losses.binary_cross_entropy(s, t, weights=torch.tensor([1, 2, 3]))),
    ],
)
def test_multi_label_losses_for_unequal_classes(video, args, expected):
    task = Classify(Linear(), NAMES, multi_label=True, **args)
    torch.testing.assert_close(task({"video": video, "label": PRESENT})["loss"], expected(task.model(video), PRESENT))


def test_balanced_weights_come_from_the_training_data():
    records = [ClipRecord(str(i), Path("x"), (label,)) for i, label in enumerate([0, 0, 0, 1, 2, 2])]
    data = ClipDataset(NAMES, records)
    filled = Classify.fill_in({"class_weights": "balanced", "loss": "focal"}, data)
    assert filled == {"class_weights": pytest.approx([2 / 3, 2, 1]), "loss": "focal"}
    assert Classify.fill_in({"class_weights": [1.0]}, data) == {"class_weights": [1.0]}


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"loss": "asymmetric"}, r"task\.loss: 'asymmetric' is for multi-label data"),
        ({"focal_gamma": 0.5}, r"task\.focal_gamma: is 0\.5; it must be 0, or at least 1"),
        ({"asymmetric_margin": 1.0}, r"task\.asymmetric_margin: is 1\.0; it must be a probability below 1"),
        ({"class_weights": "balanced"}, r"task\.class_weights: 'balanced' works only in a training run"),
        ({"class_weights": [1.0, 2.0]}, r"task\.class_weights: 2 weights for 3 classes"),
        ({"class_weights": [1.0, 2.0, -1.0]}, r"task\.class_weights: holds -1\.0; weights must be at least 0"),
    ],
)
def test_losses_that_make_no_sense(args, message):
    with pytest.raises(ConfigError, match=message):
        Classify(Linear(), NAMES, **args)
