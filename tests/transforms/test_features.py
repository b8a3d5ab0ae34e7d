"""Stored features, as `io.features` has them, through the input spec of models on features."""

import dataclasses

import numpy as np
import pytest
import torch

from videozoo.contracts.features import Features
from videozoo.contracts.record import FeatureRecord
from videozoo.errors import DataError
from videozoo.transforms.features import FeaturesInput
from videozoo.transforms.input import ClipInput


@dataclasses.dataclass(frozen=True)
class Record(FeatureRecord):
    id: str
    content: Features
    labels: tuple[int, ...] | None = None

    def features(self):
        return self.content


VALUES = np.arange(12, dtype=np.float32).reshape(4, 3)
SOUND = -np.arange(8, dtype=np.float32).reshape(4, 2)


def test_floats_of_one_modality():
    spec = FeaturesInput(num_frames=6, feature_dims=(3,), mid_bin=(True,))
    sample = spec.eval_pipeline(num_classes=3)(Record("a", Features(VALUES), labels=(2,)))
    assert sample["id"] == "a" and sample["num_frames"] == 4
    assert sample["label"].tolist() == [0, 0, 1]
    batch = spec.to_device(torch.utils.data.default_collate([sample]), "cpu")
    np.testing.assert_array_equal(batch["features"][0].numpy(), VALUES)  # as they are: floats stand for themselves
    assert batch["mask"].all()


def test_sound_is_the_second_modality():
    content = Features(VALUES, audio=SOUND)
    sample = FeaturesInput(num_frames=4, feature_dims=(3, 2)).eval_pipeline()(Record("a", content))
    np.testing.assert_array_equal(sample["features"], np.concatenate([VALUES, SOUND], 1))
    assert "label" not in sample
    sample = FeaturesInput(num_frames=4, feature_dims=(3,), mid_bin=(True,)).eval_pipeline()(Record("a", content))
    assert sample["features"].shape == (4, 3)


def test_sound_that_is_missing():
    with pytest.raises(
        DataError, match=r"a: features have the widths \(3,\), but the recipe says input\.feature_dims=\(3, 2"
    ):
        FeaturesInput(num_frames=4, feature_dims=(3, 2)).eval_pipeline()(Record("a", Features(VALUES)))


def test_specs_say_what_they_take():
    assert (FeaturesInput.takes, ClipInput.takes) == ("features", "clips")
    assert "takes" not in ClipInput().to_dict()
