"""Sound: the right samples at the right time."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tests.io.drawing import draw
from videozoo.errors import ConfigError, DataError, DecodeError
from videozoo.io.audio import read_audio


def tone(num: int, rate_hz: int) -> np.ndarray:
    """Rises from 300 Hz, so that every moment sounds different."""
    time_s = np.arange(num) / rate_hz
    return (0.5 * np.sin(2 * np.pi * (300 * time_s + 150 * time_s**2))).astype(np.float32)


def record(path: Path, *, rate_hz: int, codec: str, layout: str = "mono", delay_s: float = 0.0) -> np.ndarray:
    """Three seconds of tone, and a picture at time zero when the sound begins later; the mono signal."""
    signal = tone(3 * rate_hz, rate_hz)
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=10) if delay_s else None
        stream = container.add_stream(codec, rate=rate_hz, layout=layout)
        if video is not None:
            video.width = video.height = 32
            picture = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
            picture = picture.reformat(format="yuv420p")
            picture.pts, picture.time_base = 0, Fraction(1, 10)
            container.mux(video.encode(picture))
            container.mux(video.encode(None))
        channels = 2 if layout == "stereo" else 1
        for start in range(0, len(signal), 1000):
            samples = np.round(signal[start : start + 1000] * 32767).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(np.repeat(samples, channels)[None], format="s16", layout=layout)
            frame.sample_rate, frame.time_base = rate_hz, Fraction(1, rate_hz)
            frame.pts = start + round(delay_s * rate_hz)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return signal


@pytest.mark.parametrize(("name", "rate_hz"), [("a.wav", 16000), ("a.wav", 44100), ("a.mkv", 48000)])
@pytest.mark.parametrize("layout", ["mono", "stereo"])
def test_sound_comes_back_as_mono_at_the_rate_asked_for(tmp_path, name, rate_hz, layout):
    record(tmp_path / name, rate_hz=rate_hz, codec="pcm_s16le", layout=layout)
    read = read_audio(tmp_path / name, rate_hz=16000)
    assert read.dtype == np.float32
    assert abs(len(read) - 48000) <= 16
    num = min(len(read), 48000) - 100  # the resampler fades out at the very end
    assert np.abs(read[100:num] - tone(48000, 16000)[100:num]).max() < 2e-3


def test_a_part_equals_the_same_part_of_the_whole(tmp_path):
    record(tmp_path / "a.wav", rate_hz=44100, codec="pcm_s16le")
    whole = read_audio(tmp_path / "a.wav")
    for start_s, end_s in ((0.0, 0.5), (1.0, 1.25), (1.2345, 2.0), (2.5, 2.9)):
        part = read_audio(tmp_path / "a.wav", start_s=start_s, end_s=end_s)
        first = round(start_s * 16000)
        assert len(part) == round((end_s - start_s) * 16000)
        assert np.abs(part - whole[first : first + len(part)]).max() < 1e-5
    assert len(read_audio(tmp_path / "a.wav", start_s=2.5, end_s=9.0)) == len(whole) - 40000
    assert len(read_audio(tmp_path / "a.wav", start_s=50.0)) == 0
    assert len(read_audio(tmp_path / "a.wav", start_s=1.0, end_s=1.0)) == 0


def test_times_count_from_the_first_picture(tmp_path):
    signal = record(tmp_path / "late.mkv", rate_hz=16000, codec="pcm_s16le", delay_s=0.5)
    read = read_audio(tmp_path / "late.mkv", end_s=1.0)
    assert len(read) == 16000
    assert not read[:8000].any()
    assert np.abs(read[8000:] - signal[:8000]).max() < 1e-3


def test_what_has_no_sound_is_refused(tmp_path):
    silent = draw(tmp_path / "silent.mp4", times=range(3))
    with pytest.raises(DataError, match=r"silent\.mp4: has no audio stream"):
        read_audio(silent)
    with pytest.raises(DecodeError, match=r"gone\.mp4: there is no such file"):
        read_audio(tmp_path / "gone.mp4")
    with pytest.raises(DataError, match=r"from 2 s to 1 s; needs 0 <= start_s <= end_s"):
        read_audio(silent, start_s=2, end_s=1)
    with pytest.raises(ConfigError, match="rate_hz: got 0"):
        read_audio(silent, rate_hz=0)


def record_channels(path: Path, num_channels: int, *, codec: str, layout: str | None = None) -> np.ndarray:
    """Half a second in which every channel has the same tone at a loudness of its own; the mean of the channels."""
    rate_hz = 16000
    signal = tone(rate_hz // 2, rate_hz)
    gains = np.linspace(0.2, 1.0, num_channels, dtype=np.float32)
    samples = np.round(signal[:, None] * gains * 32767).astype(np.int16)
    layout = layout or f"{num_channels} channels"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate_hz, layout=layout)
        for start in range(0, len(samples), 1000):
            part = np.ascontiguousarray(samples[start : start + 1000].reshape(1, -1))
            frame = av.AudioFrame.from_ndarray(part, format="s16", layout=layout)
            frame.sample_rate, frame.time_base, frame.pts = rate_hz, Fraction(1, rate_hz), start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return signal * gains.mean()


@pytest.mark.parametrize("num_channels", range(1, 17))
@pytest.mark.parametrize(("codec", "suffix"), [("pcm_s16le", "wav"), ("pcm_s24le", "mov"), ("pcm_f32le", "wav")])
def test_any_number_of_interleaved_channels_becomes_their_mean(tmp_path, num_channels, codec, suffix):
    path = tmp_path / f"a.{suffix}"
    mean = record_channels(path, num_channels, codec=codec)
    for rate_hz, every in ((16000, 1), (8000, 2)):
        read = read_audio(path, rate_hz=rate_hz)
        num = min(len(read), len(mean[::every])) - 100
        assert num > len(mean[::every]) - 250
        assert np.abs(read[100:num] - mean[::every][100:num]).max() < 3e-3
    part = read_audio(path, start_s=0.2, end_s=0.3)  # begins between two frames
    assert np.abs(part - mean[3200:4800]).max() < 1e-3


LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}


@pytest.mark.parametrize(
    ("codec", "suffix", "num_channels", "layout"),
    [("aac", "mp4", *item) for item in LAYOUTS.items()] + [("flac", "flac", *item) for item in LAYOUTS.items()],
)
def test_any_number_of_planar_channels_becomes_their_mean(tmp_path, codec, suffix, num_channels, layout):
    mean = record_channels(tmp_path / f"a.{suffix}", num_channels, codec=codec, layout=layout)
    read = read_audio(tmp_path / f"a.{suffix}")
    assert len(read) >= len(mean)
    assert np.abs(read[2000:6000] - mean[2000:6000]).max() < (1e-3 if codec == "flac" else 0.1)
