"""Every registered model leaves torch with the same answers."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch.utils._pytree import tree_leaves

from tests.contract.made_runs import SENTENCE, WITHOUT_TASK, content_for, random_model, write_run
from tests.contract.tiny import TINY
from videozoo.contracts.answer import Segments
from videozoo.contracts.features import Features
from videozoo.export.export import export_network
from videozoo.export.formats import WRITERS
from videozoo.export.trace import trace
from videozoo.loading import load, load_searcher
from videozoo.models import list_models
from videozoo.predict.index import VideoIndex
from videozoo.runtimes.network import OPENERS
from videozoo.tasks.graph import Graph

QUICK = {"bmn", "mean_pool", "tsm"}  # one a task; the others take the exporter up to a minute
every_model = pytest.mark.parametrize(
    "name",
    [
        name if name in QUICK else pytest.param(name, marks=pytest.mark.long)
        for name in sorted(TINY.keys() - WITHOUT_TASK - {"tall"})  # tall answers sentences: a test of its own
    ],
)


def numbers(answer):
    """All that an answer holds: texts, and numbers in one row."""
    texts, values = [], []
    for leaf in tree_leaves(dataclasses.asdict(answer)):
        (texts if isinstance(leaf, str) else values).append(leaf)
    return texts, np.concatenate([np.ravel(np.asarray(x, np.float64)) for x in values if x is not None] or [[]])


def assert_same(found, wanted):
    if isinstance(wanted, Segments):  # scores so near that rounding turns their order
        assert all(any(is_near(span, other) for other in found.spans) for span in wanted.spans)
        assert len(found.spans) == len(wanted.spans)
        return
    (texts, values), (wanted_texts, wanted_values) = numbers(found), numbers(wanted)
    assert texts == wanted_texts
    np.testing.assert_allclose(values, wanted_values, atol=1e-4, rtol=1e-4)


def is_near(span, other):
    pairs = ((span.start_s, other.start_s), (span.end_s, other.end_s), (span.score, other.score))
    return span.label == other.label and all(abs(a - b) < 1e-4 for a, b in pairs)


def assert_norms_are_folded(path):
    """No batch norm follows a convolution; captioning and search have other graphs, without convolutions."""
    nodes = pytest.importorskip("onnx").load(path).graph.node if path.is_file() else ()
    made_by = {name: node.op_type for node in nodes for name in node.output}
    assert not [n.name for n in nodes if n.op_type == "BatchNormalization" and made_by.get(n.input[0]) == "Conv"]


@every_model
def test_exported_answers_are_those_of_torch(name, tmp_path):
    run = write_run(name, tmp_path / "run")
    out = export_network(run, tmp_path / "out")
    content = content_for(name, tmp_path)
    assert_norms_are_folded(out / "main.onnx")
    eager, exported = load(run, device="cpu"), load(out)
    # one window, then several at once: the graph takes any number; windows of features have rows of their own
    wanted, found = (predictor(content, window_s=1.5, stride_s=0.5) for predictor in (eager, exported))
    assert len(wanted.windows) > 2
    assert type(found.answer) is eager.network.decoder.answers
    assert_same(found.answer, wanted.answer)
    for window, other in zip(found.windows, wanted.windows, strict=True):
        assert_same(window.answer, other.answer)
    values = [numbers(window.answer)[1] for window in wanted.windows]
    assert any(len(a) != len(values[0]) or np.abs(a - values[0]).max() > 1e-3 for a in values), "the answers never vary"


def test_exported_moments_are_those_of_torch(tmp_path):
    run = write_run("tall", tmp_path / "run")
    out = export_network(run, tmp_path / "out")
    features = content_for("tall", tmp_path)
    assert isinstance(features, Features)
    hits = []
    for source in (run, out):
        searcher = load_searcher(source)
        videos = [searcher.look("a.mp4", features=part) for part in (features, features.between(0, 2.5))]
        assert len(videos[0].times_s) != len(videos[1].times_s)
        index = VideoIndex(searcher.run, (videos[0], dataclasses.replace(videos[1], path="b.mp4")))
        hits.append(searcher.ask(index, SENTENCE, top=4))
    assert [hit.video for hit in hits[0]] == [hit.video for hit in hits[1]]
    for ours, theirs in zip(*hits, strict=True):
        assert (ours.start_s, ours.end_s, ours.score) == pytest.approx(
            (theirs.start_s, theirs.end_s, theirs.score), abs=1e-4
        )


@pytest.mark.parametrize("name", sorted(WITHOUT_TASK))
def test_halves_of_a_model_export_alone(name, tmp_path):
    model = random_model(name)
    example = torch.randn(2, *model.input_shape)
    graph = Graph(lambda x: {"y": model(x)}, {"x": example}, {"x": {0: "batch"}})
    traced = trace(model, graph, where=name)
    compute = OPENERS["onnx"]([path.read_bytes() for path in WRITERS["onnx"](traced, tmp_path / "main")], device="cpu")
    for batch in (1, 3):
        x = torch.randn(batch, *model.input_shape)
        with torch.no_grad():
            np.testing.assert_allclose(compute({"x": x.numpy()}, ["y"])[0], model(x).numpy(), atol=1e-5)


def test_every_model_is_exported_here():
    assert set(list_models()) == set(TINY)
