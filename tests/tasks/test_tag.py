"""Tagging: the loss written out, and answers that do not depend on what else is in the batch."""

import pytest
import torch

from videozoo.errors import DataError
from videozoo.models import create_model
from videozoo.tasks.tag import Tag
from videozoo.transforms.features import FeaturesInput

NAMES = ("a", "b", "c")
SPEC = FeaturesInput(num_frames=4, feature_dims=(3, 2))


def task(**args):
    torch.manual_seed(0)
    model = create_model("mean_pool", num_classes=3, feature_dims=(3, 2))
    torch.nn.init.normal_(model.head.weight)  # it starts at zero
    return Tag(model, NAMES, **args)


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    stored = {
        "features": torch.randint(0, 256, (2, 4, 5), dtype=torch.uint8, generator=generator),
        "num_frames": torch.tensor([4, 2]),
        "label": torch.tensor([[1.0, 0, 1], [0, 0, 0]]),
        "id": ["x", "y"],
    }
    return SPEC.to_device(stored, "cpu")


@pytest.mark.parametrize(("reduction", "share"), [("sum", 1), ("mean", 1 / 2)])
def test_cross_entropies_are_summed_over_classes(batch, reduction, share):
    tagger = task(reduction=reduction)
    p = tagger.model(batch["features"], batch["mask"]).sigmoid()
    label = batch["label"]
    expected = -(label * p.log() + (1 - label) * (1 - p).log()).sum() * share
    torch.testing.assert_close(tagger(batch)["loss"], expected)


def test_the_model_sees_the_mean_of_the_frames_that_are_there(batch):
    tagger = task()
    means = torch.stack([batch["features"][0].mean(0), batch["features"][1, :2].mean(0)])
    torch.testing.assert_close(tagger.model(batch["features"], batch["mask"]), tagger.model.head(means))


def test_answers_are_probabilities_of_each_class_alone(batch):
    tagger = task().eval()
    with torch.no_grad():
        found = tagger.predict(batch)
        expected = tagger.model(batch["features"], batch["mask"]).sigmoid()
    assert [labels.names for labels in found] == [NAMES, NAMES]
    torch.testing.assert_close(torch.stack([torch.from_numpy(labels.scores) for labels in found]), expected)


def test_its_metric_is_youtube8ms(batch):
    (metric,) = task(top_k=2).metrics()
    assert metric.top_k == 2
    with torch.no_grad():
        metric.update(task().eval().predict(batch), batch)
    assert set(metric.compute()) == {"gap", "map", "hit1", "perr"}


def test_training_needs_labels(batch):
    del batch["label"]
    with pytest.raises(DataError, match=r"tag: the training data has no labels; take a partition that has some"):
        task()(batch)
