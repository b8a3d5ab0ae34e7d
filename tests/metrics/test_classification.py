import copy
import itertools
import math

import numpy as np
import pytest
import torch

from videozoo.contracts.answer import Labels
from videozoo.errors import DataError
from videozoo.metrics.classification import Accuracy, Classification, MeanAveragePrecision, average_precision
from videozoo.metrics.parts import Matrix, Note, Table

NAMES = ("a", "b", "c", "d", "e", "f", "g")


def predictions(scores, names=NAMES):
    return [Labels(scores=np.asarray(row, np.float32), names=names[: len(row)]) for row in scores]


def batch(labels, ids=None):
    labels = torch.as_tensor(labels)
    return {"id": ids or [f"v{i}" for i in range(len(labels))], "label": labels}


def parts(metric, kind):
    return [part for part in metric.report_parts() if isinstance(part, kind)]


def table(metric, name):
    (found,) = [part for part in parts(metric, Table) if part.name == name]
    return found


@pytest.fixture
def drawn():
    """60 samples of 7 classes with many equal scores, and class 3 never the truth."""
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 6, (60, 7)) / 6
    labels = rng.choice([0, 1, 2, 4, 5, 6], 60)
    return scores, labels


def naive_accuracy(scores, labels, k):
    right = 0
    for row, label in zip(scores, labels, strict=True):
        order = sorted(range(len(row)), key=lambda i: (-row[i], i))
        right += label in order[:k]
    return 100 * right / len(labels)


# ---- one label a sample -------------------------------------------------------------------------------


def test_small_truth_by_hand():
    metric = Accuracy(("x", "y", "z"), top_k=(1, 2))
    scores = [[0.7, 0.2, 0.1], [0.4, 0.5, 0.1], [0.3, 0.3, 0.4], [0.1, 0.6, 0.3]]
    metric.update(predictions(scores), batch([0, 0, 0, 2]))
    found = metric.compute()
    assert found == pytest.approx({"top1": 25.0, "top2": 100.0, "mean_class": (100 / 3 + 0) / 2})
    assert metric.confusion().tolist() == [[1, 1, 1], [0, 0, 0], [0, 1, 0]]
    assert table(metric, "classes").rows == [
        (2, "z", 1, 0, 0.0),
        (0, "x", 3, 1, 100 / 3),
        (1, "y", 0, 0, None),
    ]
    assert table(metric, "confused_pairs").rows == [
        ("x", "y", 1, 100 / 3),
        ("x", "z", 1, 100 / 3),
        ("z", "y", 1, 100.0),
    ]


@pytest.mark.parametrize("k", [1, 2, 5])
def test_top_k_agrees_with_sorting_by_hand(drawn, k):
    scores, labels = drawn
    metric = Accuracy(NAMES, top_k=(k,))
    metric.update(predictions(scores), batch(labels))
    assert metric.compute()[f"top{k}"] == pytest.approx(naive_accuracy(scores, labels, k))


def test_a_model_that_says_nothing_is_class_0_and_not_always_right():
    metric = Accuracy(NAMES)
    metric.update(predictions(np.full((7, 7), 1 / 7)), batch(np.arange(7)))
    scores = metric.compute()
    assert scores["top1"] == pytest.approx(100 / 7)
    assert scores["top5"] == pytest.approx(500 / 7)
    assert metric.outcomes["v6"].rank == 6


def test_ties_are_judged_as_labels_top_shows_them(drawn):
    scores, labels = drawn
    metric = Accuracy(NAMES)
    metric.update(predictions(scores), batch(labels))
    for i, answer in enumerate(predictions(scores)):
        shown = [name for name, _ in answer.top(7)]
        assert shown.index(NAMES[labels[i]]) == metric.outcomes[f"v{i}"].rank


def test_k_above_the_number_of_classes_is_named_by_what_it_is():
    metric = Accuracy(("x", "y", "z"))
    metric.update(predictions([[0.1, 0.2, 0.7]]), batch([0]))
    assert list(metric.compute()) == ["top1", "top3", "mean_class"]
    assert list(Accuracy(NAMES).top_k) == [1, 5]


def test_mean_class_leaves_out_classes_without_samples(drawn):
    scores, labels = drawn
    metric = Accuracy(NAMES)
    metric.update(predictions(scores), batch(labels))
    each = [naive_accuracy(scores[labels == c], labels[labels == c], 1) for c in sorted(set(labels))]
    assert 3 not in labels
    assert metric.compute()["mean_class"] == pytest.approx(np.mean(each))


def test_merging_halves_is_one_pass(drawn):
    scores, labels = drawn
    ids = [f"v{i}" for i in range(60)]
    whole, first, second = Accuracy(NAMES), Accuracy(NAMES), Accuracy(NAMES)
    whole.update(predictions(scores), batch(labels, ids))
    for metric, part in ((first, slice(0, None, 2)), (second, slice(1, None, 2))):
        metric.update(predictions(scores[part]), batch(labels[part], ids[part]))
    second.merge(first)
    assert second.compute() == whole.compute()
    for ours, theirs in zip(second.report_parts(), whole.report_parts(), strict=True):
        if isinstance(ours, Matrix):
            assert np.array_equal(ours.counts, theirs.counts)
        else:
            assert ours == theirs


def test_every_outcome_is_kept_under_its_id():
    metric = Accuracy(("x", "y"))
    metric.update(predictions([[0.9, 0.1], [0.4, 0.6]]), batch([1, 1], ["p", "q"]))
    assert {id_: o.rank == 0 for id_, o in metric.outcomes.items()} == {"p": False, "q": True}
    rows = table(metric, "samples").rows
    assert [(row[0], row[1], row[2], row[5]) for row in rows] == [("p", "y", "x", 0), ("q", "y", "y", 1)]
    assert [row[0] for row in table(metric, "mistakes").rows] == ["p"]


@pytest.mark.parametrize(
    ("scores", "changed", "message"),
    [
        ([[0.5, 0.5]], {"label": None}, r"v0: has no label; evaluate on labeled data"),
        ([[0.5, 0.5]], {"label": torch.tensor([2])}, r"v0: label 2 is outside 0\.\.1, the model's classes"),
        ([[0.5, 0.5]], {"label": torch.tensor([-1])}, r"v0: label -1 is outside"),
        (
            [[0.5, 0.5]],
            {"label": torch.tensor([0.3])},
            r"got float32 labels of shape \(1,\) .* one class index",
        ),
        ([[0.5, math.nan]], {}, r"v0: the model's scores are nan"),
        ([[0.5, 0.1, 0.4]], {}, r"v0: 3 scores; the metric needs 2, one per class"),
        ([[0.5, 0.5]] * 2, {}, r"2 predictions for 1 samples; needs one per sample"),
        ([[0.5, 0.5]], {"label": torch.tensor([0, 1])}, r"2 labels for 1 samples; needs one per sample"),
    ],
)
def test_bad_batches_are_named(scores, changed, message):
    with pytest.raises(DataError, match=message):
        Accuracy(("x", "y")).update(predictions(scores), {**batch([0]), **changed})


def test_a_sample_that_comes_twice_is_an_error():
    metric = Accuracy(("x", "y"))
    metric.update(predictions([[1, 0]]), batch([0]))
    with pytest.raises(DataError, match="v0: was scored twice"):
        metric.merge(copy.deepcopy(metric))
    with pytest.raises(DataError, match="q: was scored twice"):
        metric.update(predictions([[1, 0]] * 2), batch([0, 0], ["q", "q"]))


def test_nothing_scored_is_an_error():
    for metric in (Accuracy(NAMES), MeanAveragePrecision(NAMES), Classification(NAMES)):
        with pytest.raises(DataError, match="no sample was scored"):
            metric.compute()


# ---- intervals ----------------------------------------------------------------------------------------


def test_intervals_are_offered_for_each_score(drawn):
    scores, labels = drawn
    metric = Accuracy(NAMES)
    metric.update(predictions(scores), batch(labels))
    found = {interval.score: interval for interval in metric.intervals()}
    assert list(found) == list(metric.compute()) == ["top1", "top5", "mean_class"]
    assert all(found[name].low < score < found[name].high for name, score in metric.compute().items())


def test_clips_of_one_recording_widen_the_interval(drawn):
    scores, labels = drawn
    alone, grouped = Accuracy(NAMES), Accuracy(NAMES)
    twice = np.repeat(np.arange(30), 2)  # every clip comes twice
    ids = [f"v{i}" for i in range(60)]
    alone.update(predictions(scores[twice]), batch(labels[twice], ids))
    grouped.update(predictions(scores[twice]), {**batch(labels[twice], ids), "group": [f"r{i}" for i in twice]})
    narrow, wide = alone.intervals()[0], grouped.intervals()[0]
    assert wide.high - wide.low > 1.3 * (narrow.high - narrow.low)
    assert alone.compute() == grouped.compute()


# ---- many labels a sample -----------------------------------------------------------------------------


def naive_average_precision(scores, truth):
    """Precision at each distinct score as a threshold, weighted by the recall that it adds."""
    area, recall = 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        chosen = scores >= threshold
        hits = truth[chosen].sum()
        area += (hits / truth.sum() - recall) * hits / chosen.sum()
        recall = hits / truth.sum()
    return area


def test_average_precision_by_hand():
    assert average_precision(np.array([0.9, 0.8, 0.7, 0.6]), np.array([1, 0, 1, 0])) == pytest.approx(5 / 6)
    assert average_precision(np.array([0.5, 0.5]), np.array([1, 0])) == pytest.approx(0.5)
    assert average_precision(np.array([0.5]), np.array([1]), num_positive=4) == pytest.approx(0.25)


def test_order_of_equal_scores_lies_between_worst_and_best():
    scores, positive = np.array([0.5, 0.5, 0.5, 0.1]), np.array([True, False, True, False])
    worst, step, best = (average_precision(scores, positive, ties=ties) for ties in ("worst", "step", "best"))
    assert (worst, best) == pytest.approx(((1 / 2 + 2 / 3) / 2, 1.0))
    orders = itertools.permutations(positive[:3])
    listed = [average_precision(np.array([0.4, 0.3, 0.2, 0.1]), np.array([*order, False])) for order in orders]
    assert worst == pytest.approx(min(listed)) and best == pytest.approx(max(listed))
    assert worst < step < best


def test_ties_are_told_where_they_move_a_score():
    truth = np.eye(2, dtype=np.float32)[[0, 1, 0, 1]]
    tied, clear = MeanAveragePrecision(("x", "y")), MeanAveragePrecision(("x", "y"))
    tied.update(predictions([[0.5, 0.5]] * 4), batch(truth))
    clear.update(predictions([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.4, 0.6]]), batch(truth))
    (note,) = parts(tied, Note)
    assert note.text.startswith("map: ties between predictions leave it between 41.67 and 100")
    assert not parts(clear, Note)


def test_map_agrees_with_thresholds_by_hand_and_ignores_order(drawn):
    rng = np.random.default_rng(1)
    scores, truth = drawn[0], rng.random((60, 7)) < 0.3
    truth[:, 3] = False
    ids = [f"v{i}" for i in range(60)]
    metric, shuffled = MeanAveragePrecision(NAMES), MeanAveragePrecision(NAMES)
    metric.update(predictions(scores), batch(truth.astype(np.float32), ids))
    for i in rng.permutation(60):
        shuffled.update(predictions(scores[i : i + 1]), batch(truth[i : i + 1].astype(np.float32), ids[i : i + 1]))
    expected = [naive_average_precision(scores[:, c], truth[:, c]) for c in range(7) if c != 3]
    hit = [truth[i, min(range(7), key=lambda c: (-scores[i, c], c))] for i in range(60)]
    assert metric.compute() == pytest.approx({"map": 100 * np.mean(expected), "hit1": 100 * np.mean(hit)})
    assert shuffled.compute() == pytest.approx(metric.compute())
    assert table(metric, "classes").rows[-1] == (3, "d", 0, None)


def test_merging_multi_label_halves_is_one_pass(drawn):
    truth = (np.random.default_rng(1).random((60, 7)) < 0.3).astype(np.float32)
    ids = [f"v{i}" for i in range(60)]
    whole, first, second = (MeanAveragePrecision(NAMES) for _ in range(3))
    whole.update(predictions(drawn[0]), batch(truth, ids))
    first.update(predictions(drawn[0][:20]), batch(truth[:20], ids[:20]))
    second.update(predictions(drawn[0][20:]), batch(truth[20:], ids[20:]))
    first.merge(second)
    assert first.compute() == whole.compute()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.tensor([0]), r"labels have shape \(1,\); multi-label data needs \(1, 2\) with 0 or 1"),
        (torch.tensor([[0.3, 0.7]]), r"labels are not all 0 or 1; evaluate without mixup or cutmix"),
    ],
)
def test_bad_multi_hot_labels_are_named(labels, message):
    with pytest.raises(DataError, match=message):
        MeanAveragePrecision(("x", "y")).update(predictions([[0.5, 0.5]]), {"id": ["v0"], "label": labels})


def test_classification_judges_by_the_kind_of_labels():
    single, multi = Classification(("x", "y")), Classification(("x", "y"))
    single.update(predictions([[0.9, 0.1]]), batch([0]))
    multi.update(predictions([[0.9, 0.1]]), batch([[0.0, 1.0]]))
    assert list(single.compute()) == ["top1", "top2", "mean_class"]
    assert multi.compute() == {"map": 100.0, "hit1": 0.0}
    empty = Classification(("x", "y"))
    empty.merge(single)
    single.merge(Classification(("x", "y")))
    assert empty.compute() == single.compute()
    with pytest.raises(DataError, match="labels mix single-label and multi-label data"):
        empty.merge(multi)
