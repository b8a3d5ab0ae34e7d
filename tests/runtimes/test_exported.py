"""Exported networks as predictors and extractors, and what is refused about their folders."""

from __future__ import annotations

import builtins
import json
import os
import sys
import threading

import numpy as np
import pytest

import videozoo
from tests.runtimes.conftest import graph, write_folder
from tests.slim.conftest import NAMES
from videozoo.errors import ConfigError, DataError, MissingPackageError, WeightsError
from videozoo.io.packed import write_packed
from videozoo.loading import load_extractor, load_searcher, open_network
from videozoo.predict.projection import Projection
from videozoo.runtimes.folder import stored_file
from videozoo.runtimes.network import open_exported

STORY = (0, 3, 1)


def changed(folder, change):
    """Rewrites the description through `change`."""
    path = folder / "network.json"
    told = json.loads(path.read_text())
    path.write_text(json.dumps(change(told) or told))
    return folder


def replaced(folder, data):
    """Puts other bytes in the place of the graph, and says so in the description."""
    (folder / "main.onnx").write_bytes(data)
    entry = stored_file(folder / "main.onnx")
    return changed(folder, lambda told: told["graphs"]["main"].update(files=[entry]))


def test_an_exported_network_predicts(exported, gray_video):
    predictor = videozoo.load(exported)
    found = predictor(gray_video("story.mp4", STORY), window_s=1.0, stride_s=1.0)
    assert [window.answer.best for window in found.windows] == [NAMES[i] for i in STORY]
    assert predictor.class_names == NAMES


def test_views_of_several_samples_are_averaged(exported, gray_video):
    found = videozoo.load(exported, views="2x3")(gray_video("story.mp4", STORY), window_s=1.0)
    assert found.windows[0].answer.scores.sum() == pytest.approx(1)
    assert found.windows[0].answer.best == NAMES[0]


def test_an_exported_network_extracts(exported, gray_video, tmp_path):
    extractor = load_extractor(exported, window_s=1.0, stride_s=1.0)
    features = extractor(gray_video("story.mp4", STORY))
    assert features.values.argmin(1).tolist() == list(STORY)
    assert features.recipe.sha256 == "0" * 64


def test_an_exported_extractor_is_stored_with_its_features(exported, gray_video, tmp_path):
    video, place = gray_video("story.mp4", STORY), tmp_path / "extractor.safetensors"
    projection = Projection(np.zeros(4, np.float32), np.eye(4, dtype=np.float32)[:2])
    extractor = load_extractor(exported, window_s=1.0, stride_s=1.0, projection=projection)
    extractor.write(place)
    stored = load_extractor(place, window_s=1.0, stride_s=1.0)
    assert stored.recipe == extractor.recipe and stored.network.source == str(place)
    np.testing.assert_array_equal(stored(video).values, extractor(video).values)
    stored.write(tmp_path / "again.safetensors")
    assert load_extractor(tmp_path / "again.safetensors", window_s=1.0, stride_s=1.0).recipe == extractor.recipe


def test_a_damaged_stored_extractor(tmp_path):
    write_packed(tmp_path / "a.safetensors", {"../a": b"x"}, {})
    with pytest.raises(WeightsError, match=r"a\.safetensors: names a file outside of its folder; extract the features"):
        load_extractor(tmp_path / "a.safetensors")
    write_packed(tmp_path / "b.safetensors", {"network.json": b"{}"}, {})
    with pytest.raises(WeightsError, match=r"network\.json"):
        load_extractor(tmp_path / "b.safetensors")


def test_threads_may_predict_at_the_same_time(exported, gray_video):
    predictor = videozoo.load(exported)
    videos = [gray_video(f"{i}.mp4", [i]) for i in range(4)]
    found = {}
    threads = [threading.Thread(target=lambda v=v: found.update({v: predictor(v).answer.best})) for v in videos]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[video] for video in videos] == list(NAMES)


def test_other_widths_are_refused_when_they_come(exported):
    network = open_network(exported)
    with pytest.raises(DataError, match=r"exported: graph 'main' cannot be computed for video \(1, 4, 3, 8, 8\) \("):
        network.backend.outputs({"video": np.zeros((1, 1, 4, 3, 8, 8), np.uint8), "id": ["a"]})


def test_a_graph_that_is_not_there(exported):
    backend = open_network(exported).backend
    with pytest.raises(WeightsError, match=r"exported: has no graph 'other', but main; repeat `videozoo export`"):
        backend.run("other", {})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "tpu"}, "--device tpu: ONNX Runtime has no such device; use cpu, cuda or auto"),
        ({"device": "cuda:x"}, "--device cuda:x: ONNX Runtime has no such device"),
        ({"precision": "bf16"}, r"precision: 'bf16' is asked, and .*exported was exported to compute in fp32"),
    ],
)
def test_options_that_a_runtime_does_not_have(exported, options, message):
    with pytest.raises(ConfigError, match=message):
        open_network(exported, **options)


def test_cuda_where_there_is_none(exported):
    if "CUDAExecutionProvider" in pytest.importorskip("onnxruntime").get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    with pytest.raises(ConfigError, match="--device cuda: this onnxruntime computes on the CPU only; install"):
        open_network(exported, device="cuda")


def test_onnxruntime_is_not_installed(exported, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingPackageError, match=r"needs the package 'onnxruntime' .*; run: pip install onnxruntime"):
        open_network(exported)


def test_openvino_is_not_installed(exported, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    changed(exported, lambda told: told.update(runtime="openvino"))
    with pytest.raises(MissingPackageError, match=r"run: pip install 'videozoo\[openvino\]'"):
        open_network(exported)


def test_programs_of_torch_are_not_opened_unasked(exported):
    changed(exported, lambda told: told.update(runtime="torch"))
    with pytest.raises(WeightsError, match="holds programs of torch, whose reading can run code of their author"):
        open_network(exported)


def test_a_graph_is_no_folder(exported):
    with pytest.raises(ConfigError, match=r"main\.onnx: is a file of an exported network; give its folder, .*exported"):
        open_network(exported / "main.onnx")


def test_a_network_of_clips_takes_no_query(exported):
    with pytest.raises(ConfigError, match="is a run of 'classify', which takes no query"):
        load_searcher(exported)


def without(*keys):
    def change(told):
        for key in keys[:-1]:
            told = told[key]
        del told[keys[-1]]

    return change


def with_value(*keys):
    def change(told):
        for key in keys[:-2]:
            told = told[key]
        told[keys[-2]] = keys[-1]

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (with_value("version", 2), r"network\.json: has format version 2, this videozoo reads 1; upgrade videozoo"),
        (with_value("version", "x"), r"network\.json: version: .*got 'x'; copy the whole folder again"),
        (with_value("format", "other"), r"is of the format 'other', not 'videozoo network'"),
        (without("format"), r"network\.json: format: field required"),
        (without("graphs"), r"network\.json: graphs: field required"),
        (lambda told: [told], r"network\.json: "),
        (with_value("graphs", "main", "inputs", 5), r"graphs: main: inputs: .*got 5"),
        (with_value("graphs", "main", "files", []), r"network\.json: graph 'main' has no file"),
        (with_value("runtime", "caffe"), r"runtime: input should be 'onnx', 'openvino' or 'torch', got 'caffe'"),
        (with_value("decoder", {}), r"network\.json: does not fit this videozoo \('name'\)"),
        (with_value("decoder", "name", "clasify"), r"does not fit this videozoo \(.*did you mean 'classify'"),
        (with_value("decoder", "average", "mode"), r"does not fit this videozoo \(decoder\.average"),
        (with_value("input", "crop_px", "wide"), r"does not fit this videozoo \(input\.crop_px"),
        (
            with_value("graphs", "main", "files", [{"name": "../w", "sha256": ""}]),
            r"names the file '\.\./w', outside of",
        ),
        (with_value("graphs", "main", "files", [{"name": "/etc/passwd", "sha256": ""}]), r"outside of its folder"),
        (with_value("graphs", "main", "files", [{"name": "a\0b", "sha256": ""}]), r"cannot be opened"),
        (with_value("graphs", "main", "files", [{"name": "gone.onnx", "sha256": ""}]), r"there is no such file of the"),
        (with_value("arrays", {"name": "arrays.npz", "sha256": "0"}), r"arrays\.npz: there is no such file"),
        (with_value("encoder", {"name": "minilmm"}), r"sentence encoder: there is no 'minilmm'"),
    ],
)
def test_descriptions_that_do_not_fit(exported, change, message):
    changed(exported, change)
    with pytest.raises((WeightsError, ConfigError), match=message) as caught:
        open_network(exported)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 900


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '{"version": ' + "9" * 5000 + "}", "\0"])
def test_a_description_that_is_no_json(exported, text):
    (exported / "network.json").write_text(text)
    with pytest.raises(WeightsError, match=r"network\.json") as caught:
        open_network(exported)
    assert len(str(caught.value)) < 900


def test_a_damaged_graph(exported):
    data = bytearray((exported / "main.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (exported / "main.onnx").write_bytes(data)
    with pytest.raises(WeightsError, match=r"main\.onnx: is damaged, its SHA-256 begins with .*; copy the whole"):
        open_network(exported)


def test_a_graph_that_is_a_pipe(exported):
    (exported / "main.onnx").unlink()
    os.mkfifo(exported / "main.onnx")
    with pytest.raises(WeightsError, match=r"main\.onnx: is a pipe"):
        open_network(exported)


def test_a_graph_that_is_none(exported):
    replaced(exported, b"no graph")
    with pytest.raises(WeightsError, match=r"main\.onnx: cannot be read \(.*\); copy the whole folder again"):
        open_network(exported)


def test_a_graph_reads_no_other_file(exported, tmp_path):
    import onnx

    secret = tmp_path / "secret.bin"
    secret.write_bytes(np.ones(4, np.float32).tobytes())
    for place in ("../secret.bin", str(secret)):
        model = graph()
        tensor = next(t for t in model.graph.initializer if t.name == "levels")
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=place)
        replaced(exported, model.SerializeToString())
        with pytest.raises(WeightsError, match=r"main\.onnx: cannot be read"):
            open_network(exported)


def test_arrays_that_are_pickles(exported):
    np.savez(exported / "arrays.npz", x=np.array([builtins.print], dtype=object))
    entry = stored_file(exported / "arrays.npz")
    changed(exported, lambda told: told.update(arrays=entry))
    with pytest.raises(WeightsError, match=r"arrays\.npz: cannot be read"):
        open_network(exported)


def test_an_extractor_that_is_not_there(exported):
    changed(exported, lambda told: told.update(has_extractor=True))
    with pytest.raises(WeightsError, match=r"extractor/network\.json: there is no such description"):
        open_network(exported).open_extractor()


def test_a_folder_without_description(tmp_path):
    with pytest.raises(WeightsError, match=r"network\.json: there is no such description; correct the path"):
        open_exported(tmp_path)


def test_a_graph_with_other_outputs(tmp_path):
    folder = write_folder(tmp_path / "other", graph())
    changed(folder, lambda told: told["graphs"]["main"]["outputs"][0].update(name="gone"))
    with pytest.raises(DataError, match="graph 'main' cannot be computed"):
        open_network(folder).backend.outputs({"video": np.zeros((1, 1, 4, 3, 16, 16), np.uint8), "id": ["a"]})
