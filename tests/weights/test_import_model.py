from __future__ import annotations

import numpy as np
import pytest
import torch

from videozoo.config.recipe import load_recipe
from videozoo.errors import WeightsError
from videozoo.models import create_model, models
from videozoo.transforms.registry import inputs
from videozoo.weights.conventions import fitting_model
from videozoo.weights.exporter import foreign_state
from videozoo.weights.import_model import import_model, usual_input
from videozoo.weights.importer import key_map

WITH_A_RECIPE = [name for name in models.names() if "usual_recipe" in vars(models.get(name))]
VIT = {"backbone_args": {"depth": 1, "embed_dim": 24, "num_heads": 2}, "crop_px": 32, "num_frames": 2}


@pytest.mark.parametrize("name", WITH_A_RECIPE)
def test_the_usual_input_is_that_of_the_published_recipe(name):
    recipe = load_recipe(models.get(name).usual_recipe).sections
    with torch.device("meta"):
        size = {key: value for key, value in recipe["model"].items() if key in ("num_frames", "crop_px")}
        found = usual_input(create_model(name, **size), source="nobody")
    assert recipe["model"]["name"] == name
    stated = {"name": "clip", **{key: value for key, value in recipe["input"].items() if key != "augment"}}
    specs = [inputs.get(name)(**args) for section in (found, stated) for name, args in [_named(section)]]
    assert specs[0] == specs[1]
    assert found["name"] == stated["name"] and found.keys() >= stated.keys()


def _named(section):
    return section["name"], {key: value for key, value in section.items() if key != "name"}


def test_the_record_averages_as_the_recipe_does():
    for name, average in (("timesformer", "score"), ("pptimesformer", "prob")):
        other = create_model(name, num_classes=3, **VIT)
        imported = import_model(foreign_state(other), source="paddlevideo", name=name, args=VIT)
        assert not imported.match.faults
        assert imported.record["task"]["average"] == average
        assert imported.record["input"]["short_side_px"] == imported.record["input"]["crop_px"] == 32


def test_another_number_of_classes_than_the_weights_have():
    other = create_model("timesformer", num_classes=3, **VIT)
    with pytest.raises(WeightsError, match="num_classes=7: the weights have 3 classes; leave it out"):
        import_model(foreign_state(other), source="paddlevideo", name="timesformer", args={**VIT, "num_classes": 7})


def test_names_of_tensors_tell_bare_laterals():
    args = {"width": 8, "crop_px": 32, "num_frames": 8}
    with torch.device("meta"):
        asked = {**args, "num_classes": 3, "lateral_norm": False}
        bare, _ = fitting_model("slowfast", asked, source="mmaction2")
    names = key_map(bare, source="mmaction2")
    state = {names.theirs(key): np.zeros(tuple(value.shape), np.float32) for key, value in bare.state_dict().items()}
    imported = import_model(state, source="mmaction2", name="slowfast", args=args)
    assert not imported.match.faults
    assert imported.added_args == {"lateral_norm": False, "slow_frames": "strided", "pooling": "frame"}
    assert imported.record["model"]["lateral_norm"] is False
    said = import_model(state, source="mmaction2", name="slowfast", args={**args, "lateral_norm": True})
    assert any("_lateral.bn" in name for name in said.match.faults["missing"])
