"""Stored features, as `io.features` has them, through the input spec of models on features."""

import dataclasses

import numpy as np
import pytest
import torch

from videozoo.contracts.features import Features
from videozoo.contracts.record import FeatureRecord
from videozoo.errors import ConfigError, DataError
from videozoo.io.features import dequantize
from videozoo.transforms.features import FeaturesInput, moments
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


# ---- normalization ----


def test_moments_of_a_stream_are_those_of_all_rows():
    rng = np.random.default_rng(0)
    tables = [1e4 + rng.normal(size=(n, 3)) * [1.0, 1e-2, 50.0] for n in (1, 7, 400)]
    mean, std = moments(tables)
    rows = np.concatenate(tables)
    np.testing.assert_allclose(mean, rows.mean(0), rtol=1e-8)
    np.testing.assert_allclose(std, rows.std(0), rtol=1e-6)


def test_a_constant_number_is_shifted_only():
    mean, std = moments([np.full((4, 2), [3.0, 0.0])])
    assert (mean, std) == ([3.0, 0.0], [1.0, 1.0])


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_both_forms_normalize_the_rows_and_not_the_padding(dtype):
    spec = FeaturesInput(num_frames=4, feature_dims=(2,), mid_bin=(True,), mean=(5.0, -1.0), std=(2.0, 0.5))
    rows = np.random.default_rng(0).integers(0, 9, (2, 4, 2)).astype(dtype)
    batch = {"features": rows, "num_frames": np.array([3, 1])}
    found = spec.to_arrays(batch)["features"]
    values = dequantize(rows) if dtype == np.uint8 else rows
    expected = (values - [5.0, -1.0]) / [2.0, 0.5]
    np.testing.assert_allclose(found[0], expected[0, :3], atol=1e-6)
    np.testing.assert_allclose(found[1], [expected[1, 0], [0, 0], [0, 0]], atol=1e-6)
    as_tensors = spec.to_device({name: torch.from_numpy(value) for name, value in batch.items()}, "cpu")
    np.testing.assert_allclose(as_tensors["features"], found, atol=1e-6)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (
            {"mean": (1.0,), "std": (1.0,)},
            r"input\.mean: 1 values for rows of 2; leave it out, the training data give it",
        ),
        ({"mean": (1.0, 2.0)}, r"input\.std: needs one number above 0 for each in input\.mean; leave both out"),
        ({"mean": (1.0, 2.0), "std": (1.0, 0.0)}, r"input\.std: needs one number above 0"),
    ],
)
def test_moments_that_do_not_fit(args, message):
    with pytest.raises(ConfigError, match=message):
        FeaturesInput(feature_dims=(2,), mid_bin=(True,), **args)


def test_spread_frames_cover_long_videos():
    spec = FeaturesInput(num_frames=4, sampling="spread")
    assert spec.sample(3, None).tolist() == [0, 1, 2]
    assert spec.sample(8, None).tolist() == [1, 3, 5, 7]
    drawn = spec.sample(400, np.random.default_rng(0))
    assert (drawn // 100).tolist() == [0, 1, 2, 3]
