"""From a file to an answer on numpy alone: these tests also run where torch cannot be imported."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from tests.slim.conftest import NAMES
from videozoo.contracts.video import Span
from videozoo.io.decode import open_video
from videozoo.predict.answers import Answers
from videozoo.predict.extractor import Extractor
from videozoo.predict.index import RunMark, VideoIndex
from videozoo.predict.outputs import cut_spans
from videozoo.predict.plot import plot_timeline
from videozoo.predict.predictor import Predictor
from videozoo.predict.render import render
from videozoo.predict.search import Searcher

STORY = (0, 3, 1)


@pytest.fixture
def prediction(grays, gray_video):
    return Predictor(grays)(gray_video("story.mp4", STORY), window_s=1.0, stride_s=1.0)


def frames_of(path):
    with open_video(path) as reader:
        return reader.frames_at(np.arange(0.05, reader.info.duration_s, 0.1)).data


def test_a_short_video_has_one_answer(grays, gray_video):
    answer = Predictor(grays)(gray_video("bright.mp4", [3])).answer
    assert answer.top(1)[0][0] == "bright"
    assert answer.scores.sum() == pytest.approx(1)


def test_views_are_averaged(grays, gray_video):
    answer = Predictor(grays, views="3x3")(gray_video("light.mp4", [2])).answer
    assert answer.top(1)[0][0] == "light"


def test_windows_follow_the_time(prediction):
    found = [(w.start_s, w.end_s, w.answer.top(1)[0][0]) for w in prediction.windows]
    assert found == [(float(i), float(i + 1), NAMES[c]) for i, c in enumerate(STORY)]


def test_spans_of_another_run_are_answered(grays, gray_video):
    spans = [Span(1.0, 2.0, "here", 0.5), Span(2.0, 3.0, "there", 0.4)]
    found = Predictor(grays)(gray_video("story.mp4", STORY), spans=spans)
    assert [w.answer.top(1)[0][0] for w in found.windows] == ["bright", "dim"]


def test_answers_as_text(prediction):
    answers = Answers("stub", top=1).only(prediction)
    said = json.loads(answers.text("json"))
    windows = said["predictions"][0]["windows"]
    assert [w["labels"][0]["name"] for w in windows] == [NAMES[c] for c in STORY]
    subtitles = re.findall(r"\d\d:\d\d:\d\d,\d{3} --> .*\n(\w+)", answers.text("srt"))
    assert subtitles == [NAMES[c] for c in STORY]
    assert "bright" in answers.text("csv") and "bright" in answers.text("edl")


def test_timeline_and_rendered_video(prediction, tmp_path):
    with Image.open(plot_timeline(prediction, tmp_path / "timeline.png")) as picture:
        assert len(np.unique(np.asarray(picture).reshape(-1, 3), axis=0)) > 4
    drawn = frames_of(render(prediction.id, prediction, tmp_path / "drawn.mp4"))
    assert len(drawn) == 30
    assert np.ptp(drawn[15][-60:].astype(int)) > 60  # letters on what is one gray in the video


def test_clips_are_cut_to_the_frame(prediction, tmp_path):
    spans = [span for span in prediction.spans() if span.label == "bright"]
    (clip,) = cut_spans(prediction.id, spans, tmp_path / "clips")
    frames = frames_of(clip)
    assert len(frames) == 10
    assert np.abs(frames.astype(int) - 230).max() < 8


def test_features_follow_the_time(grays, gray_video):
    features = Extractor(grays, window_s=1.0, stride_s=1.0)(gray_video("story.mp4", STORY))
    assert features.values.argmin(1).tolist() == list(STORY)
    assert features.scores.argmax(1).tolist() == list(STORY)
    assert features.recipe.extractor == "stub"


def test_a_sentence_finds_its_moment(moments, gray_video, tmp_path):
    searcher = Searcher(Predictor(moments), RunMark("stub", moments.fingerprint()))
    videos = [searcher.look(gray_video(name, shown)) for name, shown in (("a.mp4", STORY), ("b.mp4", (0, 1, 2)))]
    index = VideoIndex(searcher.run, tuple(videos))
    hit = searcher.ask(index, "it is bright", top=1)[0]
    assert hit.video.endswith("a.mp4")
    assert (hit.start_s, hit.end_s) == (1.0, 2.0)
    assert hit.score > 0.9
    assert searcher.unseen("it is bright") == ["is", "it"]


def test_an_index_is_kept(moments, gray_video, tmp_path):
    pytest.importorskip("pyarrow")
    searcher = Searcher(Predictor(moments), RunMark("stub", moments.fingerprint()))
    index = VideoIndex(searcher.run, (searcher.look(gray_video("a.mp4", STORY)),))
    index.write(tmp_path / "index.parquet")
    asked = searcher.ask(VideoIndex.read(tmp_path / "index.parquet"), "now it is dim", top=1)
    assert [(hit.start_s, hit.end_s) for hit in asked] == [(2.0, 3.0)]
