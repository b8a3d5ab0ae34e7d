"""Exports: what lies in the folder, what is refused, and formats besides ONNX."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import videozoo
from tests.contract.made_runs import random_model, write_run
from videozoo.cli.main import app
from videozoo.errors import ConfigError, VideoZooError, WeightsError
from videozoo.export import formats
from videozoo.export.export import export_network
from videozoo.export.trace import trace
from videozoo.loading import load, open_network
from videozoo.runtimes.network import open_exported
from videozoo.tasks.classify import Classify
from videozoo.tasks.graph import Graph
from videozoo.tasks.task import Task
from videozoo.transforms.input import ClipInput


def test_the_folder_holds_all_that_the_record_says(run, exported):
    eager, found = open_network(run, device="cpu"), open_network(exported)
    assert sorted(path.name for path in exported.iterdir()) == ["main.onnx", "network.json"]
    assert (found.name, found.task, found.num_features) == (eager.name, eager.task, eager.num_features)
    assert found.spec == eager.spec and found.decoder == eager.decoder
    assert found.fingerprint() == eager.fingerprint()
    told = json.loads((exported / "network.json").read_text())["graphs"]["main"]
    assert told["inputs"] == [{"name": "video", "type": "float32", "shape": ["clips", 3, 3, 32, 32]}]
    assert [(port["name"], port["shape"]) for port in told["outputs"]] == [
        ("features", ["clips", 32]),
        ("scores", ["clips", 5]),
    ]


def test_the_graph_is_for_others_too(exported):
    onnx = pytest.importorskip("onnx")
    model = onnx.load(exported / "main.onnx")
    onnx.checker.check_model(model, full_check=True)
    axes = [dim.dim_param or dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    assert axes == ["clips", 3, 3, 32, 32]
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}


def test_a_network_on_features_carries_its_extractor(localizer, exported_localizer, clip):
    assert (exported_localizer / "extractor" / "main.onnx").is_file()
    wanted = load(localizer, device="cpu")(clip, window_s=1.5)
    found = load(exported_localizer)(clip, window_s=1.5)
    assert len(wanted.windows) > 1 and wanted.answer.spans
    for ours, theirs in ((found.answer, wanted.answer), (found.windows[-1].answer, wanted.windows[-1].answer)):
        pairs = zip(ours.spans, theirs.spans, strict=True)
        assert all(a.label == b.label and a.score == pytest.approx(b.score, abs=1e-4) for a, b in pairs)


def test_a_projection_goes_along(run, tmp_path):
    saved = torch.load(run / "best.pt", weights_only=True)
    saved["model"] |= {"pca.mean": torch.zeros(32), "pca.components": torch.eye(32)[:4]}
    (tmp_path / "run").mkdir()
    torch.save(saved, tmp_path / "run" / "best.pt")
    out = export_network(tmp_path / "run", tmp_path / "out", runtime="torch")
    arrays = open_exported(out, trusted=True).arrays
    assert {name: array.shape for name, array in arrays.items()} == {"pca.mean": (32,), "pca.components": (4, 32)}


@pytest.mark.parametrize("padding", [1, "same"])
@pytest.mark.parametrize("kind", [1, 2, 3])
def test_batch_norms_are_folded(kind, padding):
    torch.manual_seed(0)
    convolution = getattr(torch.nn, f"Conv{kind}d")(2, 3, 3, padding=padding, bias=kind == 2)
    norm = getattr(torch.nn, f"BatchNorm{kind}d")(3, affine=kind != 3)
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    model = torch.nn.Sequential(convolution, norm, torch.nn.ReLU(), torch.nn.Flatten()).eval()
    x = torch.randn(2, 2, *(4,) * kind)
    traced = trace(model, Graph(lambda x: {"y": model(x)}, {"x": x}, {"x": {0: "n"}}), where="m")
    assert not any("batch_norm" in str(node.target) for node in traced.program.graph.nodes)
    assert len(traced.program.state_dict) == 2  # what was folded is not stored
    other = torch.randn(5, 2, *(4,) * kind)
    torch.testing.assert_close(traced.program.module()(other)[0], model(other), atol=1e-5, rtol=1e-5)


def test_a_norm_whose_convolution_is_read_twice_stays():
    class Twice(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.convolution, self.norm = torch.nn.Conv2d(1, 1, 1), torch.nn.BatchNorm2d(1)

        def forward(self, x):
            y = self.convolution(x)
            return self.norm(y) + y

    model = Twice().eval()
    model.norm.running_mean.fill_(3.0)
    x = torch.randn(2, 1, 2, 2)
    traced = trace(model, Graph(lambda x: {"y": model(x)}, {"x": x}, {}), where="m")
    torch.testing.assert_close(traced.program.module()(x)[0], model(x))


def test_programs_of_torch(run, clip, tmp_path):
    out = export_network(run, tmp_path / "out", runtime="torch")
    program = torch.export.load(out / "main.pt2").module()
    model, x = random_model("tsn"), torch.randn(3, 3, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(program(x)[1], model(x), atol=1e-5, rtol=1e-5)
    predictor = videozoo.Predictor(open_exported(out, trusted=True))
    wanted = load(run, device="cpu")(clip).answer
    np.testing.assert_allclose(predictor(clip).answer.scores, wanted.scores, atol=1e-5)


def test_openvino(run, clip, tmp_path):
    pytest.importorskip("openvino")
    out = export_network(run, tmp_path / "out", runtime="openvino")
    assert sorted(path.name for path in out.iterdir()) == ["main.bin", "main.xml", "network.json"]
    wanted = load(run, device="cpu")(clip, window_s=1.0)
    found = load(out)(clip, window_s=1.0)
    for ours, theirs in zip(found.windows, wanted.windows, strict=True):
        np.testing.assert_allclose(ours.answer.scores, theirs.answer.scores, atol=1e-4)
    with pytest.raises(ConfigError, match="--device cuda: OpenVINO computes on the CPU here"):
        load(out, device="cuda")


def test_what_is_there_is_not_overwritten(run, tmp_path):
    (tmp_path / "notes.txt").write_text("keep")
    with pytest.raises(ConfigError, match="is there already and holds no exported network; give a new folder"):
        export_network(run, tmp_path)
    with pytest.raises(ConfigError, match=r"notes\.txt: is there already"):
        export_network(run, tmp_path / "notes.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_failed_export_leaves_what_was_there(exported, tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "network.json").write_bytes((exported / "network.json").read_bytes())

    def full(traced, stem):
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(formats.WRITERS, "onnx", full)
    with pytest.raises(WeightsError, match=r"out: cannot be written \(No space left on device\); free some space"):
        export_network(exported.parent / "run", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["network.json"]


def test_an_earlier_export_is_replaced(run, tmp_path, monkeypatch):
    export_network(run, tmp_path / "out", runtime="torch")
    (tmp_path / "out" / "old.txt").touch()
    export_network(run, tmp_path / "out", runtime="torch")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["main.pt2", "network.json"]


def test_a_model_that_torch_cannot_trace():
    model = torch.nn.Linear(2, 2)

    def forward(x):
        return {"y": x * 2 if float(x.sum()) > 0 else x}

    with pytest.raises(
        ConfigError, match=r"m: torch cannot export it \(.*\); this network runs in torch alone"
    ) as caught:
        trace(model, Graph(forward, {"x": torch.ones(2, 2)}, {"x": {0: "n"}}), where="m")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


def test_an_axis_that_a_model_fixes():
    model = torch.nn.Identity()
    with pytest.raises(ConfigError, match=r"m: torch cannot export it \("):
        trace(model, Graph(lambda x: {"y": x.reshape(2, -1)}, {"x": torch.ones(2, 2)}, {"x": {0: "n"}}), where="m")


def test_a_task_without_graphs():
    task = Task(random_model("tsn"), ("a", "b"))
    with pytest.raises(ConfigError, match=r"task 'task': cannot be exported \(it has no graphs\); run it with torch"):
        task.graphs(ClipInput())


def test_a_classifier_of_another_input():
    from videozoo.transforms.captions import CaptionsInput

    task = Classify(random_model("tsn"), ("a", "b", "c", "d", "e"))
    with pytest.raises(ConfigError, match="input 'captions': the export of 'classify' takes clips; use 'clip'"):
        task.graphs(CaptionsInput())


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--format", "onnx", "--out", "x.onnx"], r"--out x\.onnx: the format onnx is a folder; give a name without"),
        (["--format", "paddle", "--out", "x"], r"the format paddle is written to a name ending in \.pdparams"),
    ],
)
def test_names_that_do_not_fit_the_format(run, args, message):
    with pytest.raises(VideoZooError, match=message):
        CliRunner().invoke(app, ["export", str(run), *args], catch_exceptions=False)


def test_the_command(run, tmp_path):
    done = CliRunner().invoke(app, ["export", str(run), "--format", "torch", "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert done.output.strip() == f"{tmp_path / 'out'}: torch from {run}"


def test_encoders_go_along(tmp_path):
    np.savez(tmp_path / "v.npz", sentences=np.array(["a ring", "a disc"]), vectors=np.eye(2, 4, dtype=np.float32))
    task = {"name": "ground", "encoder": {"name": "vectors", "path": str(tmp_path / "v.npz")}}
    out = export_network(write_run("tall", tmp_path / "run", task=task), tmp_path / "out", runtime="torch")
    (tmp_path / "v.npz").unlink()
    backend = open_exported(out, trusted=True).backend
    assert backend.outputs({"sentence": "a disc"}, graph="sentence")["vector"].tolist() == [0, 1, 0, 0]
