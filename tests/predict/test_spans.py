"""Any run answers for the spans that another one found."""

import pytest

from tests.predict.conftest import NAMES, SPEC, FindGrey, GreyMeter, NameGrey
from videozoo.contracts.video import Span
from videozoo.errors import ConfigError
from videozoo.predict.predictor import Predictor
from videozoo.tasks.network import torch_network


@pytest.fixture
def namer():
    return Predictor(torch_network(NameGrey(GreyMeter(), NAMES), SPEC, device="cpu"))


def test_each_span_has_an_answer_of_its_own(namer, grey_video):
    video = grey_video("a.mp4", [0, 1, 3, 2])
    spans = [Span(2.0, 3.0, "x", 0.4), Span(0.0, 1.0, "y", 0.9), Span(2.2, 4.0, "z", 0.1)]
    told = []
    prediction = namer(video, spans=spans, batch_size=2, progress=lambda *counts: told.append(counts))
    assert prediction.over_spans
    assert [window.found for window in prediction.windows] == spans
    assert [window.labels.best for window in prediction.windows[:2]] == ["bright", "dark"]
    assert told[-1] == (3, 3)


def test_what_a_finder_found(namer, grey_video):
    video = grey_video("a.mp4", [1, 0, 3, 3])
    found = Predictor(torch_network(FindGrey(GreyMeter(), NAMES), SPEC, device="cpu"))(video).spans()
    prediction = namer(video, spans=found)
    assert [(s.start_s, s.end_s, s.label) for s in prediction.spans()] == [(0, 1, "dim"), (2, 4, "bright")]


def test_no_spans_are_no_windows(namer, grey_video):
    prediction = namer(grey_video("a.mp4", [1, 1]), spans=[])
    assert prediction.labels.best == "dim"
    assert prediction.is_timed
    assert prediction.spans() == ()


def test_windows_and_spans_are_two_ways(namer, grey_video):
    with pytest.raises(ConfigError, match="spans: windows and spans exclude each other; give one of them"):
        namer(grey_video("a.mp4", [1]), spans=[], window_s=1.0)
