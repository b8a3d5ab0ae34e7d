import numpy as np
import pytest
import torch

from tests.predict.conftest import FPS, grey_frames
from videozoo.errors import DecodeError
from videozoo.io.decode import open_video
from videozoo.predict.frames import FrameArray, SlidingReader


class Counting(FrameArray):
    """Counts what is decoded; breaks at frame `breaks_at` of a sequence."""

    def __init__(self, frames, *, breaks_at=None):
        super().__init__(frames, fps=FPS)
        self.decoded = self.sought = 0
        self.breaks_at = breaks_at

    def frames_at(self, times_s):
        self.sought += 1
        return super().frames_at(times_s)

    def sources(self, start_s):
        for i, item in enumerate(super().sources(start_s)):
            if i == self.breaks_at:
                raise DecodeError("a.mp4", "damaged")
            self.decoded += 1
            yield item


def numbered(count):
    return (torch.arange(count, dtype=torch.uint8)[:, None, None, None]).expand(count, 3, 8, 8).clone()


def test_overlapping_windows_decode_each_frame_once_and_hold_one_window():
    reader = Counting(numbered(100))
    sliding = SlidingReader(reader)
    for start in range(91):
        times = [(start + i + 0.5) / FPS for i in range(10)]
        frames = sliding.frames_at(times)
        assert frames.data[:, 0, 0, 0].tolist() == list(range(start, start + 10))
        assert sliding._held.num_frames <= 11
    assert (reader.decoded, reader.sought) == (100, 0)


def test_repeated_and_unordered_times_and_those_outside():
    sliding = SlidingReader(Counting(numbered(10)))
    assert sliding.frames_at([-1.0, 0.55, 0.0, 0.55]).data[:, 0, 0, 0].tolist() == [0, 5, 0, 5]
    assert sliding.frames_at([99.0]).times_s == (pytest.approx(0.9),)


def test_going_back_asks_the_reader_itself():
    reader = Counting(numbered(50))
    sliding = SlidingReader(reader)
    sliding.frames_at([3.05])
    assert sliding.frames_at([0.05]).data[0, 0, 0, 0] == 0
    assert reader.sought == 1
    assert sliding.frames_at([4.05]).data[0, 0, 0, 0] == 40


def test_behind_a_damaged_place_it_seeks():
    reader = Counting(numbered(50), breaks_at=20)
    sliding = SlidingReader(reader)
    assert sliding.frames_at([1.05]).data[0, 0, 0, 0] == 10
    assert sliding.frames_at([3.05]).data[0, 0, 0, 0] == 30
    assert sliding.frames_at([4.05]).data[0, 0, 0, 0] == 40
    assert reader.sought == 2


def test_it_gives_what_seeking_gives(grey_video):
    video = grey_video("a.mp4", [0, 1, 2, 3])
    with open_video(video) as a, open_video(video) as b:
        sliding = SlidingReader(a)
        for start in range(6):
            times = [start * 0.5 + offset for offset in (0.0, 0.31, 0.72, 1.0)]
            found, expected = sliding.frames_at(times), b.frames_at(times)
            assert found.times_s == expected.times_s
            assert np.array_equal(found.data, expected.data)


def test_an_array_of_frames_reads_like_a_file():
    reader = FrameArray(grey_frames([0, 3]), fps=FPS)
    assert reader.num_frames == 20
    assert reader.frames_at([0.95, 1.0]).times_s == (pytest.approx(0.9), pytest.approx(1.0))
    assert [round(t, 2) for t, _ in reader.stream(start_s=1.7)] == [1.7, 1.8, 1.9]
