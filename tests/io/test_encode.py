"""Writing video: what was given comes back, equal input gives equal bytes, failures leave nothing."""

from __future__ import annotations

import ctypes
import sys
from fractions import Fraction

import av
import numpy as np
import pytest

from tests.io.drawing import numbers, picture
from videozoo.errors import ConfigError, DataError
from videozoo.io.audio import read_audio
from videozoo.io.decode import open_video
from videozoo.io.encode import write_video

M_PERTURB = -6  # of mallopt: fills what is allocated and what is freed
TONE = (0.4 * np.sin(np.arange(32000) / 16000 * 2 * np.pi * 440)).astype(np.float32)


def frames(num=20, **size):
    return (picture(i, **size) for i in range(num))


def test_pictures_sound_and_rate_come_back(tmp_path):
    path = tmp_path / "a.mp4"
    write_video(path, frames(), fps=10, audio=TONE, audio_rate_hz=16000, metadata={"title": "greys"})
    with open_video(path) as video:
        assert numbers(video.frames_by_index(range(20)).data) == list(range(20))
        assert (video.info.fps, video.info.duration_s, video.info.codec) == (10, 2.0, "h264")
        assert video.info.audio_rate_hz == 16000
    sound = read_audio(path)
    assert np.abs(sound[1000:31000] - TONE[1000:31000]).max() < 0.01
    with av.open(str(path)) as container:
        assert container.metadata["title"] == "greys"


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv444p"])
def test_colours_come_back(tmp_path, pixel_format):
    for colour in [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (12, 120, 200)]:
        image = np.full((32, 32, 3), colour, np.uint8)
        write_video(tmp_path / "a.mp4", [image] * 2, fps=10, pixel_format=pixel_format, crf=1)
        with open_video(tmp_path / "a.mp4") as video:
            assert video.frames_at([0]).data[0, 9, 9].tolist() == pytest.approx(colour, abs=3)


def test_equal_input_gives_equal_bytes_and_the_index_comes_first(tmp_path):
    for name in ("a.mp4", "b.mp4"):
        write_video(tmp_path / name, frames(), fps=10, audio=TONE, audio_rate_hz=16000)
    data = (tmp_path / "a.mp4").read_bytes()
    assert data == (tmp_path / "b.mp4").read_bytes()
    assert 0 < data.find(b"moov") < data.find(b"mdat")


def test_key_frames_come_as_often_as_asked(tmp_path):
    write_video(tmp_path / "a.mp4", frames(), fps=10, gop_frames=5)
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert sum(packet.is_keyframe for packet in container.demux(video=0)) >= 4


def test_fractional_rates_stay_exact(tmp_path):
    write_video(tmp_path / "a.mp4", frames(), fps=30000 / 1001)
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert Fraction(container.streams.video[0].average_rate) == Fraction(30000, 1001)


def broken_source():
    yield picture(0)
    raise RuntimeError("the source failed")


@pytest.mark.parametrize(
    ("source", "settings", "error", "reason"),
    [
        (list, {}, DataError, "there are no frames to write"),
        (lambda: frames(width=33), {}, DataError, "33x32 cannot be stored as yuv420p; use even sizes"),
        (
            lambda: [picture(0), picture(0, width=48)],
            {},
            DataError,
            r"frame 1 is \(32, 48, 3\) after \(32, 32, 3\)",
        ),
        (lambda: [picture(0).astype(float)], {}, DataError, r"frame 0 is float64 .* needs uint8 \[h w 3\]"),
        (lambda: [picture(0)[..., 0]], {}, DataError, r"frame 0 is uint8 \(32, 32\)"),
        (frames, {"codec": "no_such_codec"}, ConfigError, "no_such_codec refuses 32x32 yuv420p"),
        (frames, {"pixel_format": "no_such_format"}, ConfigError, "refuses 32x32 no_such_format"),
        (frames, {"fps": 0}, ConfigError, "fps: got 0"),
        (frames, {"audio": TONE}, ConfigError, "only one of audio and audio_rate_hz is given"),
        (frames, {"audio": TONE[None], "audio_rate_hz": 16000}, DataError, r"needs mono \[samples\]"),
        (broken_source, {}, RuntimeError, "the source failed"),
    ],
)
def test_failures_say_why_and_leave_the_folder_as_it_was(tmp_path, source, settings, error, reason):
    (tmp_path / "a.mp4").write_bytes(b"an older file")
    with pytest.raises(error, match=reason):
        write_video(tmp_path / "a.mp4", source(), **{"fps": 10, **settings})
    assert [file.name for file in tmp_path.iterdir()] == ["a.mp4"]
    assert (tmp_path / "a.mp4").read_bytes() == b"an older file"


def test_unknown_places_are_refused(tmp_path):
    with pytest.raises(DataError, match="does not exist; create it first"):
        write_video(tmp_path / "no" / "a.mp4", frames(), fps=10)
    with pytest.raises(ConfigError, match=r"a\.words: cannot be written .* end the name in \.mp4"):
        write_video(tmp_path / "a.words", frames(), fps=10)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc alone fills memory")
@pytest.mark.parametrize("side_px", [32, 64, 80, 112])
def test_bytes_do_not_depend_on_what_the_memory_held(tmp_path, side_px):
    rng = np.random.default_rng(0)
    scene = np.kron(rng.integers(0, 256, (6, 6, 3)), np.ones((side_px // 4, side_px // 4, 1))).astype(np.uint8)
    frames = [scene[i // 2 : i // 2 + side_px, i % 8 : i % 8 + side_px] for i in range(20)]
    libc = ctypes.CDLL(None)
    written = set()
    for fill in (0, 1, 17, 85, 170, 200, 254, 255):
        libc.mallopt(M_PERTURB, fill)
        try:
            write_video(tmp_path / "a.mp4", frames, fps=10, crf=20, gop_frames=10)
        finally:
            libc.mallopt(M_PERTURB, 0)
        written.add((tmp_path / "a.mp4").read_bytes())
    assert len(written) == 1
