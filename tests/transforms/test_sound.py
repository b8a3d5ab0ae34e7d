import math

import numpy as np
import pytest

from videozoo.errors import DataError
from videozoo.io.encode import write_video
from videozoo.transforms import sound
from videozoo.transforms.sound import log_mel, silence, sound_features


def naive_log_mel(signal, row):
    """The spectrum of one row by its definition: 25 ms from 10 ms * row on."""
    frame = [signal[row * 160 + n] * (0.5 - 0.5 * math.cos(2 * math.pi * n / 400)) for n in range(400)]
    spectrum = [abs(sum(x * np.exp(-2j * np.pi * k * n / 512) for n, x in enumerate(frame))) for k in range(257)]
    low, high = (1127 * math.log(1 + hz / 700) for hz in (125, 7500))
    edges = [low + (high - low) * i / 65 for i in range(66)]
    bands = []
    for a, b, c in zip(edges, edges[1:], edges[2:], strict=False):
        total = 0.0
        for k in range(1, 257):
            mel = 1127 * math.log(1 + k * 16000 / 512 / 700)
            total += spectrum[k] * max(0.0, min((mel - a) / (b - a), (c - mel) / (c - b)))
        bands.append(math.log(total + 0.01))
    return bands


def noise(seconds):
    return np.random.default_rng(0).uniform(-0.5, 0.5, round(seconds * 16000)).astype(np.float32)


def test_a_spectrum_is_what_its_definition_says():
    signal = noise(0.06)
    found = log_mel(signal)
    assert found.shape == (4, 64)  # the last 25 ms that fit begin at 30 ms
    np.testing.assert_allclose(found[2], naive_log_mel(signal, 2), atol=1e-4)


def test_a_signal_that_is_too_short_is_followed_by_silence():
    np.testing.assert_array_equal(log_mel(np.zeros(3, np.float32)), np.full((1, 64), np.log(0.01), np.float32))


def test_a_loud_tone_fits_into_bytes():
    tone = np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000).astype(np.float32)
    assert 1.5 < (log_mel(tone) / sound.SCALE).max() < 2.1


def test_silence_is_minus_two():
    np.testing.assert_allclose(log_mel(np.zeros(800, np.float32)) / sound.SCALE, silence(3)[:, :64], atol=1e-6)


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    path = tmp_path_factory.mktemp("sound") / "a.mp4"
    frames = np.zeros((40, 16, 16, 3), np.uint8)
    write_video(path, frames, fps=10, audio=noise(3.0), audio_rate_hz=16000, preset="ultrafast")
    return path


TIMES = [(k * 0.5, k * 0.5 + 1.0) for k in range(7)]


def test_rows_are_means_and_deviations(film):
    found = sound_features(film, TIMES)
    assert found.shape == (7, 128)
    spectra = log_mel(np.pad(sound.read_audio(film, end_s=4.0), (0, 40000)))
    part = spectra[100:200] / sound.SCALE
    np.testing.assert_allclose(found[2], np.concatenate([part.mean(0), part.std(0)]), atol=0.02)
    assert found[2][:64].max() < 2
    np.testing.assert_allclose(sound_features(film, [(3.5, 4.0)]), silence(1), atol=0.1)  # the sound lasts 3 s


def test_long_films_are_heard_in_blocks(film, monkeypatch):
    whole = sound_features(film, TIMES)
    monkeypatch.setattr(sound, "BLOCK_S", 1.2)
    np.testing.assert_allclose(sound_features(film, TIMES), whole, atol=0.02)


def test_no_sound(tmp_path):
    write_video(tmp_path / "a.mp4", np.zeros((4, 16, 16, 3), np.uint8), fps=10, preset="ultrafast")
    with pytest.raises(DataError, match=r"a\.mp4: has no audio stream"):
        sound_features(tmp_path / "a.mp4", [(0.0, 0.4)])
