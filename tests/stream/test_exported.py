"""Networks with a state, exported: frame by frame as in torch, and as the whole clip."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tests.contract import made_runs
from tests.contract.tiny import TINY
from tests.stream.conftest import FPS, SPEC, of_kind, streamed
from videozoo.decoding.classify import ClassifyDecoder
from videozoo.io.encode import write_video
from videozoo.loading import open_network
from videozoo.models import movinet
from videozoo.runtimes.graph import Graphs, StoredBackend
from videozoo.stream.answering import Timing
from videozoo.stream.messages import Answered


def test_a_stored_graph_gets_its_state_back():
    shape = ["streams", 3, 16, 16]
    stored = {
        "files": [],
        "inputs": [
            {"name": "frame", "type": "float32", "shape": shape},
            {"name": "state.count", "type": "float64", "shape": ["streams", 1]},
        ],
        "outputs": [{"name": name, "type": "float32", "shape": []} for name in ("features", "scores", "next.count")],
    }

    def compute(inputs, outputs):
        assert inputs["state.count"].dtype == np.float64
        count = inputs["state.count"] + inputs["frame"].mean((1, 2, 3))[:, None]
        return [count, np.concatenate([count, -count], 1), count]

    decoder = ClassifyDecoder(("a", "b"))
    backend = StoredBackend(Graphs("x", {"stream": (stored, compute)}), decoder, SPEC, stepper=stored)
    state = backend.start(2)
    assert state["count"].shape == (2, 1)
    frames = np.stack([np.full((1, 1, 3, 16, 16), gray, np.uint8) for gray in (0, 255)])
    for number in (1, 2, 3):
        outputs, state = backend.step({"video": frames}, state)
        assert outputs.keys() == {"features", "scores"}
        np.testing.assert_allclose(outputs["scores"], [[[0, 0]], [[number, -number]]], atol=1e-6)


def test_a_network_without_such_a_graph_answers_in_windows():
    assert StoredBackend(Graphs("x", {}), ClassifyDecoder(("a", "b")), SPEC).start() is None


@pytest.fixture
def moving(tmp_path):
    """Three seconds of noise that changes."""
    frames = np.random.default_rng(0).integers(0, 256, (30, 64, 64, 3), np.uint8)
    write_video(tmp_path / "moving.mp4", frames, fps=FPS)
    return tmp_path / "moving.mp4"


def causal_run(name: str, folder: Any, monkeypatch: pytest.MonkeyPatch, **args: Any) -> Any:
    monkeypatch.setitem(TINY, name, TINY[name] | {"is_causal": True} | args)
    return made_runs.write_run(name, folder)


def scores(messages):
    return np.array([[e["score"] for e in sorted(m.answer["labels"], key=str)] for m in of_kind(messages, Answered)])


@pytest.mark.parametrize("name", ["tsm", pytest.param("movinet", marks=pytest.mark.long)])
def test_a_run_streams_as_its_network_does_on_clips(name, tmp_path, moving, monkeypatch):
    network = open_network(causal_run(name, tmp_path / "run", monkeypatch), device="cpu")
    frames_s = network.spec.num_frames / FPS  # every frame
    messages, _ = streamed(network, moving, timing=Timing(window_s=frames_s))
    answers = of_kind(messages, Answered)
    assert len(answers) == 30
    model = network.backend.task.model
    with torch.inference_mode():
        from videozoo.io.decode import open_video

        with open_video(moving) as reader:
            pictures = np.stack([picture for _, picture in reader.stream()])
        clip = torch.as_tensor(np.asarray(network.spec.scaled(pictures))).permute(0, 3, 1, 2)[None]
        video = network.spec.to_device({"video": clip}, "cpu")["video"]
        for end in (1, 3, 30):
            if name == "tsm":
                features = model.forward_frames(video[:, :end])[:, -network.spec.num_frames :].mean(1)
                wanted = model.forward_head(features).softmax(-1)
            else:
                wanted = model(video[:, :end]).softmax(-1)
            found = {entry["name"]: entry["score"] for entry in answers[end - 1].answer["labels"]}
            np.testing.assert_allclose([found[f"class {i}"] for i in range(5)], wanted[0], atol=1e-5)


@pytest.mark.long
@pytest.mark.parametrize("name", ["tsm", "movinet"])
def test_an_exported_network_streams_as_in_torch(name, tmp_path, moving, monkeypatch):
    from videozoo.export.export import export_network

    sizes = (movinet.A0[0], movinet.BlockSize(16, 32, (3, 3, 3), stride=2))
    monkeypatch.setattr(movinet, "A0", sizes)  # the exporter takes a minute for the whole network
    run = causal_run(name, tmp_path / "run", monkeypatch)
    exported = open_network(export_network(run, tmp_path / "exported"))
    found = []
    for network in (open_network(run, device="cpu"), exported):
        messages, _ = streamed(network, moving, timing=Timing(window_s=network.spec.num_frames / FPS))
        found.append(scores(messages))
    assert found[0].shape == (30, 5)
    np.testing.assert_allclose(found[1], found[0], atol=2e-5)
    assert np.ptp(found[0], axis=0).max() > 1e-3, "the answers never vary"
