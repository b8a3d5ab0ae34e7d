import numpy as np
import pytest

from videozoo.decoding.shots import shots_of
from videozoo.errors import DataError
from videozoo.metrics.shots import ShotScores, match_transitions
from videozoo.transforms.shots import Film


@pytest.mark.parametrize(
    ("tolerance", "distance", "right"), [(0, 0, 1), (0, 1, 0), (1, 1, 1), (1, 2, 0), (2, 2, 1), (2, 3, 0)]
)
@pytest.mark.parametrize("sign", [1, -1])
def test_cuts_match_within_the_tolerance(tolerance, distance, right, sign):
    """The paper's own examples, see the docstring of its evaluation."""
    found = [(20 + sign * distance, 21 + sign * distance)]
    assert match_transitions(found, [(20, 21)], tolerance_frames=tolerance) == right


def test_each_transition_matches_once():
    assert match_transitions([(10, 11), (12, 13)], [(11, 12)]) == 1
    assert match_transitions([(10, 20)], [(9, 10), (15, 16)]) == 1
    assert match_transitions([(5, 6), (30, 31)], [(5, 6), (12, 18), (30, 31)]) == 2
    assert match_transitions([], [(5, 6)]) == match_transitions([(5, 6)], []) == 0


def scored(*cuts, truth, id_="a"):
    scores = np.zeros(40)
    scores[list(cuts)] = 1
    film = Film(np.zeros((40, 1, 1, 3), np.uint8), np.arange(41) / 24)
    return [shots_of(scores, film.times_s, threshold=0.5)], {"id": [id_], "film": [film], "transitions": [truth]}


def test_scores_over_videos():
    metric, other = ShotScores(), ShotScores()
    metric.update(*scored(9, 20, truth=((9, 10),)))  # one right, one false
    other.update(*scored(5, truth=((5, 6), (20, 30)), id_="b"))  # one right, one missed
    metric.merge(other)
    assert metric.compute() == pytest.approx({"f1": 200 * 2 / 6, "precision": 200 / 3, "recall": 200 / 3})
    assert {interval.score for interval in metric.intervals()} == {"f1", "precision", "recall"}


def test_nothing_found():
    metric = ShotScores()
    metric.update(*scored(truth=((9, 10),)))
    assert metric.compute() == {"f1": 0, "precision": 0, "recall": 0}


def test_videos_without_truth():
    predictions, batch = scored(9, truth=())
    del batch["transitions"]
    with pytest.raises(DataError, match="the data has no true transitions; evaluate on annotated videos"):
        ShotScores().update(predictions, batch)
    with pytest.raises(DataError, match="no video was scored"):
        ShotScores().compute()
