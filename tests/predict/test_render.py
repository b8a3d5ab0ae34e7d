import av
import numpy as np
import pytest

from tests.predict.conftest import FPS, LEVELS, NAMES, SPEC, GreyMeter, NameGrey, grey_frames
from videozoo.contracts.answer import Caption, Segments
from videozoo.contracts.video import Span
from videozoo.errors import ConfigError, DecodeError
from videozoo.io.audio import read_audio
from videozoo.io.decode import open_video, probe
from videozoo.predict import render as render_module
from videozoo.predict.draw import PALETTE
from videozoo.predict.prediction import Prediction
from videozoo.predict.predictor import Predictor
from videozoo.predict.render import render
from videozoo.tasks.network import torch_network

RATE_HZ = 16000


@pytest.fixture
def predictor():
    return Predictor(torch_network(NameGrey(GreyMeter(), NAMES), SPEC, device="cpu"))


def tone(seconds):
    times_s = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    return (0.5 * np.sin(2 * np.pi * 440 * times_s) * (times_s >= 1.0)).astype(np.float32)


def pictures(path, times_s):
    with open_video(path) as reader:
        return reader.frames_at(times_s).data.astype(int)


def near(picture, colour):
    """Share of the pixels that have about that colour."""
    return (np.abs(picture - np.array(colour)).max(-1) < 40).mean()


def test_small_videos_are_enlarged_and_keep_their_length(predictor, grey_video, tmp_path):
    video = grey_video("a.mp4", [0, 3], size=(32, 48))
    out = render(video, predictor(video), tmp_path / "new" / "out.mp4")
    found = probe(out)
    assert (found.width_px, found.height_px) == (384, 256)
    assert (found.duration_s, found.num_frames) == (pytest.approx(2.0), 20)
    assert not found.has_audio
    assert [p.name for p in out.parent.iterdir()] == ["out.mp4"]


def test_odd_sizes_become_even_and_large_ones_stay(predictor, tmp_path):
    frames = grey_frames([1], size=(261, 302))
    out = render(frames, predictor(frames, fps=FPS), tmp_path / "out.mp4")
    assert (probe(out).width_px, probe(out).height_px) == (302, 260)


def test_the_picture_is_left_alone_above_the_labels(predictor, grey_video, tmp_path):
    video = grey_video("a.mp4", [2])
    (picture,) = pictures(render(video, predictor(video), tmp_path / "out.mp4"), [0.5])
    assert np.abs(picture[:140] - LEVELS[2]).max() < 6
    panel = picture[-80:]
    assert near(panel, PALETTE[0]) > 0.1
    assert (panel.min(-1) > 230).mean() > 0.005  # letters


def test_labels_follow_the_windows(predictor, grey_video, tmp_path):
    video = grey_video("a.mp4", [0, 3, 0])
    prediction = predictor(video, window_s=1.0, stride_s=1.0)
    dark, bright, again = pictures(render(video, prediction, tmp_path / "out.mp4", top=1), [0.5, 1.5, 2.5])
    dark, bright, again = (p[-30:] for p in (dark, bright, again))
    assert near(dark, PALETTE[0]) > 0.3
    assert near(dark, PALETTE[1]) < 0.05
    assert near(bright, PALETTE[1]) > 0.3
    assert near(again, PALETTE[0]) > 0.3


def test_the_strip_shows_how_far_one_is(predictor, grey_video, tmp_path):
    video = grey_video("a.mp4", [0, 3])
    prediction = predictor(video, window_s=1.0, stride_s=1.0)
    early, late = pictures(render(video, prediction, tmp_path / "out.mp4"), [0.5, 1.5])
    heads = [int(p[:8].sum(-1).mean(0).argmax()) for p in (early, late)]
    assert heads == [pytest.approx(96, abs=3), pytest.approx(288, abs=3)]


def test_the_sound_is_kept_as_it_is(predictor, grey_video, tmp_path):
    video = grey_video("a.mp4", [0, 1], audio=tone(2), audio_rate_hz=RATE_HZ)
    out = render(video, predictor(video), tmp_path / "out.mp4")
    before, after = (read_audio(path, rate_hz=RATE_HZ, end_s=2.0) for path in (video, out))
    np.testing.assert_array_equal(before, after)
    assert np.abs(after[:15000]).max() < 0.05 < 0.4 < np.abs(after[17000:31000]).max()


def test_sound_that_the_container_does_not_hold_is_encoded_anew(predictor, grey_video, tmp_path, monkeypatch):
    video = grey_video("a.mp4", [0, 1], audio=tone(2), audio_rate_hz=RATE_HZ)

    def refuse(*_, **__):
        raise render_module.DataError("not this codec")

    monkeypatch.setattr(render_module, "add_sound", refuse)
    out = render(video, predictor(video), tmp_path / "out.mp4")
    sound = read_audio(out, rate_hz=RATE_HZ)
    assert np.abs(sound[:15000]).max() < 0.05 < 0.4 < np.abs(sound[17000:31000]).max()


def test_irregular_frames_come_at_their_time(predictor, tmp_path):
    path = tmp_path / "vfr.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        for tick, grey in ((0, 20), (1, 20), (2, 20), (12, 230), (13, 230), (19, 90)):
            frame = av.VideoFrame.from_ndarray(np.full((32, 48, 3), grey, np.uint8), format="rgb24")
            frame.pts = tick
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    out = render(path, predictor(path), tmp_path / "out.mp4")
    greys = pictures(out, [0.9, 1.6])[:, 50].mean((1, 2))
    assert greys.tolist() == pytest.approx([20, 230], abs=4)
    assert (probe(path).fps, probe(out).fps) == (
        4.0,
        10.0,
    )  # frames stay on screen; the picture does not jerk
    assert probe(out).duration_s == pytest.approx(2.0)


def test_a_video_that_breaks_off_leaves_nothing_behind(predictor, grey_video, tmp_path):
    video = grey_video("in/a.mp4", [0, 1, 2], gop_frames=5)
    prediction = predictor(video)
    content = video.read_bytes()
    video.write_bytes(content[: len(content) * 3 // 4])
    with pytest.raises(DecodeError, match=r"a\.mp4: "):
        render(video, prediction, tmp_path / "out" / "a.mp4")
    assert list((tmp_path / "out").iterdir()) == []


def test_at_least_one_label(predictor, grey_video, tmp_path):
    video = grey_video("a.mp4", [0])
    with pytest.raises(ConfigError, match=r"top: should be at least 1; got 0"):
        render(video, predictor(video), tmp_path / "out.mp4", top=0)


def found(video, *spans):
    with open_video(video) as reader:
        return Prediction(str(video), Segments(tuple(Span(*span) for span in spans)), reader.info)


def test_segments_are_shown_while_they_last(grey_video, tmp_path):
    video = grey_video("a.mp4", [2, 2, 2, 2])
    prediction = found(video, (1.0, 3.0, "runs", 1.0), (2.0, 3.5, "jumps", 0.5))
    before, one, both, other, after = pictures(render(video, prediction, tmp_path / "o.mp4"), [0.5, 1.5, 2.5, 3.2, 3.8])
    assert near(one[-30:], PALETTE[0]) > 0.3
    assert near(both[-60:-30], PALETTE[0]) > 0.3
    assert near(both[-30:], PALETTE[1]) > 0.1
    assert near(other[-30:], PALETTE[1]) > 0.1
    assert near(other[-30:], PALETTE[0]) < 0.05
    for picture in (before, after):
        assert np.abs(picture[40:] - LEVELS[2]).max() < 12


def test_the_strip_shows_where_segments_are(grey_video, tmp_path):
    video = grey_video("a.mp4", [2, 2, 2, 2])
    (last,) = pictures(render(video, found(video, (1.0, 2.0, "runs", 1.0)), tmp_path / "o.mp4"), [3.9])
    strip = last[2:5, :370].mean(0)
    runs = np.flatnonzero(np.abs(strip - np.array(PALETTE[0])).max(-1) < 40)
    assert (runs.min(), runs.max()) == (pytest.approx(96, abs=3), pytest.approx(192, abs=3))


def test_nothing_found_leaves_the_picture_alone(grey_video, tmp_path):
    video = grey_video("a.mp4", [2])
    (picture,) = pictures(render(video, found(video), tmp_path / "o.mp4"), [0.5])
    assert np.abs(picture[40:] - LEVELS[2]).max() < 12


def test_sentences_are_written_in_lines(grey_video, tmp_path):
    video = grey_video("a.mp4", [2])
    text = "a red ring grows and then a blue square moves left until it is out of the picture"
    with open_video(video) as reader:
        prediction = Prediction(str(video), Caption(text, 0.5), reader.info)
    (picture,) = pictures(render(video, prediction, tmp_path / "o.mp4"), [0.5])
    rows_with_letters = (picture.min(-1) > 230).sum(1) > 5
    lines = np.flatnonzero(np.diff(rows_with_letters[140:].astype(int)) == 1)
    assert len(lines) >= 2
    assert np.abs(picture[:100] - LEVELS[2]).max() < 6
