import numpy as np
import pytest
from PIL import Image

from videozoo.contracts.answer import Caption, Labels, Segments
from videozoo.contracts.video import Span, VideoInfo
from videozoo.errors import ConfigError
from videozoo.predict import plot
from videozoo.predict.draw import PALETTE, clock, leaders
from videozoo.predict.plot import plot_timeline
from videozoo.predict.prediction import Prediction, Window

NAMES = ("jumps", "runs", "sits down on a chair that is much too far away to be seen")


def prediction(*rows, length_s=None):
    info = VideoInfo("a.mp4", length_s or float(len(rows)), 25.0, 100, 64, 48, 0, "h264", "yuv420p", 0.0, 1)
    answers = [Labels(np.array(row, np.float32), NAMES) for row in rows]
    windows = tuple(Window(float(i), i + 1.0, answer) for i, answer in enumerate(answers))
    return Prediction("folder/a.mp4", answers[0], info, windows)


def read(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def is_colour(picture, colour):
    return np.abs(picture - np.array(colour)).max(-1) < 3


def test_the_strip_has_the_best_label_of_each_moment(tmp_path):
    out = plot_timeline(prediction((1, 0, 0), (1, 0, 0), (0, 1, 0), (1, 0, 0)), tmp_path / "new" / "p.png")
    row = read(out)[plot.HEADER_PX + 4]
    jumps, runs = (np.flatnonzero(is_colour(row, PALETTE[i])) for i in (0, 1))
    left, right = jumps.min(), jumps.max()
    share = (np.array([runs.min(), runs.max()]) - left) / (right - left)
    assert share.tolist() == pytest.approx([0.5, 0.75], abs=0.01)


def test_a_lane_is_as_high_as_its_probability(tmp_path):
    out = plot_timeline(prediction((0.75, 0.25, 0), (0.75, 0.25, 0)), tmp_path / "p.png", top=2)
    middle = read(out)[:, plot.WIDTH_PX // 2 + 100]
    top_of_lane = plot.HEADER_PX + plot.STRIP_PX + plot.GAP_PX
    for lane, score in enumerate((0.75, 0.25)):
        start = top_of_lane + lane * (plot.LANE_PX + plot.GAP_PX)
        drawn = np.flatnonzero(is_colour(middle[start : start + plot.LANE_PX], PALETTE[lane]))
        assert 1 - drawn.mean() / plot.LANE_PX == pytest.approx(score, abs=0.04)


@pytest.mark.parametrize("length_s", [0.04, 7.0, 90.0, 8000.0])
def test_any_length_and_no_windows(tmp_path, length_s):
    whole = prediction((0.5, 0.3, 0.2), length_s=length_s)
    out = plot_timeline(Prediction(whole.id, whole.answer, whole.info), tmp_path / "p.png", top=9)
    assert read(out).shape[1] == plot.WIDTH_PX
    ticks = plot._ticks(length_s, most=10)
    assert 1 <= len(ticks) <= 11
    assert ticks[0] == 0
    assert ticks[-1] <= length_s


def test_lanes_are_for_those_who_win_longest_then_for_the_nearest():
    timeline = prediction((0.6, 0.4, 0), (0.1, 0.9, 0), (0.1, 0.6, 0.3), (0.5, 0.1, 0.4)).timeline
    assert leaders(timeline[:3], 3) == [NAMES[1], NAMES[0], NAMES[2]]
    assert leaders(timeline, 1) == [NAMES[1]]


def test_times_are_written_as_they_are_read():
    assert [clock(0.5, step_s=0.5), clock(7), clock(65), clock(7390)] == ["0.5 s", "7 s", "1:05", "2:03:10"]
    assert clock(0, step_s=60) == "0:00"


def test_at_least_one_label(tmp_path):
    with pytest.raises(ConfigError, match=r"top: should be at least 1; got 0"):
        plot_timeline(prediction((1, 0, 0)), tmp_path / "p.png", top=0)


INFO = VideoInfo("a.mp4", 10.0, 25.0, 250, 64, 48, 0, "h264", "yuv420p", 0.0, 1)


def found(*spans):
    return Prediction("folder/a.mp4", Segments(tuple(Span(*span) for span in spans)), INFO)


def test_segments_are_bars_as_high_as_their_score(tmp_path):
    out = plot_timeline(found((6.0, 8.0, "runs", 0.75), (2.0, 4.0, "jumps", 0.5)), tmp_path / "p.png")
    top_of_lane = plot.HEADER_PX + plot.STRIP_PX + plot.GAP_PX
    for lane, (place, score, start, end) in enumerate(((0, 0.75, 0.6, 0.8), (1, 0.5, 0.2, 0.4))):
        first = top_of_lane + lane * (plot.LANE_PX + plot.GAP_PX)
        rows = is_colour(read(out)[first : first + plot.LANE_PX], PALETTE[place])
        rows[:, :300] = False  # the name's own mark
        columns = np.flatnonzero(rows.any(0))
        strip = np.flatnonzero(is_colour(read(out)[plot.HEADER_PX + 4], plot.LANE) | (rows.any(0)))
        left, right = strip.min(), strip.max()
        share = (np.array([columns.min(), columns.max()]) - left) / (right - left)
        assert share.tolist() == pytest.approx([start, end], abs=0.01)
        assert 1 - np.flatnonzero(rows.any(1)).min() / plot.LANE_PX == pytest.approx(score, abs=0.04)


def test_nothing_found_is_a_picture_too(tmp_path):
    assert read(plot_timeline(found(), tmp_path / "p.png")).shape[1] == plot.WIDTH_PX


def test_words_are_dark_where_they_looked(tmp_path):
    attention = np.array([[0.1, 0.8, 0.1], [0.0, 0.2, 0.8]])
    caption = Caption("a ring", 0.5, ("a", "ring"), attention, (2.0, 5.0, 8.0))
    out = plot_timeline(Prediction("a.mp4", caption, INFO), tmp_path / "p.png")
    first = plot.HEADER_PX + plot.STRIP_PX + plot.GAP_PX
    edge = np.flatnonzero(is_colour(read(out)[first], plot.RULE))
    middles = edge[0] + ((edge[-1] - edge[0]) * np.array([0.1, 0.5, 0.9])).astype(int)
    for word, row in enumerate(attention):
        line = read(out)[first + word * plot.WORD_PX + plot.WORD_PX // 2, middles]
        np.testing.assert_allclose((255 - line[:, 0]) / (255 - PALETTE[0][0]), row / 0.8, atol=0.02)
