from __future__ import annotations

import pickle

import numpy as np
import pytest
import safetensors.torch
import torch
from torch.testing import assert_close

from tests.models.test_tsn import narrow
from videozoo.errors import WeightsError
from videozoo.models import create_model
from videozoo.weights import convert
from videozoo.weights.importer import SOURCES, key_map
from videozoo.weights.keymap import is_linear_weight


def foreign(model, source="paddlevideo"):
    """The model's own tensors under the other project's names and layout."""
    names = key_map(model, source=source)
    return {
        names.theirs(name): (value.T if is_linear_weight(name, model) else value).numpy().copy()
        for name, value in model.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }


@pytest.fixture
def pair():
    return narrow("tsm"), narrow("tsm")


@pytest.mark.parametrize("source", ["paddlevideo", "paddlevideo1"])
def test_a_pdparams_file_is_loaded_in_place(pair, tmp_path, source):
    model, other = (narrow("tsm", dropout_scaling="inference") for _ in pair)
    path = tmp_path / "TSM_k400.pdparams"
    state = foreign(other, source) | {"StructuredToParameterName@@": {"head.fc.weight": "linear_0.w_0"}}
    path.write_bytes(pickle.dumps(state, protocol=2))
    clips = torch.randn(1, 8, 3, 32, 32)
    assert not torch.equal(model(clips), other(clips))
    assert convert(model, path, source=source) is model
    assert_close(model(clips), other(clips), atol=0, rtol=0)


def test_other_files_and_tensors_too(pair, tmp_path):
    model, other = pair
    state = {name: torch.from_numpy(value) for name, value in foreign(other).items()}
    safetensors.torch.save_file(state, tmp_path / "a.safetensors")
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "a.pth")
    for weights in (state, tmp_path / "a.safetensors", tmp_path / "a.pth"):
        model.head.weight.data.zero_()
        convert(model, weights)
        assert torch.equal(model.head.weight, other.head.weight)


def test_names_that_do_not_fit_are_all_listed_and_nothing_is_loaded(pair):
    model, other = pair
    state = foreign(other)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state["head.extra"] = state.pop("head.fc.bias")
    state["backbone.conv9._conv.weight"] = state.pop("backbone.conv._conv.weight")
    state["head.fc.weight"] = state["head.fc.weight"][:, :3]
    with pytest.raises(WeightsError) as caught:
        convert(model, state)
    assert str(caught.value) == (
        "paddlevideo weights: does not fit tsm: "
        "2 missing: backbone.conv._conv.weight (our backbone.conv1.weight), head.fc.bias (our head.bias); "
        "2 unmatched: backbone.conv9._conv.weight, head.extra; "
        "1 of another shape: head.fc.weight (3, 32) (our head.weight (7, 32)); "
        "build the model with the arguments that these weights were trained with"
    )
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_unknown_sources_models_and_files(pair, tmp_path):
    model, _ = pair
    with pytest.raises(WeightsError, match="source 'paddle': not a known project; did you mean 'paddlevideo'"):
        convert(model, {}, source="paddle")
    model.name = "tsx"
    with pytest.raises(WeightsError, match=r"source 'paddlevideo': no key map for the model 'tsx'; it has: .*tsn"):
        convert(model, {})
    model.name = "tsm"
    with pytest.raises(WeightsError, match=r"no\.pdparams: there is no such file"):
        convert(model, tmp_path / "no.pdparams")
    with pytest.raises(WeightsError, match=r"state: head.fc.bias: is a list; needs an array of numbers"):
        convert(model, {"head.fc.bias": [1, 2]})


def test_a_hostile_file_loads_nothing(pair, tmp_path):
    path = tmp_path / "a.pdparams"
    path.write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(WeightsError, match=r"it asks for 'os\.system'"):
        convert(pair[0], path)


@pytest.mark.parametrize(("depth", "blocks"), [(50, {"4b", "4f"}), (101, {"4b1", "4b22"}), (152, {"4b1", "4b35"})])
def test_long_stages_count_their_blocks(depth, blocks):
    with torch.device("meta"):
        model = create_model("tsn", backbone=f"resnet{depth}")
    for source, prefix in (("paddlevideo", "backbone.res"), ("paddlevideo1", "bn")):
        names = key_map(model, source=source)
        theirs = [names.theirs(name) for name in model.state_dict()]
        assert len(set(theirs)) == len(theirs)
        for block in blocks:
            assert any(name.startswith((f"{prefix}{block}.", f"{prefix}{block}_")) for name in theirs)


@pytest.mark.parametrize("source", SOURCES)
def test_every_source_has_its_maps(source):
    pytest.importorskip(f"videozoo.weights.{source}")
    assert __import__(f"videozoo.weights.{source}", fromlist=["KEY_MAPS"]).KEY_MAPS


def test_half_precision_weights_are_read(pair):
    model, other = pair
    convert(model, {name: value.astype(np.float16) for name, value in foreign(other).items()})
    assert model.head.weight.dtype == torch.float32
    assert_close(model.head.weight, other.head.weight, atol=1e-3, rtol=1e-2)
