"""Clips of events: the right frames, in whole files, in bounded memory."""

from __future__ import annotations

import numpy as np
import pytest

from tests.stream.conftest import FPS, counting_network, of_kind, streamed
from videozoo.errors import ConfigError
from videozoo.io.decode import open_video
from videozoo.io.encode import write_video
from videozoo.stream import record
from videozoo.stream.answering import Timing
from videozoo.stream.events import OpenEvent
from videozoo.stream.messages import ClipWritten, EventEnded
from videozoo.stream.record import Margins, Recorder
from videozoo.stream.source import open_source

DARK, BRIGHT = 20, 230
EVENT = range(30, 45)  # the bright frames
BITS = 7


@pytest.fixture
def video(tmp_path):
    return made_video(tmp_path / "video.mp4")


def made_video(path, fps=FPS):
    """80 frames, dark but for an event; squares at the top are the frame's number in binary."""
    frames = []
    for n in range(80):
        frame = np.full((96, 96, 3), BRIGHT if n in EVENT else DARK, np.uint8)
        for bit in range(BITS):
            frame[:12, 12 * bit : 12 * bit + 12] = 255 * (n >> bit & 1)
        frames.append(frame)
    write_video(path, frames, fps=fps)
    return path


def numbers(path):
    """The numbers of the frames in a clip, read from their squares."""
    with open_video(path) as reader:
        return [
            sum(int(picture[4:8, 12 * bit + 4 : 12 * bit + 8].mean() > 127) << bit for bit in range(BITS))
            for _, picture in reader.stream()
        ]


def bright_clips(messages):
    return [clip for clip in of_kind(messages, ClipWritten) if clip.label == "bright"]


def test_a_clip_has_the_frames_around_its_event(video, tmp_path, counting):
    folder = tmp_path / "clips"
    messages, summary = streamed(counting, video, record=folder, margins=Margins(before_s=1.0, after_s=0.5))
    (clip,) = bright_clips(messages)
    assert numbers(clip.path) == list(range(20, 50))
    assert (clip.start_s, clip.end_s) == pytest.approx((2.0, 5.0))
    assert (clip.num_frames, clip.lost_frames, clip.problem) == (30, 0, None)
    assert summary.num_clips == len(of_kind(messages, ClipWritten)) == len(list(folder.iterdir())) == 3
    assert summary.num_failed_clips == 0


def test_clips_at_the_ends_of_the_stream_are_shorter(video, tmp_path, counting):
    messages, _ = streamed(counting, video, record=tmp_path / "clips", margins=Margins(5.0, 5.0))
    (clip,) = bright_clips(messages)
    assert numbers(clip.path) == list(range(80))
    dark = [clip for clip in of_kind(messages, ClipWritten) if clip.label == "dark"]
    assert [numbers(clip.path)[-1] for clip in dark] == [79, 79]


def test_a_long_event_has_a_clip_of_limited_length(video, tmp_path, counting):
    messages, _ = streamed(counting, video, record=tmp_path / "clips", margins=Margins(0.5, 0.5, longest_s=1.0))
    (clip,) = bright_clips(messages)
    assert numbers(clip.path) == list(range(25, 35))
    assert of_kind(messages, EventEnded)[1].end_s == pytest.approx(4.5)  # the event itself is whole


def test_no_file_is_replaced(video, tmp_path, counting):
    for _ in range(2):
        streamed(counting, video, record=tmp_path / "clips")
    assert len(list((tmp_path / "clips").iterdir())) == 6


def test_a_slow_network_does_not_thin_clips(tmp_path):
    source = open_source(str(made_video(tmp_path / "video.mp4", fps=60)))  # as if live
    network = counting_network(slow_s=0.05)
    margins = Margins(before_s=1 / 6, after_s=1 / 12)
    timing = Timing(window_s=5 / 60)  # every frame
    messages, summary = streamed(
        network, source, timing=timing, record=tmp_path / "clips", margins=margins, queue_frames=2
    )
    assert summary.dropped_frames > 20
    (clip,) = bright_clips(messages)
    found = numbers(clip.path)
    assert found == list(range(found[0], found[-1] + 1))
    assert len(found) > 10


def test_a_full_memory_makes_a_file_wait(video, tmp_path, counting, monkeypatch):
    monkeypatch.setattr(record, "MOST_BYTES", 15 * 96 * 96 * 1.5)  # fifteen frames
    held = []
    keep = Recorder.keep
    monkeypatch.setattr(Recorder, "keep", lambda self, frame: keep(self, frame) or held.append(self.held_frames))
    messages, _ = streamed(counting, video, record=tmp_path / "clips", margins=Margins(1.0, 0.5))
    (clip,) = bright_clips(messages)
    assert numbers(clip.path) == list(range(20, 50))
    assert max(held) <= 15


def test_a_memory_that_is_too_small_does_not_stop_a_file(video, tmp_path, counting, windowed, monkeypatch):
    monkeypatch.setattr(record, "MOST_BYTES", 4 * 96 * 96 * 1.5)  # less than before_s, and than a window
    for network, timing in ((counting, Timing()), (windowed, Timing(2.0, 0.5))):
        _, summary = streamed(network, video, timing=timing, record=tmp_path / "clips")
        assert summary.num_frames == 80


def test_a_full_memory_loses_frames_of_a_live_source(video, tmp_path, monkeypatch):
    monkeypatch.setattr(record, "MOST_BYTES", 4 * 96 * 96 * 1.5)  # four frames
    with open_video(video) as reader:
        from videozoo.stream.source import Frame

        recorder = Recorder(tmp_path, reader.info, Margins(0.0, 0.0), waits=False)
        frames = [Frame(time_s, 0.0, decoded, reader) for time_s, decoded in reader.sources(0.0)]
        for frame in frames[:20]:
            recorder.keep(frame)
        assert recorder.held_frames == 4
        recorder.begin(OpenEvent("late", 1.0, 2.0, 1.0))
        (clip,) = recorder.close()
    assert numbers(clip.path) == [16, 17, 18, 19]


def test_a_clip_that_cannot_be_written_is_reported(video, tmp_path, counting, monkeypatch):
    from videozoo.errors import DataError

    def refuse(path, *_, **__):
        raise DataError(f"{path}: cannot be written (no space left on device); free some space")

    monkeypatch.setattr(record, "write_video", refuse)
    messages, summary = streamed(counting, video, record=tmp_path / "clips")
    assert summary.num_failed_clips == 3
    assert "no space left" in bright_clips(messages)[0].problem
    assert summary.num_answers == 80


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"before_s": -1.0}, r"--before-s: got -1; needs seconds, 0 or more"),
        ({"after_s": float("inf")}, r"--after-s: got inf"),
        ({"longest_s": 0.0}, r"--longest-s: got 0; needs seconds above 0"),
    ],
)
def test_margins_out_of_range(args, message):
    with pytest.raises(ConfigError, match=message):
        Margins(**args)
