import numpy as np
import pytest
import torch

from videozoo.contracts.answer import Labels
from videozoo.errors import DataError
from videozoo.metrics.parts import Note, Table
from videozoo.metrics.youtube8m import YouTube8M


def seen(scores, truth, *, top_k=20, parts=1):
    """Metrics that have each seen a part of the samples."""
    names = tuple(map(str, range(scores.shape[1])))
    metrics = []
    for rows in np.array_split(np.arange(len(scores)), parts):
        metric = YouTube8M(names, top_k=top_k)
        for chunk in np.array_split(rows, 2):
            batch = {
                "id": [f"v{i}" for i in chunk],
                "label": torch.from_numpy(truth[chunk].astype(np.float32)),
            }
            metric.update([Labels(scores=s, names=names) for s in scores[chunk]], batch)
        metrics.append(metric)
    return metrics


def naive_ap(pairs, num_positive):
    """Precision at each distinct score, weighted by the recall that it adds."""
    area, hits_before = 0.0, 0
    for threshold in sorted({score for score, _ in pairs}, reverse=True):
        chosen = [right for score, right in pairs if score >= threshold]
        area += (sum(chosen) - hits_before) / num_positive * sum(chosen) / len(chosen)
        hits_before = sum(chosen)
    return area


def naive(scores, truth, top_k):
    pooled, by_class = [], {c: [] for c in range(scores.shape[1])}
    hits, perr = [], []
    for row, right in zip(scores, truth, strict=True):
        order = sorted(range(len(row)), key=lambda c: (-row[c], c))
        for c in (c for c in order[:top_k] if row[c] > 0):
            pooled.append((row[c], right[c]))
            by_class[c].append((row[c], right[c]))
        n = int(right.sum())
        hits.append(right[order[0]])
        perr.append(sum(right[c] and row[c] > 0 for c in order[:n]) / n if n else 0.0)
    positives = truth.sum(axis=0)
    aps = [naive_ap(by_class[c], positives[c]) for c in by_class if positives[c]]
    return {
        "gap": 100 * naive_ap(pooled, truth.sum()),
        "map": 100 * np.mean(aps),
        "hit1": 100 * np.mean(hits),
        "perr": 100 * np.mean(perr),
    }


@pytest.fixture(params=["distinct", "ties"])
def drawn(request):
    rng = np.random.default_rng(0)
    truth = rng.random((40, 30)) < 0.1
    truth[3], truth[:, 7] = False, False
    scores = np.clip(rng.random((40, 30)) * 0.6 + 0.4 * truth - 0.05, 0, 1).astype(np.float32)
    return (scores if request.param == "distinct" else np.floor(scores * 5) / np.float32(5)), truth


@pytest.mark.parametrize("top_k", [3, 20, 50])
def test_agrees_with_the_definitions_spelled_out(drawn, top_k):
    (metric,) = seen(*drawn, top_k=top_k)
    assert metric.compute() == pytest.approx(naive(*drawn, top_k))


def test_merging_parts_in_any_order_is_one_pass(drawn):
    (whole,) = seen(*drawn)
    first, second, third = seen(*drawn, parts=3)
    third.merge(first)
    third.merge(second)
    assert third.compute() == whole.compute()
    assert third.report_parts() == whole.report_parts()
    assert third.intervals() == whole.intervals()
    assert len(first._column("hit")) == 14  # the parts are as they were


def test_by_hand():
    scores = np.array([[0.9, 0.2, 0.0], [0.8, 0.7, 0.1]], np.float32)
    truth = np.array([[1, 0, 1], [0, 1, 0]], bool)
    (metric,) = seen(scores, truth, top_k=2)
    # pooled: .9 right, .8 wrong, .7 right, .2 wrong; three positives in all
    assert metric.compute() == pytest.approx(
        {
            "gap": 100 * (1 + 2 / 3) / 3,
            "map": 100 * (1 + 1 + 0) / 3,
            "hit1": 50.0,
            "perr": 100 * (0.5 + 0) / 2,
        }
    )


def test_offers_intervals_and_a_table(drawn):
    (metric,) = seen(*drawn)
    table, *notes = metric.report_parts()
    scores = metric.compute()
    intervals = {interval.score: interval for interval in metric.intervals()}
    assert set(intervals) == set(scores)
    assert all(interval.low < scores[name] < interval.high for name, interval in intervals.items())
    assert isinstance(table, Table)
    assert all(isinstance(note, Note) for note in notes)
    assert bool(notes) == (len(np.unique(drawn[0])) < drawn[0].size / 2)  # only ties move a score
    assert (7, "7", 0, None) in table.rows


def test_scores_of_zero_are_no_predictions():
    scores = np.array([[0.9, 0.0, 0.0]] * 2, np.float32)
    truth = np.array([[1, 1, 0]] * 2, bool)
    (metric,) = seen(scores, truth)
    assert metric.compute()["gap"] == 50.0
    assert metric.compute()["map"] == 50.0
    (nothing,) = seen(np.zeros((2, 3), np.float32), truth)
    assert nothing.compute()["gap"] == 0.0


def test_no_labels_at_all_is_an_error(drawn):
    with pytest.raises(DataError, match="no scored video has a label"):
        seen(drawn[0], np.zeros_like(drawn[1]))[0].compute()


def test_memory_does_not_grow_with_the_number_of_classes():
    rng = np.random.default_rng(0)
    scores = rng.random((50, 2000), np.float32)
    (metric,) = seen(scores, scores > 0.999)
    kept = sum(chunk.nbytes for chunks in metric._chunks.values() for chunk in chunks)
    assert kept <= 220 * len(scores)
