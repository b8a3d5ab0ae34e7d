import json
import pickle
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from PIL import Image
from torch import nn

from videozoo.contracts.answer import Labels
from videozoo.engine import evaluate as module
from videozoo.engine.evaluate import Evaluation, evaluate
from videozoo.errors import ConfigError, DataError, VideoZooError
from videozoo.metrics.classification import Classification
from videozoo.metrics.parts import Matrix
from videozoo.report.page import draw_matrix, write_report
from videozoo.tasks.task import Task

NAMES = ("left", "<b>right</b>", 'up "&" away')


class Echo(Task):
    """Answers with the scores that the batch holds as its video."""

    def __init__(self, class_names=NAMES):
        super().__init__(nn.Linear(1, 1), class_names)
        self.seen = []

    def predict(self, batch):
        self.seen.append((self.training, torch.is_inference_mode_enabled(), batch["video"].dtype))
        return [Labels(scores=row.float().numpy(), names=self.class_names) for row in batch["video"]]

    def metrics(self):
        return [Classification(self.class_names)]


class Spec:
    def to_device(self, batch, device):
        return {**batch, "video": batch["video"].to(device) / 10}


def batches(num=6, size=2, *, start=0, bad=()):
    """Samples whose scores point at class i % 3; the truth is that but for every third sample."""
    for first in range(start, start + num, size):
        index = torch.arange(first, min(first + size, start + num))
        video = torch.nn.functional.one_hot(index % 3, 3) * 10.0
        label = torch.where(index % 3 == 2, 0, index % 3)
        yield {"id": [f"v{i}" for i in index.tolist()], "video": video, "label": label, "bad": []}
    if bad:
        yield {"id": [], "bad": list(bad)}


def run(loader, task=None, **options):
    return evaluate(task or Echo(), loader, Spec(), device="cpu", **options)


def test_scores_every_sample_once_and_names_the_rest():
    done = []
    found = run(batches(bad=[("v9", "no video stream")]), protocol={"split": "val"}, progress=done.append)
    assert found.scores["top1"] == pytest.approx(100 * 4 / 6)
    assert (found.num_scored, found.num_total) == (6, 7)
    assert found.coverage == "6 of 7 scored"
    assert found.not_scored == [("v9", "no video stream")]
    assert found.protocol == {"split": "val", "device": "cpu", "precision": "fp32"}
    assert found.intervals["top1"].low < found.scores["top1"] < found.intervals["top1"].high
    assert done == [2, 4, 6, 7]


def test_samples_with_damage_that_the_decoder_concealed_are_noted():
    damaged = {"v1": 3, "v4": 1}
    loader = ({**b, "damaged_frames": torch.tensor([damaged.get(i, 0) for i in b["id"]])} for b in batches(60))
    found = run(loader)
    assert found.damaged == damaged
    assert "the decoder concealed 4 damaged frames of 2 samples: v1 (3), v4 (1)" in found.notes()
    assert found.notes()[1:] == run(batches(60)).notes()


def test_recordings_widen_the_interval_and_few_samples_are_noted():
    alone, grouped = run(batches(60)), run(batches(60), groups={f"v{i}": f"r{i // 10}" for i in range(60)})
    widths = [found.intervals["top1"].high - found.intervals["top1"].low for found in (alone, grouped)]
    assert widths[0] < widths[1]
    assert (alone.num_groups, grouped.num_groups) == (None, 6)
    assert alone.notes() == []
    assert grouped.notes() == [
        "only 6 recordings scored: too few to compare models; evaluate on more to narrow the intervals"
    ]
    assert run(batches(3)).notes()[0].startswith("only 3 samples scored")


def test_three_of_three_is_no_certainty():
    clips = {"id": ["a", "b", "c"], "video": torch.eye(3) * 10.0, "label": torch.arange(3), "bad": []}
    found = run([clips])
    assert found.scores["top1"] == 100.0
    assert found.intervals["top1"].low == pytest.approx(43.85, abs=0.01)
    assert found.intervals["top1"].high == 100.0


def test_predicts_in_eval_mode_without_gradients_and_puts_the_mode_back():
    task = Echo().train()
    run(batches(), task)
    assert task.seen == [(False, True, torch.float32)] * 3
    assert task.training
    with pytest.raises(ZeroDivisionError):
        run((1 / 0 for _ in range(1)), task)
    assert task.training


def test_precision_sets_the_autocast_of_predict():
    class Asks(Echo):
        def predict(self, batch):
            self.cast = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else None
            return super().predict(batch)

    for precision, expected in (("fp32", None), ("bf16", torch.bfloat16)):
        task = Asks()
        assert run(batches(), task, precision=precision).protocol["precision"] == precision
        assert task.cast == expected
    with pytest.raises(ConfigError, match=r"precision: there is no 'bf61'; did you mean 'bf16'\?"):
        run(batches(), precision="bf61")


@pytest.mark.parametrize(
    ("loader", "message"),
    [
        ([*batches(), *batches()], "v0: was scored twice"),
        (batches(bad=[("v0", "broken")]), "v0: was scored twice in one evaluation"),
        (
            batches(0, bad=[("a", "moov atom not found")]),
            "none of 1 sample could .* first is a: moov atom not found",
        ),
        ([], "none of 0 samples could be scored$"),
        ([{"id": ["a"], "video": torch.zeros(1, 3)}], "a: has no label"),
    ],
)
def test_what_cannot_be_scored_is_an_error(loader, message):
    with pytest.raises(DataError, match=message):
        run(loader)


def test_a_sample_that_never_came_is_an_error():
    assert run(batches(), num_total=6).num_total == 6
    with pytest.raises(DataError, match="the loader gave 6 of 7 samples"):
        run(batches(), num_total=7)


def test_a_task_that_answers_too_little_is_named():
    class Short(Echo):
        def predict(self, batch):
            return super().predict(batch)[1:]

    with pytest.raises(VideoZooError, match=r"Short\.predict returned 1 values for 2 samples"):
        run(batches(), Short())


def share(rank):
    return batches(4, start=4 * rank, bad=[(f"bad{rank}", "why")])


def test_ranks_together_find_what_one_does(monkeypatch):
    shares = [
        module._run(
            Echo(), share(rank), Spec(), device=torch.device("cpu"), precision="fp32", groups=None, progress=None
        )
        for rank in range(2)
    ]

    def all_gather_object(found, mine):
        assert mine[1:] == shares[1][1:]
        found[:] = pickle.loads(pickle.dumps(shares))

    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(dist, "all_gather_object", all_gather_object)
    monkeypatch.setattr(dist, "get_rank", lambda: 0)
    monkeypatch.setattr(dist, "broadcast_object_list", lambda found: None)
    together = run(share(1), num_total=10)
    monkeypatch.undo()
    alone = run(batches(8, bad=[("bad0", "why"), ("bad1", "why")]))
    assert together.scores == alone.scores
    assert together.num_scored == 8
    assert together.not_scored == alone.not_scored


class Costly(Classification):
    """Counts how often its process has computed it."""

    computed = 0

    def __init__(self, names, *, breaks=False):
        super().__init__(names)
        self.breaks = breaks

    def compute(self):
        if self.breaks:
            raise DataError("METEOR: its Java program broke off")
        Costly.computed += 1
        return super().compute()


class Scored(Echo):
    def __init__(self, metric):
        super().__init__()
        self.metric = metric

    def metrics(self):
        return [self.metric]


def _rank(rank, path, out):
    dist.init_process_group("gloo", init_method=f"file://{path}", rank=rank, world_size=2)
    found = run(share(rank), Scored(Costly(NAMES)), num_total=10)
    with pytest.raises(DataError, match="METEOR: its Java program broke off"):
        run(share(rank), Scored(Costly(NAMES, breaks=True)))
    torch.save((dict(found.scores), found.num_scored, found.not_scored, Costly.computed), f"{out}.{rank}")
    dist.destroy_process_group()


@pytest.mark.long
def test_two_processes_find_what_one_does(tmp_path):
    mp.spawn(_rank, args=(tmp_path / "meet", tmp_path / "out"), nprocs=2)
    alone = run(batches(8, bad=[("bad0", "why"), ("bad1", "why")]))
    for rank in range(2):
        *found, computed = torch.load(f"{tmp_path / 'out'}.{rank}")
        assert found == [alone.scores, 8, alone.not_scored]
        assert computed == (rank == 0)  # by one for all


# ---- the report ---------------------------------------------------------------------------------------


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.links, self.tags, self.text, self.open = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href", "data", "action", "srcset")]
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture
def report(tmp_path):
    evaluation = run(
        batches(9, bad=[("<img src=http://x/y.png>.mp4", "no <video> & no audio")]),
        protocol={"checkpoint": "runs/a/best.pt", "input": {"num_frames": 8, "mean": [0.5, 0.5]}},
    )
    return write_report(evaluation, tmp_path / "eval" / "val", title="runs/a & co"), evaluation


def test_the_page_needs_nothing_outside_and_escapes_all_text(report):
    path, _ = report
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert {"script", "link", "video"}.isdisjoint(page.tags)
    assert [link for link in page.links if not link.startswith("data:image/png;base64,")] == []
    assert not re.search(r"url\(|@import", text)
    assert page.tags.count("b") == 3  # one a score, none from a class name
    assert page.tags.count("img") == 1
    shown = "".join(page.text)
    for expected in ("<b>right</b>", 'up "&" away', "no <video> & no audio", "9 of 10 scored", "runs/a & co"):
        assert expected in shown
    for expected in (
        "Protocol",
        "runs/a/best.pt",
        "num_frames 8",
        "Most confused pairs",
        "Classes, worst first",
    ):
        assert expected in shown


def test_report_json_holds_everything(report):
    path, evaluation = report
    found = json.loads((path.parent / "report.json").read_text(encoding="utf-8"))
    assert found["scores"] == evaluation.scores
    assert (found["num_scored"], found["num_total"]) == (9, 10)
    assert found["not_scored"] == [{"id": "<img src=http://x/y.png>.mp4", "reason": "no <video> & no audio"}]
    assert found["intervals"]["top1"]["level"] == 0.95
    assert found["matrices"]["confusion"]["counts"] == [[3, 0, 3], [0, 3, 0], [0, 0, 0]]
    assert found["protocol"]["input"]["num_frames"] == 8
    assert {row["id"]: row["correct"] for row in found["tables"]["samples"]} == {
        f"v{i}": int(i % 3 != 2) for i in range(9)
    }
    assert found["tables"]["classes"][-1] == {
        "index": 2, "class": NAMES[2], "samples": 0, "correct": 0, "accuracy %": None,
    }  # fmt: skip


def test_the_picture_shows_the_counts(report):
    path, _ = report
    with Image.open(path.parent / "confusion.png") as picture:
        pixels = np.asarray(picture.convert("RGB"), dtype=int)
    cell, margin = 64, picture.width - 3 * 64 - 1
    shade = [[pixels[margin + r * cell + 5, margin + c * cell + 5].sum() for c in range(3)] for r in range(3)]
    assert shade[1][1] < shade[0][0] == shade[0][2] < shade[2][0] == 3 * 255


@pytest.mark.parametrize("num_classes", [1, 3, 50, 51, 400])
def test_pictures_of_any_number_of_classes_fit_a_page(num_classes):
    counts = np.eye(num_classes, dtype=np.int64) * 12345
    names = [("行走", "a" * 60, "walk")[i % 3] for i in range(num_classes)]
    picture = draw_matrix(Matrix("m", "M", names, counts))
    assert 64 <= picture.width == picture.height <= 1400


def test_a_metric_without_parts_is_reported_by_its_scores(tmp_path):
    class Mean:
        def compute(self):
            return {"error_s": 0.5}

    evaluation = Evaluation({"error_s": 0.5}, [Mean()], 2, 2, [], 1.0, {})
    path = write_report(evaluation, tmp_path)
    assert "error_s" in path.read_text()
    assert json.loads((tmp_path / "report.json").read_text())["tables"] == {}
