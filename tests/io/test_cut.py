from fractions import Fraction

import av
import numpy as np
import pytest

from tests.io.drawing import draw, numbers
from videozoo.errors import DataError, DecodeError
from videozoo.io.audio import read_audio
from videozoo.io.cut import at_rate, copy_cut, cut
from videozoo.io.decode import open_video, probe
from videozoo.io.encode import write_video

RATE_HZ = 16000
FPS = 30


def shown(path):
    with open_video(path) as video:  # encoded twice, a picture may be half a number too dark
        return [numbers(frame[None] + 1)[0] for _, frame in video.stream()]


def exactly(path, out, *, start_s, end_s):
    with open_video(path) as video:
        cut(video, out, start_s=start_s, end_s=end_s, crf=0)


@pytest.fixture(scope="module")
def counting(tmp_path_factory):
    """60 frames that show their number, a key frame every 10."""
    return draw(tmp_path_factory.mktemp("cut") / "counting.mp4")


@pytest.fixture(scope="module")
def beeping(tmp_path_factory):
    """4 s, 25 frames/s; a beep of 0.1 s in each second's middle, the left channel only from 2 s on."""
    path = tmp_path_factory.mktemp("cut") / "beeping.mp4"
    times_s = np.arange(4 * RATE_HZ) / RATE_HZ
    beep = 0.5 * np.sin(2 * np.pi * 440 * times_s) * (np.abs(times_s % 1 - 0.5) < 0.05)
    sound = np.stack([beep, beep * (times_s < 2)])
    frames = (np.full((32, 32, 3), 60, np.uint8) for _ in range(100))
    write_video(path, frames, fps=25, audio=np.array_split(sound, 7, axis=1), audio_rate_hz=RATE_HZ)
    return path


def beeps(path):
    """Where the sound is loud, in seconds."""
    loud = np.abs(read_audio(path, rate_hz=RATE_HZ)) > 0.1
    edges = np.flatnonzero(np.diff(loud.astype(int)) == 1) / RATE_HZ
    return [t for i, t in enumerate(edges) if i == 0 or t - edges[i - 1] > 0.05]


def channels(path):
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray() for frame in container.decode(audio=0)]
    return np.concatenate(frames, axis=1)


@pytest.mark.parametrize("how", [exactly, copy_cut])
@pytest.mark.parametrize(("first", "last"), [(0, 10), (7, 9), (10, 20), (25, 45), (31, 60)])
def test_the_clip_has_just_the_frames_of_its_time(counting, tmp_path, how, first, last):
    how(counting, tmp_path / "clip.mp4", start_s=first / FPS, end_s=last / FPS)
    assert shown(tmp_path / "clip.mp4") == list(range(first, last))
    assert [p.name for p in tmp_path.iterdir()] == ["clip.mp4"]


def test_times_between_frames_go_to_the_nearest(counting, tmp_path):
    for start, end, expected in ((7.4, 9.4, [7, 8]), (7.6, 9.6, [8, 9]), (7.6, 7.7, [8]), (58.9, 99.0, [59])):
        exactly(counting, tmp_path / "clip.mp4", start_s=start / FPS, end_s=end / FPS)
        assert shown(tmp_path / "clip.mp4") == expected


@pytest.mark.parametrize("container", ["mkv", "ts", "mov", "avi"])
def test_other_containers(tmp_path, container):
    source = draw(tmp_path / f"source.{container}")
    exactly(source, tmp_path / "clip.mp4", start_s=25 / FPS, end_s=45 / FPS)
    assert shown(tmp_path / "clip.mp4") == list(range(25, 45))


def test_the_sound_is_that_of_the_frames(beeping, tmp_path):
    exactly(beeping, tmp_path / "clip.mp4", start_s=1.2, end_s=3.0)
    assert beeps(tmp_path / "clip.mp4") == pytest.approx([0.25, 1.25], abs=0.005)
    assert len(read_audio(tmp_path / "clip.mp4", rate_hz=RATE_HZ)) == pytest.approx(1.8 * RATE_HZ, abs=1200)
    left, right = channels(tmp_path / "clip.mp4")
    assert np.abs(left[:8000]).max() > 0.4 < np.abs(right[:8000]).max()
    assert np.abs(left[16000:]).max() > 0.4
    assert np.abs(right[16000:]).max() < 0.05


def test_sound_that_begins_later_and_ends_earlier(tmp_path):
    frames = (np.full((32, 32, 3), 60, np.uint8) for _ in range(50))
    source = tmp_path / "source.mp4"
    write_video(source, frames, fps=25, audio=np.ones(RATE_HZ // 2, np.float32) / 2, audio_rate_hz=RATE_HZ)
    exactly(source, tmp_path / "with.mp4", start_s=0.2, end_s=2.0)
    exactly(source, tmp_path / "without.mp4", start_s=1.2, end_s=2.0)
    assert len(read_audio(tmp_path / "with.mp4", rate_hz=RATE_HZ)) == pytest.approx(0.3 * RATE_HZ, abs=1200)
    assert probe(tmp_path / "without.mp4").num_frames == 20


@pytest.mark.parametrize("rate_hz", [44100, 96000])
def test_sound_has_no_holes_where_times_are_whole_milliseconds(tmp_path, rate_hz):
    source = tmp_path / "source.mkv"
    tone = (0.5 * np.sin(2 * np.pi * 220 * np.arange(3 * rate_hz) / rate_hz)).astype(np.float32)
    with av.open(str(source), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 32, 32, "yuv420p"
        audio = container.add_stream("pcm_s16le", rate=rate_hz, layout="mono")
        for _ in range(75):
            container.mux(video.encode(av.VideoFrame.from_ndarray(np.full((32, 32, 3), 60, np.uint8), format="rgb24")))
        container.mux(video.encode(None))
        for start in range(0, len(tone), 1000):
            piece = (tone[None, start : start + 1000] * 32767).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(piece, format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = rate_hz, start, Fraction(1, rate_hz)
            container.mux(audio.encode(frame))
    exactly(source, tmp_path / "clip.mp4", start_s=0.48, end_s=2.48)
    (found,) = channels(tmp_path / "clip.mp4")
    middle = found[4096:-8192]
    rate_hz = min(rate_hz, 48000)
    shift = round(rate_hz / 220 * 22)  # 22 periods, nearly a whole number of samples
    assert np.abs(middle[shift:] - middle[:-shift]).max() < 0.05  # a hole or a jump would break the period


def test_packets_keep_the_sound_in_step(beeping, tmp_path):
    copy_cut(beeping, tmp_path / "clip.mp4", start_s=1.2, end_s=3.0)
    assert beeps(tmp_path / "clip.mp4") == pytest.approx([0.25, 1.25], abs=0.005)


def test_odd_sizes_and_turned_pictures(tmp_path):
    source = draw(tmp_path / "source.mp4", width=33, height=65, pixel_format="yuv444p", rotation_deg=90)
    exactly(source, tmp_path / "clip.mp4", start_s=0.1, end_s=0.5)
    found = probe(tmp_path / "clip.mp4")
    assert (found.width_px, found.height_px, found.rotation_deg, found.num_frames) == (64, 32, 0, 12)


def test_a_still_stays_on_screen(tmp_path):
    source = draw(tmp_path / "source.mp4", times=[*range(10), *range(40, 50)])
    exactly(source, tmp_path / "clip.mp4", start_s=0.5, end_s=45 / FPS)
    found = shown(tmp_path / "clip.mp4")
    assert found[0] == 9  # what was on screen, though it came long before
    assert 12 <= found[-1] <= 14
    assert found == sorted(found)
    with open_video(source) as video:
        steps = np.diff([time_s for time_s, _ in at_rate(video)])
    assert np.ptp(steps) < 1e-6


def test_what_cannot_be_cut(counting, tmp_path):
    for how in (exactly, copy_cut):
        with pytest.raises(DataError, match=r"counting\.mp4: cannot cut 3 s to 4 s out of 2 s"):
            how(counting, tmp_path / "clip.mp4", start_s=3.0, end_s=4.0)
        with pytest.raises(DataError, match=r"cannot cut 1 s to 1 s"):
            how(counting, tmp_path / "clip.mp4", start_s=1.0, end_s=1.0)
        with pytest.raises(DecodeError, match="there is no such file"):
            how(tmp_path / "gone.mp4", tmp_path / "clip.mp4", start_s=0.0, end_s=1.0)
    with pytest.raises(DataError, match=r"clip\.webm: cannot copy 0 s to 1 s of .*counting\.mp4"):
        copy_cut(counting, tmp_path / "clip.webm", start_s=0.0, end_s=1.0)
    assert list(tmp_path.iterdir()) == []
