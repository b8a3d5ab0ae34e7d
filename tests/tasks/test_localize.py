"""Localizers: from network answers to named seconds, and what they learn from segments."""

import json

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from tests.tasks.made_segments import NAMES, make_segments
from videozoo.data.activitynet import activitynet
from videozoo.decoding.anchors import anchors, encode
from videozoo.engine.evaluate import evaluate
from videozoo.engine.loader import EvalLoader
from videozoo.errors import ConfigError, DataError
from videozoo.models import create_model
from videozoo.tasks.build import build_task
from videozoo.tasks.localize_bmn import LocalizeBmn
from videozoo.tasks.localize_bsn import LocalizeBsn
from videozoo.tasks.localize_ctcn import LocalizeCtcn
from videozoo.transforms.snippets import ClassTrack, Extent, SnippetsInput, Timeline
from videozoo.transforms.tensors import collate

T, D = 20, 10
SPEC = SnippetsInput(num_snippets=T, feature_dim=4, sampling="windows", overlap=0.5)
SIZES = {"feature_dim": 4, "num_snippets": T, "max_duration": D}
NARROW_BMN = {**SIZES, "num_samples": 4, "base_dim": 16, "match_dim": 8, "sample_dim": 8}


def bmn(**args):
    torch.manual_seed(0)
    return LocalizeBmn(create_model("bmn", **NARROW_BMN), NAMES, **args)


def bsn(stage, **args):
    torch.manual_seed(0)
    return LocalizeBsn(create_model("bsn", **SIZES, hidden_dim=16), NAMES, stage=stage, **args)


def ctcn(**args):
    torch.manual_seed(0)
    widths = {"widths": (4, 4, 6, 8), "counts": (1, 1, 1, 1), "pyramid_dim": 8, "dropout": 0.0}
    return LocalizeCtcn(create_model("ctcn", num_classes=2, feature_dim=2, **widths), NAMES, **args)


def peaks(*places):
    row = np.full(T, 0.01)
    row[list(places)] = 0.9
    return row


def answer(start, end, *, iou=0.8):
    """BMN's outputs for one segment from column `start` to column `end`, the last inside."""
    sure = np.full((D, T), 0.1)
    sure[end - start, start] = iou
    return {"iou": sure, "match": sure, "start": peaks(start), "end": peaks(end)}


def made(tmp_path, subset="training", **args):
    found = make_segments(tmp_path, **args)
    found.pop("name")
    return activitynet(**found, subset=subset)


def batch_of(records, spec=SPEC, *, training=False):
    pipeline = spec.train_pipeline() if training else spec.eval_pipeline()
    return spec.to_device(collate([pipeline(record, np.random.default_rng(0)) for record in records]), "cpu")


def test_answers_become_seconds_of_the_video():
    found = bmn().decoder.segments([answer(4, 9)], Timeline(40.0, (Extent(0.0, 40.0),)), id_="a")
    best = found.spans[0]
    assert (best.start_s, best.end_s, best.label) == (8.0, 20.0, "")
    assert best.score == pytest.approx(0.9 * 0.9 * 0.8 * 0.8)
    assert found.proposals == found.spans


def test_windows_share_the_time_of_the_video():
    timeline = Timeline(28.0, (Extent(0.0, 20.0), Extent(10.0, 20.0)))
    found = bmn().decoder.segments([answer(12, 17), answer(2, 7)], timeline, id_="a")  # both see 12..18 s
    first, again = (span for span in found.spans if (span.start_s, span.end_s) == (12.0, 18.0))
    assert again.score == pytest.approx(first.score * np.exp(-1 / 0.4))  # found twice, and suppressed once
    assert max(span.end_s for span in found.spans) <= 28.0  # the last window reaches beyond the video


def test_proposals_are_named_by_the_extractor():
    probs = np.tile([[0.2, 0.7, 0.1]], (40, 1))
    probs[10:20] = [0.9, 0.05, 0.05]
    track = ClassTrack(np.arange(40) + 0.5, probs, ("Run", "dive", "other"))
    timeline = Timeline(40.0, (Extent(0.0, 40.0),), track)
    found = bmn().decoder.segments([answer(5, 9)], timeline, id_="a")  # 10..20 s
    best = found.spans[0]
    assert (best.label, best.start_s) == ("run", 10.0)
    assert best.score == pytest.approx(0.9 * found.proposals[0].score)
    assert len(found.spans) == 2 * len(found.proposals) and {s.label for s in found.spans} == set(NAMES)
    strangers = Timeline(40.0, (Extent(0.0, 40.0),), ClassTrack(track.times_s, probs, ("x", "y", "z")))
    assert {span.label for span in bmn().decoder.segments([answer(5, 9)], strangers, id_="a").spans} == {""}


def test_proposals_are_named_by_a_file_of_videos(tmp_path):
    path = tmp_path / "scores.json"
    path.write_text(json.dumps({"class": ["dive", "run"], "results": {"a": [0.25, 0.75]}}))
    task = bmn(video_scores=str(path), num_names=1)
    timeline = Timeline(40.0, (Extent(0.0, 40.0),))
    best = task.decoder.segments([answer(5, 9)], timeline, id_="v_a").spans[0]
    assert best.label == "run" and best.score == pytest.approx(0.75 * 0.9 * 0.9 * 0.8 * 0.8)
    track = ClassTrack(np.array([20.0]), np.array([[0.9, 0.1]]), ("dive", "run"))
    assert (
        task.decoder.segments([answer(5, 9)], Timeline(40.0, timeline.extents, track), id_="new").spans[0].label
        == "dive"
    )
    with pytest.raises(DataError, match=r"scores\.json: lacks the 2 scores of video 'b'; add them, or set"):
        task.decoder.segments([answer(5, 9)], timeline, id_="b")
    with pytest.raises(DataError, match=r"nowhere\.json: there is no such file of scores"):
        bmn(video_scores="nowhere.json").decoder.segments([answer(5, 9)], timeline, id_="a")


def test_a_video_may_have_no_proposal():
    """All ends are further from their starts than the longest proposal."""
    sure = np.ones((3, T))
    track = ClassTrack(np.array([20.0]), np.array([[0.9, 0.1]]), NAMES)
    found = bmn().decoder.segments(
        [{"iou": sure, "match": sure, "start": peaks(15), "end": peaks(4)}],
        Timeline(40.0, (Extent(0.0, 40.0),), track),
        id_="a",
    )
    assert found.spans == found.proposals == ()


def test_bsn_rates_by_stage():
    whole = {"start": peaks(4), "end": peaks(9), "action": np.zeros(T), "iou": np.full((D, T), 0.5)}
    timeline = Timeline(40.0, (Extent(0.0, 40.0),))
    first, second = (bsn(stage).decoder.segments([whole], timeline, id_="a").spans[0] for stage in ("tem", "pem"))
    assert first.score == pytest.approx(0.81) and second.score == pytest.approx(0.405)


def test_bsn_stages_train_one_network_each(tmp_path):
    batch = batch_of(made(tmp_path), training=True)
    for stage, learns in (("tem", "tem"), ("pem", "pem")):
        task = bsn(stage)
        task.train()(batch)["loss"].backward()
        assert {name.split(".")[1] for name, p in task.named_parameters() if p.grad is not None} == {learns}


def test_bsn_rates_proposals_as_its_map_says(tmp_path):
    """What training rates by list is what evaluation reads off the map."""
    model = bsn("pem").networks.eval()
    x = batch_of(made(tmp_path)[:1])["features"]
    with torch.no_grad():
        out = model(x)
        cells = torch.tensor([[2, 0], [5, 7]])  # (duration - 1, start)
        segments = torch.stack([cells[:, 1], cells.sum(1) + 1], 1) / T
        assert_allclose(model.rate(out.action, segments), out.iou[:, cells[:, 0], cells[:, 1]], atol=1e-6)


def test_ctcn_finds_what_its_anchors_are_told():
    task, video_s = ctcn(max_iou=0.5, min_decayed=0.1).eval(), 60.0
    boxes = anchors(512)
    truth = np.array([[10.0, 20.0], [30.0, 34.0]])
    extents = (Extent(0.0, 25.6), Extent(25.6, 25.6))
    answers = []
    for extent in extents:
        inside = truth[(truth[:, 0] >= extent.start_s) & (truth[:, 1] <= extent.start_s + extent.length_s)]
        offsets, classes = encode((inside - extent.start_s) * 20, np.array([2]), boxes)
        answers.append({"offsets": offsets, "scores": 20 * np.eye(3)[classes]})
    found = task.decoder.segments(answers, Timeline(video_s, extents), id_="a")
    assert [span.label for span in found.spans] == ["run", "run"]
    assert_allclose(sorted((span.start_s, span.end_s) for span in found.spans), truth, atol=1e-4)


@pytest.mark.parametrize("make", [bmn, lambda: bsn("tem"), ctcn], ids=["bmn", "bsn", "ctcn"])
def test_learns(tmp_path, make):
    task = make().train()
    spec = SPEC if task.model.name != "ctcn" else SnippetsInput(num_snippets=512, feature_dim=2, rows="scores")
    batch = batch_of(made(tmp_path), spec, training=True)
    optimizer = torch.optim.Adam(task.parameters(), lr=1e-2)
    losses = []
    for _ in range(12):
        torch.manual_seed(0)  # the bands that a map's loss draws
        loss = task(batch)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_an_evaluation_names_what_it_could_not_score(tmp_path):
    records = made(tmp_path, "validation")
    (tmp_path / "features" / "video_09.npz").unlink()
    again = activitynet(tmp_path / "annotations.json", features=tmp_path / "features", subset="validation")
    assert again.notes == ("1 of 4 videos without features: video_09",)
    loader = EvalLoader(again, SPEC.eval_pipeline(), batch_size=3)
    found = evaluate(bmn(), loader, SPEC, device="cpu", num_total=len(records))
    assert found.num_scored == 3 and [id_ for id_, _ in found.not_scored] == ["video_09"]
    assert {"auc", "ar100", "map", "map@0.50", "num_empty"} <= set(found.scores)


def test_a_task_wants_its_own_network():
    with pytest.raises(ConfigError, match=r"task\.name: localize_bmn reads the outputs of BMN, not of ctcn"):
        LocalizeBmn(ctcn().model, NAMES)


def test_a_task_is_built_from_its_record():
    record = {
        "model": {"name": "bmn", **NARROW_BMN},
        "task": {"name": "localize_bmn", "num_names": 1, "tolerances_s": [1.0, 2.0]},
        "input": SPEC.to_dict(),
    }
    task = build_task(record, NAMES)  # bmn takes no num_classes
    assert (task.decoder.num_names, task.tolerances_s, task.class_names) == (1, (1.0, 2.0), NAMES)
    (metric,) = task.metrics()
    metric.update([], {"id": [], "spans": []})
    assert metric.spotting.thresholds == (1.0, 2.0)
