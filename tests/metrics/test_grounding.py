import numpy as np
import pytest

from videozoo.contracts.answer import Segments
from videozoo.contracts.video import Span
from videozoo.errors import DataError
from videozoo.metrics.grounding import MomentRecall, first_hits


def answers(*spans):
    return Segments(tuple(Span(a, b, "x", score) for a, b, score in spans))


def naive_recall(spans, truth, *, iou, rank):
    """Suppress by a list that shrinks, keep the first `rank`, look for one that overlaps."""

    def overlap(a, b):
        shared = max(0.0, min(a[1], b[1]) - max(a[0], b[0]))
        return shared / (a[1] - a[0] + b[1] - b[0] - shared)

    left = sorted(spans, key=lambda s: -s[2])
    kept = []
    while left:
        kept.append(left.pop(0))
        left = [s for s in left if overlap(s, kept[-1]) <= iou - 0.05]
    return any(overlap(s, truth) >= iou for s in kept[:rank])


def test_recall_against_a_plain_one():
    rng = np.random.default_rng(0)
    recall = MomentRecall(ious=(0.1, 0.3, 0.5, 0.7), ranks=(1, 2, 5))
    counts = {}
    for i in range(60):
        starts = rng.uniform(0, 20, 15)
        rows = [
            (float(s), float(s + rng.uniform(1, 8)), float(score))
            for s, score in zip(starts, rng.permutation(15), strict=True)
        ]
        truth = (5.0, float(rng.uniform(7, 12)))
        ranked = sorted(rows, key=lambda row: -row[2])
        recall.update([answers(*ranked)], {"id": [str(i)], "moment": np.array([truth])})
        for iou in recall.ious:
            for rank in recall.ranks:
                name = f"r{rank}_iou{iou:g}"
                counts[name] = counts.get(name, 0) + naive_recall(rows, truth, iou=iou, rank=rank)
    scores = recall.compute()
    assert {name: scores[name] for name in counts} == pytest.approx({k: 100 * v / 60 for k, v in counts.items()})
    assert 0 < scores["r1_iou0.5"] < scores["r5_iou0.5"] < 100


def test_overlapping_answers_share_one_place():
    moments = np.array([[0.0, 4.0], [0.2, 4.2], [10.0, 14.0]])
    scores = np.array([0.9, 0.8, 0.7])
    assert first_hits(moments, scores, np.array([10.0, 14.0]), ious=(0.5,)).tolist() == [1]


def test_halves_merge_to_the_whole_and_the_order_changes_nothing():
    rng = np.random.default_rng(1)
    batches = []
    for i in range(6):
        start = float(rng.uniform(0, 5))
        found = answers((start, start + 4, 0.8), (start + 5, start + 9, 0.2))
        batches.append(([found], {"id": [str(i)], "moment": np.array([[2.0, 6.0]])}))
    whole, first, second = MomentRecall(), MomentRecall(), MomentRecall()
    for i, batch in enumerate(batches):
        whole.update(*batch)
        (first if i % 2 else second).update(*batch)
    first.merge(second)
    assert first.compute() == whole.compute()
    assert [part.name for part in whole.report_parts() if hasattr(part, "rows")] == ["recall"]


def test_no_answer_is_wrong_and_mean_iou_is_of_the_best():
    recall = MomentRecall()
    batch = {"id": ["a", "b"], "moment": np.array([[0.0, 4.0], [0.0, 4.0]])}
    recall.update([Segments(()), answers((0.0, 2.0, 1.0), (0.0, 4.0, 0.5))], batch)
    assert recall.compute()["miou"] == 25.0
    assert recall.compute()["r5_iou0.1"] == 50.0


def test_nothing_to_score():
    with pytest.raises(DataError, match="grounding: no sentence was scored"):
        MomentRecall().compute()
    with pytest.raises(DataError, match="grounding: the data has no true moments"):
        MomentRecall().update([Segments(())], {"id": ["a"]})


# ---- several true moments -----------------------------------------------------------------------------


def naive_precision(found, truths, iou):
    """Each of the ten best takes the free true moment that it overlaps most; precision never falls."""

    def overlap(a, b):
        shared = max(0.0, min(a[1], b[1]) - max(a[0], b[0]))
        return shared / (a[1] - a[0] + b[1] - b[0] - shared)

    free, right = list(truths), []
    for moment in sorted(found, key=lambda row: -row[2])[:10]:
        best = max(free, key=lambda truth: overlap(moment, truth), default=None)
        is_right = best is not None and overlap(moment, best) >= iou
        right.append(is_right)
        if is_right:
            free.remove(best)
    precision = [sum(right[: n + 1]) / (n + 1) for n in range(len(right))]
    return sum(max(precision[n:]) for n in range(len(right)) if right[n]) / len(truths)


def test_several_moments_against_a_plain_definition():
    rng = np.random.default_rng(2)
    recall, plain = MomentRecall(ious=(0.5, 0.7)), {f"{iou:.2f}": [] for iou in np.arange(0.5, 1, 0.05)}
    first = {0.5: [], 0.7: []}
    for i in range(40):
        truths = [(float(s), float(s + rng.uniform(2, 9))) for s in (0.0, 20.0, 40.0)[: rng.integers(1, 4)]]
        rows = []
        for score in rng.permutation(14):
            start, end = truths[rng.integers(len(truths))]
            start = max(start + float(rng.normal(0, 0.8)), 0.0)
            rows.append((start, max(end + float(rng.normal(0, 0.8)), start + 0.5), float(score)))
        recall.update([answers(*sorted(rows, key=lambda row: -row[2]))], {"id": [str(i)], "moments": [truths]})
        for iou in plain:
            plain[iou].append(naive_precision(rows, truths, float(iou)))
        for iou in first:
            first[iou].append(any(naive_recall([max(rows, key=lambda r: r[2])], t, iou=iou, rank=1) for t in truths))
    scores = recall.compute()
    assert scores["map"] == pytest.approx(100 * np.mean(list(plain.values())))
    assert scores["map@0.5"] == pytest.approx(100 * np.mean(plain["0.50"]))
    assert scores["map@0.75"] == pytest.approx(100 * np.mean(plain["0.75"]))
    assert [scores["r1_iou0.5"], scores["r1_iou0.7"]] == pytest.approx([100 * np.mean(f) for f in first.values()])
    intervals = {i.score: i for i in recall.intervals()}
    assert set(intervals) == set(scores)
    assert all(intervals[name].low <= score <= intervals[name].high for name, score in scores.items())


def test_any_of_the_true_moments_will_do():
    recall = MomentRecall()
    recall.update([answers((30.0, 40.0, 0.9))], {"id": ["a"], "moments": [[(0.0, 5.0), (30.0, 40.0)]]})
    assert recall.compute()["r1_iou0.7"] == recall.compute()["miou"] == 100.0
    assert recall.compute()["map"] == 50.0  # one of two was found


def test_equal_scores_keep_their_listed_order():
    moments = np.array([[0.0, 4.0], [10.0, 14.0]])
    assert first_hits(moments, np.array([0.5, 0.5]), np.array([0.0, 4.0]), ious=(0.5,)).tolist() == [0]


def test_sentences_about_one_video_widen_the_interval():
    alone, together = MomentRecall(ious=(0.5,)), MomentRecall(ious=(0.5,))
    for i in range(40):
        found = answers((0.0, 4.0, 1.0)) if i % 8 < 4 else answers((6.0, 9.0, 1.0))
        batch = {"id": [str(i)], "moment": np.array([[0.0, 4.0]])}
        alone.update([found], batch)
        together.update([found], {**batch, "video": [f"v{i // 4}"]})
    narrow, wide = alone.intervals()[0], together.intervals()[0]
    assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low)
