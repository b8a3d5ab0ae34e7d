from videozoo.contracts.answer import Segments
from videozoo.contracts.video import Span
from videozoo.metrics.localization import Localization
from videozoo.metrics.parts import Table

TRUTH = {"a": (Span(0, 10, "x"), Span(20, 30, "y")), "b": (Span(5, 9, "x"),)}


def scored(found, **args):
    metrics = [Localization(("x", "y"), **args) for _ in range(2)]
    for metric, id_ in zip(metrics, TRUTH, strict=True):
        metric.update([found[id_]], {"id": [id_], "spans": [TRUTH[id_]]})
    metrics[0].merge(metrics[1])
    return metrics[0]


def test_the_truth_scores_full_marks():
    found = {id_: Segments(spans) for id_, spans in TRUTH.items()}
    scores = scored(found, tolerances_s=(1.0,)).compute()
    assert scores["map"] == scores["map@0.95"] == scores["spotting"] == scores["spotting@1s"] == 1.0
    assert scores["ar100"] == 100.0 and scores["num_empty"] == 0


def test_protocols():
    found = {id_: Segments(spans) for id_, spans in TRUTH.items()}
    assert "map@0.30" in scored(found, protocol="thumos14").compute()
    assert "map@0.30" not in scored(found).compute()


def test_recall_is_that_of_the_proposals():
    wrong = (Span(40, 50, "x", 0.5),)
    found = {id_: Segments(wrong, proposals=spans) for id_, spans in TRUTH.items()}
    scores = scored(found).compute()
    assert scores["ar100"] == 100.0 and scores["map"] == 0.0


def test_segments_without_names_have_no_precision():
    found = {id_: Segments(tuple(Span(s.start_s, s.end_s) for s in spans)) for id_, spans in TRUTH.items()}
    scores = scored(found).compute()
    assert scores["ar100"] == 100.0 and not [name for name in scores if name.startswith("map")]


def test_videos_without_any_proposal_are_named():
    metric = scored({"a": Segments(TRUTH["a"]), "b": Segments(())})
    assert metric.compute()["num_empty"] == 1
    empty, classes = metric.report_parts()
    assert isinstance(empty, Table) and empty.rows == [("b",)]
    assert isinstance(classes, Table) and classes.columns[2:4] == ("AP %", "AP@0.50 %")
    assert list(classes.rows) == [("x", 2, 50.0, 50.0, 50.0), ("y", 1, 100.0, 100.0, 100.0)]


def test_nothing_found_at_all_is_zero():
    metric = scored({"a": Segments(()), "b": Segments(())})
    assert metric.compute() == {"auc": 0.0, "num_empty": 2.0}
