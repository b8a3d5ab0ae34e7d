import numpy as np
import pytest

from videozoo.contracts.answer import Embedding
from videozoo.errors import DataError
from videozoo.metrics.retrieval import RetrievalScores, rank_scores, ranks


def scored(videos, texts, *, ids="abcdefgh"):
    """A metric of videos `[n d]`, each with a list of sentences' vectors."""
    metric = RetrievalScores()
    answers = [Embedding(np.array(v, float), np.array(t, float)) for v, t in zip(videos, texts, strict=True)]
    metric.update(answers, {"id": list(ids[: len(answers)]), "captions": texts})
    return metric


def test_ranks_and_ties():
    scores = np.array([[3.0, 2, 1], [1, 2, 3], [2, 2, 2]])
    assert ranks(scores, np.array([0, 1, 2])).tolist() == [1, 2, 2]
    assert ranks(scores, np.array([0, 1, 2]), ties="first").tolist() == [1, 2, 1]
    assert ranks(scores, np.array([0, 1, 2]), ties="last").tolist() == [1, 2, 3]


def test_scores_of_ranks():
    found = np.array([1, 1, 4, 10, 11.0])
    assert rank_scores(found) == {"r1": 40, "r5": 60, "r10": 80, "median_rank": 4, "mean_rank": pytest.approx(5.4)}


def test_both_directions():
    videos = np.eye(3)
    texts = [[[1, 0, 0], [0, 1, 0.5]], [[0, 1, 0]], [[0.9, 0.2, 0.1]]]  # the second of the first is nearer to video 1
    scores = scored(videos, texts).compute()
    assert scores["r1"] == pytest.approx(50) and scores["mean_rank"] == pytest.approx((1 + 3 + 1 + 3) / 4)
    # video 0: its own 1.0 is best; video 1: its own ties with the other's; video 2: 0.5 of the first is better than 0.1
    assert scores["r1_video_to_text"] == pytest.approx(100 / 3)
    assert scores["mean_rank_video_to_text"] == pytest.approx((1 + 1.5 + 2) / 3)


def test_merging_equals_one_pass():
    rng = np.random.default_rng(0)
    videos, texts = rng.standard_normal((8, 4)), [rng.standard_normal((k % 3 + 1, 4)) for k in range(8)]
    whole, half, other = scored(videos, texts), scored(videos[:5], texts[:5]), scored(videos[5:], texts[5:], ids="fgh")
    half.merge(other)
    assert half.compute() == whole.compute()
    assert {interval.score for interval in whole.intervals()} == {"r1", "r5", "r10"}


def test_equal_vectors_are_noted():
    metric = scored(np.ones((4, 2)), [[[1, 1]]] * 4)
    assert metric.compute()["r1"] == 0 and metric.compute()["mean_rank"] == 2.5
    assert any("r1: ties between predictions" in note.text for note in metric.report_parts())


def test_data_without_sentences():
    with pytest.raises(DataError, match="the data has no sentences for its videos; evaluate on described videos"):
        RetrievalScores().update([], {"id": []})
    with pytest.raises(DataError, match="no video was scored"):
        RetrievalScores().compute()
