"""Exports in fewer bits: half precision and 8-bit integers, the guard on their answers, and what is refused."""

from __future__ import annotations

import json
import shutil
import sys

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from tests.contract.made_runs import write_run
from videozoo.cli.main import app
from videozoo.errors import ConfigError, MissingPackageError
from videozoo.export import reduced
from videozoo.export.calibrate import Calibration
from videozoo.export.export import export_network
from videozoo.export.formats import WRITERS
from videozoo.export.reduced import REDUCERS, Reducer, layers_of
from videozoo.export.trace import trace
from videozoo.loading import load
from videozoo.runtimes.network import OPENERS
from videozoo.tasks.graph import Graph

onnx = pytest.importorskip("onnx")


@pytest.fixture(scope="module")
def classes(clip, tmp_path_factory):
    """A folder a class, each with one video."""
    folder = tmp_path_factory.mktemp("classes")
    for name in ("class 0", "class 3"):
        (folder / name).mkdir()
        shutil.copy(clip, folder / name / "a.mp4")
    return folder


def told_of(folder):
    return json.loads((folder / "network.json").read_text())


def traced_network(*layers, shape):
    torch.manual_seed(0)
    network = torch.nn.Sequential(*layers).eval()
    example = torch.randn(2, *shape)
    return trace(network, Graph(lambda x: {"y": network(x)}, {"x": example}, {"x": {0: "clips"}}), where="m")


def examples_of(shape, count=4):
    rng = np.random.default_rng(0)
    return [{"x": rng.normal(size=(1, *shape)).astype(np.float32)} for _ in range(count)]


def computed(runtime, files, example):
    (found,) = OPENERS[runtime]([path.read_bytes() for path in files], device="cpu")(dict(example), ["y"])
    return found


def test_a_classifier_in_integers(run, exported, classes, clip, tmp_path):
    out = export_network(run, tmp_path / "out", precision="int8", calibrate=classes, max_loss=100)
    kinds = {node.op_type for node in onnx.load(out / "main.onnx").graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds and "BatchNormalization" not in kinds
    assert sorted(path.name for path in out.iterdir()) == ["main.onnx", "network.json"]
    told = told_of(out)
    assert told["precision"] == "int8" and told["fingerprint"] == told_of(exported)["fingerprint"]
    assert told["calibration"] == {"data": classes.name, "num_videos": 2, "score": "top1", "loss": 0.0}
    wanted, found = (load(folder)(clip).answer.scores for folder in (exported, out))
    assert 0 < np.abs(found - wanted).max() < 0.05


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_weights_in_half_precision(runtime, tmp_path):
    pytest.importorskip("onnxruntime" if runtime == "onnx" else runtime)
    traced = traced_network(torch.nn.Conv2d(8, 64, 3), torch.nn.ReLU(), torch.nn.Conv2d(64, 64, 3), shape=(8, 9, 9))
    files = WRITERS[runtime](traced, tmp_path / "main")
    (example,) = examples_of((8, 9, 9), 1)
    wanted, size_bytes = computed(runtime, files, example), sum(path.stat().st_size for path in files)
    REDUCERS[runtime, "fp16"].write(files, (), None)
    difference = np.abs(computed(runtime, files, example) - wanted).max()
    assert 0 < difference < 1e-3
    assert sum(path.stat().st_size for path in files) < 0.6 * size_bytes + (20_000 if runtime == "openvino" else 0)


def test_half_precision_needs_no_videos(run, exported, clip, tmp_path):
    out = export_network(run, tmp_path / "out", precision="fp16")
    assert told_of(out)["precision"] == "fp16" and "calibration" not in told_of(out)
    wanted, found = (load(folder)(clip).answer.scores for folder in (exported, out))
    np.testing.assert_allclose(found, wanted, atol=1e-3)


def test_weights_beyond_half_precision(tmp_path):
    layer = torch.nn.Linear(32, 32)
    with torch.no_grad():
        layer.weight[3, 4] = -7e4
    files = WRITERS["onnx"](traced_network(layer, shape=(32,)), tmp_path / "main")
    with pytest.raises(ConfigError, match=r"has the value 70000, above 65504, the largest of half precision"):
        REDUCERS["onnx", "fp16"].write(files, (), None)


def test_3d_networks_in_integers(tmp_path):
    pytest.importorskip("nncf")
    layers = (torch.nn.Conv3d(3, 16, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv3d(16, 16, 3, padding=1))
    traced, examples = traced_network(*layers, shape=(3, 4, 8, 8)), examples_of((3, 4, 8, 8))
    files = WRITERS["openvino"](traced, tmp_path / "main")
    wanted = computed("openvino", files, examples[0])
    assert layers_of(files[0]) == ["0", "2"]
    REDUCERS["openvino", "int8"].write(files, examples, None)
    assert 0 < np.abs(computed("openvino", files, examples[0]) - wanted).max() < 0.1 * np.abs(wanted).max()
    assert "FakeQuantize" in files[0].read_text()
    with pytest.raises(ConfigError, match=r"ONNX Runtime has no 3-D convolution in integers.*use --format openvino"):
        REDUCERS["onnx", "int8"].write(WRITERS["onnx"](traced, tmp_path / "other"), examples, None)


def test_transformers_keep_sums_and_norms_in_float32(tmp_path):
    layers = (torch.nn.LayerNorm(32), torch.nn.Linear(32, 64), torch.nn.GELU(), torch.nn.Linear(64, 32))
    traced, examples = traced_network(*layers, shape=(5, 32)), examples_of((5, 32))
    files = WRITERS["onnx"](traced, tmp_path / "main")
    wanted = computed("onnx", files, examples[0])
    REDUCERS["onnx", "int8"].write(files, examples, None)
    nodes = onnx.load(files[0]).graph.node
    made = {name: node.op_type for node in nodes for name in node.output}
    (norm,) = (node for node in nodes if node.op_type == "LayerNormalization")
    assert all(made.get(name) != "DequantizeLinear" for name in norm.input)
    assert (
        sum(made.get(node.input[1]) == "DequantizeLinear" for node in nodes if node.op_type in ("MatMul", "Gemm")) == 2
    )
    assert 0 < np.abs(computed("onnx", files, examples[0]) - wanted).max() < 0.1 * np.abs(wanted).max()


def test_a_loss_is_refused_and_its_layers_are_named(run, classes, tmp_path, monkeypatch):
    def ruin(files, examples, layers):
        (path,) = files
        model = onnx.load(path)
        if layers is None or "head" in layers:
            node = next(node for node in model.graph.node if node.name.startswith("head/"))
            (weight,) = (tensor for tensor in model.graph.initializer if tensor.name == node.input[1])
            weight.CopyFrom(onnx.numpy_helper.from_array(-onnx.numpy_helper.to_array(weight), weight.name))
        onnx.save(model, path)

    monkeypatch.setitem(reduced.REDUCERS, ("onnx", "int8"), Reducer(ruin, needs_examples=True))
    videos = tmp_path / "list.txt"
    videos.write_text(f"{classes / 'class 0' / 'a.mp4'}\n")
    with pytest.raises(
        ConfigError,
        match=r"int8: loses 100\.00 points of agreement on 1 video, and --max-loss is 0\.5; most is lost in "
        r"\S+ to head \(outputs differ by 2\d\d\.\d%\); export in another precision, or raise --max-loss",
    ):
        export_network(run, tmp_path / "out", precision="int8", calibrate=videos)
    assert not (tmp_path / "out").exists()


def test_labels_of_calibration_videos(classes, clip, tmp_path):
    names = ("class 0", "class 1", "class 2", "class 3")
    assert Calibration.of(classes, names).labels == (0, 3)
    assert Calibration.of(classes, ("a", "b")).labels == ()  # other classes: videos without labels
    assert Calibration.of(clip, names).videos == (clip,)
    assert Calibration.of(classes, ()).labels == () and len(Calibration.of(classes, ()).videos) == 2
    (tmp_path / "list.txt").write_text(f"{clip} 2\n{clip} 1\n")
    assert Calibration.of(tmp_path / "list.txt", names).labels == (2, 1)


def test_the_extractor_of_a_network_on_features_is_reduced(localizer, classes, clip, tmp_path):
    out = export_network(localizer, tmp_path / "out", precision="int8", calibrate=classes, max_loss=100)
    assert told_of(out)["precision"] == "fp32" and told_of(out / "extractor")["precision"] == "int8"
    assert load(out)(clip).answer.spans


def test_what_has_no_integers(run, classes, tmp_path, monkeypatch):
    with pytest.raises(
        ConfigError, match=r"--precision int8: needs videos to measure ranges on; give --calibrate a fold"
    ):
        export_network(run, tmp_path / "out", precision="int8")
    with pytest.raises(ConfigError, match=r"--calibrate .*: fp32 needs no videos; give --precision int8 or fp16, too"):
        export_network(run, tmp_path / "out", calibrate=classes)
    with pytest.raises(ConfigError, match=r"--precision fp16: the format torch has fp32 only; use --format onnx or"):
        export_network(run, tmp_path / "out", runtime="torch", precision="fp16")
    tagger = write_run("mean_pool", tmp_path / "tagger")
    with pytest.raises(ConfigError, match=r"--precision int8: mean_pool takes features, which int8 does not quicken"):
        export_network(tagger, tmp_path / "out", precision="int8", calibrate=classes)
    with pytest.raises(ConfigError, match=r"--format safetensors: holds weights in fp32; --precision and --calibrate"):
        asked = ["export", str(run), "--out", "x.safetensors", "--precision", "int8"]
        CliRunner().invoke(app, asked, catch_exceptions=False)
    pytest.importorskip("openvino")
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(MissingPackageError, match=r"nncf.*pip install 'videozoo\[int8\]'"):
        export_network(run, tmp_path / "out", runtime="openvino", precision="int8", calibrate=classes)


def test_a_reduced_export_is_verified_by_the_tolerance_of_its_precision(run, clip, tmp_path):
    out = export_network(run, tmp_path / "out", precision="fp16")
    asked = ["verify", str(out), str(clip), "--against", str(run)]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0 and "(tolerance 0.01)" in done.output, done.output
    assert CliRunner().invoke(app, [*asked, "--tolerance", "1e-7"]).exit_code == 1


def test_the_command_says_what_was_lost(run, classes, tmp_path):
    out = tmp_path / "out"
    asked = ["--format", "onnx", "--precision", "fp16", "--calibrate", str(classes), "--out", str(out)]
    done = CliRunner().invoke(app, ["export", str(run), *asked])
    assert done.exit_code == 0, done.output
    assert (
        done.output.strip() == f"{out}: onnx from {run} in fp16: 0.00 points of top1 lost on 2 videos of {classes.name}"
    )
