import numpy as np
import pytest
from PIL import Image

from videozoo.errors import ConfigError
from videozoo.predict import plot
from videozoo.predict.draw import PALETTE, clock, leaders
from videozoo.predict.plot import plot_timeline
from videozoo.predict.prediction import Prediction, Window
from videozoo.types import Labels, VideoInfo

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
