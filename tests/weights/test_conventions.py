from __future__ import annotations

import re

import pytest
import torch

from tests.models.test_tsn import NARROW, narrow
from videozoo.errors import WeightsError
from videozoo.models import create_model
from videozoo.weights import convert
from videozoo.weights.conventions import needed_args
from videozoo.weights.exporter import foreign_state
from videozoo.weights.import_model import import_model
from videozoo.weights.keymap import SOURCES, ports

# of a model that is computed otherwise than the project's
OTHERS = {
    "attention_cluster": {},
    "attention_lstm": {},
    "nextvlad": {},
    "nonlocal": {},
    "pptsm": {"num_segments": 16, "backbone": "resnet18d"},
    "pptsm_mobile": {"num_segments": 16},
    "pptsm_v2": {"num_segments": 16},
    "pptsn": {"backbone": "resnet18d"},
    "slowfast": {},
    "tsm": {"num_segments": 5, "shift_fraction": 0.1},
    "videoswin": {"crop_px": 112},
    "vjepa2": {"width": 48, "depth": 1, "num_heads": 2},
}


@pytest.mark.parametrize(
    ("source", "name"),
    [(source, name) for source in SOURCES for name, port in ports(source).items() if port.conventions],
)
def test_the_arguments_that_are_told_are_all_that_it_needs(source, name):
    with torch.device("meta"):
        args = needed_args(create_model(name, **OTHERS[name]), source=source)
        assert len(args) == len(ports(source)[name].conventions)
        assert needed_args(create_model(name, **{**OTHERS[name], **args}), source=source) == {}


def test_what_changes_nothing_is_not_asked_for():
    with torch.device("meta"):
        assert needed_args(create_model("videoswin"), source="paddlevideo") == {}
        assert needed_args(create_model("pptsm_v2", dropout=0.0), source="paddlevideo") == {}
        assert needed_args(create_model("pptsm_mobile", version="v2"), source="paddlevideo") == {}
        assert needed_args(create_model("tsm", num_segments=8), source="paddlevideo") == {}
        assert needed_args(create_model("tsm", num_segments=16), source="mit_tsm") == {}


def test_weights_are_not_loaded_into_a_network_that_computes_something_else():
    model = narrow("tsm", num_segments=4)
    fitting = narrow("tsm", num_segments=4, shift_fraction=0.25)
    state = foreign_state(fitting)
    told = re.escape("source 'paddlevideo': its tsm computes differently from this one, with any weights;")
    with pytest.raises(WeightsError, match=f"{told} build the model with shift_fraction=0.25$"):
        convert(model, state)
    with pytest.raises(WeightsError, match=r"would give other scores .* train with model.shift_fraction=0.25$"):
        foreign_state(model)
    args = {"backbone": "resnet18", "num_segments": 4, "backbone_args": NARROW}
    imported = import_model(state, source="paddlevideo", name="tsm", args=args)
    assert not imported.match.faults and imported.record["model"]["shift_fraction"] == 0.25
    assert imported.added_args == {"shift_fraction": 0.25}
