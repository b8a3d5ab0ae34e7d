import numpy as np
import pytest

from videozoo.contracts.answer import Boundary
from videozoo.decoding.shots import shots_of


def found(scores):
    """The shots and boundaries of frames of one second."""
    answer = shots_of(np.array(scores, float), np.arange(len(scores) + 1.0), threshold=0.5)
    return [(s.start_s, s.end_s) for s in answer.spans], [(b.start_s, b.end_s, b.score) for b in answer.boundaries]


@pytest.mark.parametrize(
    ("scores", "shots", "boundaries"),
    [
        ([0, 0, 0], [(0, 3)], []),
        ([0, 0.9, 0, 0], [(0, 2), (2, 4)], [(2, 2, 0.9)]),  # a cut after frame 1
        ([0, 0.6, 0.8, 0.7, 0], [(0, 2), (4, 5)], [(2, 4, 0.8)]),  # a dissolve
        ([0.9, 0, 0], [(1, 3)], []),  # it begins within a transition
        ([0, 0, 0.9], [(0, 3)], []),
        ([0.9, 0.9], [(0, 2)], []),
        ([0.5], [(0, 1)], []),
    ],
)
def test_shots_of_scores(scores, shots, boundaries):
    assert found(scores) == (shots, boundaries)


def test_the_answer():
    answer = shots_of(np.array([0, 0.9, 0, 0]), np.arange(5) / 2, threshold=0.5)
    assert answer.to_dict() == {
        "shots": [
            {"start_s": 0.0, "end_s": 1.0, "label": "shot 1", "score": 1.0},
            {"start_s": 1.0, "end_s": 2.0, "label": "shot 2", "score": 1.0},
        ],
        "boundaries": [{"time_s": 1.0, "start_s": 1.0, "end_s": 1.0, "score": 0.9}],
    }
    moved = answer.shifted(10.0)
    assert moved.boundaries == (Boundary(11.0, 11.0, 0.9),) and moved.spans[0].start_s == 10.0
    (lane,) = moved.lanes()
    assert lane.times_s == (10.0, 10.5, 11.0, 11.5) and lane.values.tolist() == [0, 0.9, 0, 0]
    assert len(answer.kept(min_score=None, max_overlap=0.5).spans) == 2
