from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest

from tests.stream.conftest import FPS, NAMES, SPEC, counting_network, of_kind, streamed
from videozoo.contracts.video import VideoInfo
from videozoo.errors import ConfigError, DecodeError
from videozoo.io.decode import open_video
from videozoo.predict.predictor import Predictor
from videozoo.stream.answering import Timing, WindowAnswerer
from videozoo.stream.events import Hysteresis
from videozoo.stream.messages import Answered, Began, EventBegan, EventEnded, Reconnected
from videozoo.stream.session import Settings, StreamSession
from videozoo.stream.source import FileSource, Frame, Source, open_source

CUT = [0, 3, 3, 1]  # dark, bright for two seconds, dim


class Gray(Source):
    """Gray frames without a file, as many as wanted; of each connection `per_connection`."""

    def __init__(self, num_frames, *, drops, fps=FPS, per_connection=10**9, fails=False):
        self.name, self.drops = "gray", drops
        self.num_frames, self.per_connection, self.fails = num_frames, per_connection, fails
        self.info = VideoInfo("gray", float("inf"), fps, None, 16, 16, 0, "none", "rgb24", 0.0, 0)
        self.is_closed = False

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        import time

        for number in range(self.num_frames):
            if stop.is_set():
                return
            yield Frame(number / self.info.fps, time.monotonic(), number, self, number // self.per_connection)
        if self.fails:
            raise DecodeError("gray", "the stream broke off", "check the source")

    def picture(self, source):
        return np.full((16, 16, 3), 230, np.uint8)

    @property
    def damaged_frames(self):
        return 3

    def close(self):
        self.is_closed = True


def times(messages):
    return [round(message.time_s, 3) for message in of_kind(messages, Answered)]


def test_windows_are_those_of_predict(windowed, gray_video):
    video = gray_video("a.mp4", CUT)
    messages, summary = streamed(windowed, video, timing=Timing(0.6, 0.3))
    wanted = Predictor(windowed)(str(video), window_s=0.6, stride_s=0.3).windows
    found = of_kind(messages, Answered)
    regular = [window for window in wanted if round(window.start_s / 0.3, 6) % 1 == 0]
    assert len(found) == len(regular) == 12
    for answered, window in zip(found, regular, strict=True):
        assert answered.window == pytest.approx((window.start_s, window.end_s))
        assert answered.to_dict()["labels"] == window.answer.to_dict(top=5)["labels"]
        assert answered.time_s == pytest.approx(window.end_s - 1 / FPS)  # its last frame is the newest
    assert summary.num_frames == 40
    assert summary.dropped_frames == 0


def test_every_frame_is_converted_and_scaled_once(windowed, gray_video, monkeypatch):
    converted, scaled = [], []
    picture, scale = Frame.picture, type(SPEC).scaled
    monkeypatch.setattr(Frame, "picture", lambda frame: converted.append(frame.time_s) or picture(frame))
    monkeypatch.setattr(type(SPEC), "scaled", lambda *args, **named: scaled.append(1) or scale(*args, **named))
    streamed(windowed, gray_video("a.mp4", CUT), timing=Timing(0.5, 0.1))  # each frame is in five windows
    assert len(converted) == len(set(converted)) == 40
    assert len(scaled) == 40


def test_frame_by_frame_with_a_state(counting, gray_video):
    messages, _ = streamed(counting, gray_video("a.mp4", CUT))
    assert of_kind(messages, Began)[0].mode == "frames"
    assert counting.backend.seen == [1, *range(1, 41)]  # the first is the warm-up
    assert times(messages) == [round(k / FPS, 3) for k in range(40)]
    labels = [message.label for message in of_kind(messages, Answered)]
    assert labels == [NAMES[c] for c in np.repeat(CUT, FPS)]


def test_frames_at_the_distance_of_the_clips(counting, gray_video):
    messages, _ = streamed(counting, gray_video("a.mp4", CUT), timing=Timing(window_s=1.0))  # 5 frames in a second
    assert times(messages) == [round(k / 5, 3) for k in range(20)]


def test_answers_at_most_every_so_many_seconds(counting, windowed, gray_video):
    video = gray_video("a.mp4", CUT)
    messages, _ = streamed(counting, video, timing=Timing(every_s=0.5))
    assert times(messages) == [0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5]
    assert counting.backend.seen[-1] == 40  # the network takes the frames between
    messages, _ = streamed(windowed, video, timing=Timing(0.5, 0.1, every_s=1.0))
    assert [message.window[1] for message in of_kind(messages, Answered)] == pytest.approx([0.5, 1.5, 2.5, 3.5])


def test_events_of_frames_and_of_windows(counting, windowed, gray_video):
    video = gray_video("a.mp4", [0, 1, 1, 2])
    messages, summary = streamed(counting, video)
    ended = [(m.label, m.start_s, m.end_s) for m in of_kind(messages, EventEnded)]
    assert ended == [("dark", 0, 1), ("dim", 1, pytest.approx(3)), ("light", 3, pytest.approx(4))]
    assert [m.label for m in of_kind(messages, EventBegan)] == ["dark", "dim", "light"]
    assert summary.num_events == 3
    messages, _ = streamed(windowed, video, timing=Timing(0.5, 0.1))
    for found, wanted in zip(of_kind(messages, EventEnded), ended, strict=True):
        assert found.label == wanted[0]
        assert (found.start_s, found.end_s) == pytest.approx(wanted[1:], abs=0.25)  # half a window at the very end


def test_nothing_is_an_answer(counting, gray_video):
    video = gray_video("a.mp4", [0, 2])
    messages, summary = streamed(counting, video, none_below=0.9999)
    assert {m.label for m in of_kind(messages, Answered)} == {None}
    assert all(0.5 < m.score < 0.9999 for m in of_kind(messages, Answered))
    assert not of_kind(messages, EventBegan)
    assert summary.num_events == 0
    assert of_kind(messages, Answered)[0].to_dict()["label"] is None


def test_a_slow_network_drops_the_oldest_frames_and_counts_them():
    network = counting_network(slow_s=0.004)
    messages, summary = streamed(network, Gray(300, drops=True), queue_frames=4)
    assert summary.num_frames == 300
    assert summary.dropped_frames > 100
    assert summary.num_answers + summary.dropped_frames == 300
    assert times(messages)[-1] == 29.9  # the newest frames are answered
    assert of_kind(messages, Answered)[-1].dropped_frames == summary.dropped_frames


def test_a_source_that_waits_loses_nothing():
    network = counting_network(slow_s=0.001)
    _, summary = streamed(network, Gray(200, drops=False), queue_frames=2)
    assert (summary.num_answers, summary.dropped_frames) == (200, 0)


def test_a_new_connection_begins_anew(counting, windowed):
    messages, summary = streamed(counting, Gray(30, drops=False, per_connection=12))
    assert counting.backend.seen == [1, *range(1, 13), *range(1, 13), *range(1, 7)]
    assert [m.time_s for m in of_kind(messages, Reconnected)] == [1.2, 2.4]
    events = [(m.start_s, m.end_s) for m in of_kind(messages, EventEnded)]
    assert events == [pytest.approx(x) for x in [(0, 1.2), (1.2, 2.4), (2.4, 3)]]
    assert summary.num_reconnects == 2
    messages, _ = streamed(windowed, Gray(30, drops=False, per_connection=12))
    ends = [m.window[1] for m in of_kind(messages, Answered)]
    assert ends == pytest.approx([0.5, 0.75, 1.0, 1.7, 1.95, 2.2, 2.9])  # no window holds frames of two connections


def test_a_source_that_breaks_off_leaves_a_whole_report(counting):
    source, messages = Gray(12, drops=False, fails=True), []
    session = StreamSession(counting, source, Settings())
    with pytest.raises(DecodeError, match="gray: the stream broke off; check the source"):
        session.run(messages.append)
    assert messages[-1].num_answers == 12
    assert messages[-1].damaged_frames == 3
    assert of_kind(messages, EventEnded)
    assert source.is_closed


def test_stop_ends_with_a_summary(counting):
    source = Gray(10**9, drops=False)
    session = StreamSession(counting, source, Settings())
    messages = []

    def sink(message):
        messages.append(message)
        if len(messages) == 30:
            session.stop()

    summary = session.run(sink)
    assert 25 <= summary.num_answers <= 35
    assert of_kind(messages, EventEnded)
    assert source.is_closed


def test_a_limit_of_seconds(counting):
    messages, _ = streamed(counting, Gray(10**9, drops=False), limit_s=2.0)
    assert times(messages)[-1] == 1.9


def test_a_long_stream_holds_few_frames(windowed, monkeypatch):
    held, complete = [], WindowAnswerer._complete
    monkeypatch.setattr(
        WindowAnswerer,
        "_complete",
        lambda self, until_s: held.append(self._held.num_frames) or complete(self, until_s),
    )
    streamed(windowed, Gray(3000, drops=False), timing=Timing(1.0, 0.5))
    assert max(held) <= 12
    assert len(held) == 3000


def test_a_file_as_if_live_takes_its_time(counting, gray_video, monkeypatch):
    now_s = [100.0]

    class Clock(threading.Event):
        def wait(self, timeout=None):
            now_s[0] += max(timeout, 0.0)
            return False

    monkeypatch.setattr("videozoo.stream.source.time.monotonic", lambda: now_s[0])
    with open_video(gray_video("a.mp4", [0, 1])) as reader:
        frames = list(FileSource(reader).frames(Clock()))
    assert [frame.arrived_s - 100 for frame in frames] == pytest.approx([k / FPS for k in range(20)])
    assert now_s[0] == pytest.approx(100 + 2.0)


def test_latency_is_from_the_arrival_of_the_frame(gray_video):
    network = counting_network(slow_s=0.02)
    messages, summary = streamed(network, gray_video("a.mp4", [0]))
    assert all(m.latency_s >= 0.02 for m in of_kind(messages, Answered))
    assert summary.latency_p95_s >= summary.latency_median_s >= 0.02


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Settings(none_below=2.0), r"--none-below: got 2; needs a score, 0 to 1"),
        (lambda: Settings(limit_s=0.0), r"--for-s: got 0; needs seconds above 0"),
        (lambda: Settings(queue_frames=0), r"--queue: got 0; needs 1 frame or more"),
        (lambda: Timing(window_s=0.0), r"--window: got 0; needs seconds above 0"),
        (lambda: Timing(stride_s=float("nan")), r"--stride: got nan; needs seconds above 0"),
        (lambda: Timing(every_s=-1.0), r"--every-s: got -1; needs seconds, 0 or more"),
        (lambda: Hysteresis(on=0.1), r"--on, --off: got 0.1 and 0.4"),
    ],
)
def test_settings_out_of_range(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_windows_have_no_place_in_a_network_with_a_state(counting):
    with pytest.raises(ConfigError, match=r"--stride: stub answers after every frame, not in windows; leave it out"):
        StreamSession(counting, Gray(1, drops=False), Settings(timing=Timing(stride_s=1.0)))


def test_a_network_without_a_length_of_clips_needs_one():
    import dataclasses

    from tests.slim.conftest import GrayBackend, network_of
    from videozoo.decoding.classify import ClassifyDecoder

    spec = dataclasses.replace(SPEC, sampling="segments", fps=None)
    network = network_of(GrayBackend(spec), ClassifyDecoder(NAMES), spec)
    with pytest.raises(ConfigError, match=r"--window: is missing; the clips of stub were whole videos"):
        StreamSession(network, Gray(1, drops=False), Settings())


def test_a_missing_file():
    with pytest.raises(DecodeError, match=r"no-such.mp4: there is no such file"):
        open_source("no-such.mp4")
