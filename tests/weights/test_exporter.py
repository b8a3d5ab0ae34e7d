from __future__ import annotations

import pickle
import pickletools

import numpy as np
import pytest
import torch

from tests.models.test_tsn import narrow
from videozoo.errors import WeightsError
from videozoo.models import create_model
from videozoo.weights import convert
from videozoo.weights.exporter import foreign_state, write_pdparams

SWIN = {"width": 6, "depths": (1, 1, 1, 1), "num_heads": (1, 1, 1, 1), "window": (2, 3, 3), "num_classes": 3}
VIT = {"backbone_args": {"depth": 1, "embed_dim": 24, "num_heads": 2}, "crop_px": 32, "num_frames": 2, "num_classes": 3}


def make(name):
    if name == "tsn":
        return narrow(name)
    if name == "tsm":
        return narrow(name, dropout_scaling="inference")
    args = {"videoswin": SWIN, "timesformer": VIT}.get(name, {"num_classes": 3})
    return create_model(name, **args)


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("tsn", "paddlevideo"),
        ("tsm", "paddlevideo1"),
        ("videoswin", "paddlevideo"),
        ("timesformer", "paddlevideo"),
        ("movinet", "paddlevideo"),
    ],
)
def test_out_and_in_again_gives_equal_tensors(name, source, tmp_path):
    model, other = make(name), make(name)
    count = write_pdparams(tmp_path / "x.pdparams", other, source=source)
    convert(model, tmp_path / "x.pdparams", source=source)
    found = model.state_dict()
    for key, value in other.state_dict().items():
        assert key.endswith("num_batches_tracked") or torch.equal(found[key], value), key
    assert count >= len([key for key in found if not key.endswith("num_batches_tracked")])


def test_names_and_layouts_are_the_originals(tmp_path):
    model = narrow("tsm")
    write_pdparams(tmp_path / "x.pdparams", model)
    data = (tmp_path / "x.pdparams").read_bytes()
    state = pickle.loads(data)
    assert state["head.fc.weight"].shape == (32, 7)  # [in, out]
    np.testing.assert_array_equal(state["head.fc.weight"].T, model.head.weight.detach().numpy())
    assert "backbone.res2a.conv0._batch_norm._variance" in state and "backbone.conv._conv.weight" in state
    asked = {arg for op, arg, _ in pickletools.genops(data) if op.name == "GLOBAL"}
    assert asked == {"numpy ndarray", "numpy dtype", "_codecs encode"}  # readable by numpy 1 and 2
    assert data[:2] == b"\x80\x02"


def test_positions_of_windows_go_out_too():
    state = foreign_state(make("videoswin"))
    assert state["backbone.layers.0.blocks.0.attn.relative_position_index"].shape == (18, 18)


def test_what_has_no_map_is_refused():
    model = narrow("tsm")
    with pytest.raises(WeightsError, match="source 'mit_tsm': tsm can be imported from it, but not exported to it"):
        foreign_state(model, source="mit_tsm")
    with pytest.raises(WeightsError, match="source 'paddlevideo1': its tall has no batch norm"):
        foreign_state(create_model("tall", feature_dim=4, sentence_dim=4, standardise=True), source="paddlevideo1")
    model.name = "mine"
    with pytest.raises(WeightsError, match=r"source 'paddlevideo': no key map for the model 'mine'; it has: .*tsm"):
        foreign_state(model)
