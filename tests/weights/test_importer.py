from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tarfile
import types
import warnings

import numpy as np
import pytest
import safetensors.torch
import torch
from torch.testing import assert_close

from tests.models.test_tsn import narrow
from videozoo.errors import WeightsError
from videozoo.models import create_model
from videozoo.weights import convert
from videozoo.weights.importer import SOURCES, key_map, read_foreign
from videozoo.weights.keymap import is_linear_weight, ports


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
    assert ports(source)


def test_half_precision_weights_are_read(pair):
    model, other = pair
    convert(model, {name: value.astype(np.float16) for name, value in foreign(other).items()})
    assert model.head.weight.dtype == torch.float32
    assert_close(model.head.weight, other.head.weight, atol=1e-3, rtol=1e-2)


class Call:
    """Pickled as a call of a function."""

    def __init__(self, function, *args):
        self.call = (function, args)

    def __reduce__(self):
        return self.call


TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2)}


def refused(path):
    """The error of a file: one line, with the file in front; and no warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(WeightsError) as caught:
            read_foreign(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and "\n" not in message and "weights_only" not in message
    return message.removeprefix(f"{path}: ")


@pytest.mark.parametrize("suffix", [".pkl", ".pdparams", ".pth", ".pyth", ""])
@pytest.mark.parametrize("kind", ["zip", "legacy", "pickle", "safetensors"])
def test_what_a_file_holds_says_how_it_is_read(tmp_path, suffix, kind):
    path = tmp_path / f"weights{suffix}"
    if kind == "safetensors":
        safetensors.torch.save_file(TENSORS, path)
    elif kind == "pickle":
        path.write_bytes(pickle.dumps({name: value.numpy() for name, value in TENSORS.items()}))
    else:
        torch.save({"epoch": 1, "model_state": TENSORS}, path, _use_new_zipfile_serialization=kind == "zip")
    read = read_foreign(path)
    assert list(read) == sorted(TENSORS) if kind == "safetensors" else list(TENSORS)
    for name, value in TENSORS.items():
        np.testing.assert_array_equal(read[name], value.numpy())


def test_foreign_things_beside_the_tensors_are_passed_over(tmp_path, monkeypatch):
    """What MMEngine writes: its logs are objects, with arrays and methods of theirs inside."""
    module = types.ModuleType("mmengine.logging.history_buffer")

    class HistoryBuffer:
        def __setstate__(self, state):
            raise AssertionError("was run")

        def mean(self):
            pass

    HistoryBuffer.__module__, HistoryBuffer.__qualname__ = module.__name__, "HistoryBuffer"
    HistoryBuffer.mean.__module__, HistoryBuffer.mean.__qualname__ = module.__name__, "HistoryBuffer.mean"
    module.HistoryBuffer = HistoryBuffer
    buffer = HistoryBuffer()
    buffer.log, buffer.methods = np.arange(3.0), {"mean": HistoryBuffer.mean}
    mark = tmp_path / "ran"
    call = Call(subprocess.run, ["touch", str(mark)])
    with monkeypatch.context() as patch:
        for name in ("mmengine", "mmengine.logging", module.__name__):
            patch.setitem(sys.modules, name, module)
        torch.save({"message_hub": {"loss": buffer}, "x": call, "state_dict": TENSORS}, tmp_path / "a.pth")
    allowed = set(torch.serialization.get_safe_globals())
    assert list(read_foreign(tmp_path / "a.pth")) == list(TENSORS)
    assert not mark.exists() and set(torch.serialization.get_safe_globals()) == allowed


@pytest.mark.parametrize("is_zip", [True, False])
def test_a_foreign_thing_where_tensors_belong_is_named_in_one_sentence(tmp_path, is_zip):
    def written(value):
        torch.save(value, tmp_path / "a.pth", _use_new_zipfile_serialization=is_zip)
        return refused(tmp_path / "a.pth")

    mark = tmp_path / "ran"
    system = f"{os.system.__module__}.system"  # posix, or nt
    advice = "which is not part of a tensor, so nothing was loaded; do not trust this file"
    assert written({**TENSORS, "x": Call(os.system, f"touch {mark}")}) == f"it asks for '{system}', {advice}"
    linear = torch.nn.Linear(2, 2)
    if is_zip:
        assert written(linear) == "is a torch.nn.modules.linear.Linear; needs arrays by name"
        assert (
            written({"model": linear})
            == "model: is a torch.nn.modules.linear.Linear; needs an array of numbers of at most 64 bits"
        )
    else:
        assert written(linear) == f"it asks for 'torch.nn.modules.linear.Linear', {advice}"
    assert not mark.exists()


def test_a_caffe2_file_is_named_as_such(tmp_path):
    path = tmp_path / "SLOWFAST_8x8_R50.pkl"
    path.write_bytes(pickle.dumps({"blobs": {"conv1_w": np.zeros(3)}}, protocol=2))
    assert refused(path) == "is a Caffe2 file, which is not supported; give the model's PyTorch weights"


def test_files_that_hold_no_weights(tmp_path):
    path = tmp_path / "a.pth"
    assert refused(tmp_path) == "is a folder; give the path of a file of weights"
    path.write_bytes(b"")
    assert refused(path) == "is empty; fetch the file again"
    path.write_text("<html>Not found</html>")
    assert refused(path) == "not a complete pickle (it begins with b'<'); fetch the file again"
    for is_zip in (True, False):
        torch.save(TENSORS, path, _use_new_zipfile_serialization=is_zip)
        path.write_bytes(path.read_bytes()[:-40])
        message = refused(path)
        assert message.startswith(f"cannot be read as weights ({'BadZipFile' if is_zip else 'RuntimeError'}: ")
        assert message.endswith("); fetch the file again")
    (tmp_path / "a.safetensors").write_bytes(safetensors.torch.save(TENSORS)[:-4])
    assert refused(tmp_path / "a.safetensors").startswith("cannot be read as weights (SafetensorError: ")
    with warnings.catch_warnings():  # newer torch advises against it
        warnings.simplefilter("ignore")
        torch.jit.trace(torch.nn.ReLU(), torch.ones(1)).save(path)
    assert "got a torchscript checkpoint" in refused(path)
    with tarfile.open(path, "w") as tar:
        tar.add(tmp_path / "a.safetensors", "a")
    assert refused(path).startswith("is a tar archive; ")


def test_names_that_are_no_text_are_refused(pair, tmp_path):
    path = tmp_path / "a.pdparams"
    path.write_bytes(pickle.dumps({"a": np.zeros(1), 3: np.zeros(1)}))
    assert refused(path) == "has the int 3 as a name; needs text"
    with pytest.raises(WeightsError, match=r"state: has the bytes b'a' as a name; needs text"):
        convert(pair[0], {b"a": np.zeros(1)})


def test_values_that_are_not_finite_are_listed(pair):
    model, other = pair
    state = foreign(other)
    before = model.head.weight.clone()
    state["head.fc.weight"][0, 0] = np.nan
    state["head.fc.bias"][1] = -np.inf
    with pytest.raises(WeightsError) as caught:
        convert(model, state)
    assert str(caught.value) == (
        "paddlevideo weights: does not fit tsm: 2 with values that are not finite: head.fc.weight (our head.weight), "
        "head.fc.bias (our head.bias); fetch the file again, or take weights from before the training diverged"
    )
    assert torch.equal(model.head.weight, before)


def test_numbers_of_other_byte_orders_and_sizes(pair):
    model, other = pair
    state = {name: value.astype(">f4", copy=False) for name, value in foreign(other).items()}
    convert(model, state)
    assert torch.equal(model.head.weight, other.head.weight)
    state["head.fc.bias"] = state["head.fc.bias"].astype(np.longdouble)
    with pytest.raises(
        WeightsError, match=r"state: head.fc.bias: is a \S+ array; needs an array of numbers of at most 64"
    ):
        convert(model, state)
    with pytest.raises(WeightsError, match=r"state: head.fc.bias: is a object array; needs an array of numbers"):
        convert(model, {**state, "head.fc.bias": 2**70})
