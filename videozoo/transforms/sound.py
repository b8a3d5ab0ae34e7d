"""Sound features over time: log-mel spectra of 25 ms, pooled to one row of 128 numbers for each window.

The spectra are the inputs of VGGish (arXiv:1609.09430): 16 kHz, Hann windows of 25 ms every 10 ms, 64 mel
bands from 125 to 7500 Hz, log(x + 0.01).
"""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence

import numpy as np

from videozoo.io.audio import read_audio

__all__ = ["NUM_SOUND", "RATE_HZ", "log_mel", "silence", "sound_features"]

RATE_HZ = 16_000
WINDOW, HOP, FFT = 400, 160, 512  # samples
BANDS, LOW_HZ, HIGH_HZ = 64, 125.0, 7500.0
OFFSET = 0.01
SCALE = -np.log(OFFSET) / 2
NUM_SOUND = 2 * BANDS
BLOCK_S = 120.0  # of sound in memory at once


def log_mel(signal: np.ndarray) -> np.ndarray:
    """Computes log-mel spectra `[t 64]`, one every 10 ms, of mono sound `[samples]` at 16 kHz in [-1, 1].

    Row k covers the 25 ms from 10 k ms on. A shorter signal is padded with silence.
    """
    if len(signal) < WINDOW:
        signal = np.pad(signal, (0, WINDOW - len(signal)))
    frames = np.lib.stride_tricks.sliding_window_view(signal, WINDOW)[::HOP]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
    magnitude = np.abs(np.fft.rfft(frames * hann, FFT))
    spectra: np.ndarray = np.log(magnitude @ _mel_bands() + OFFSET).astype(np.float32)
    return spectra


def sound_features(path: str | os.PathLike[str], times_s: Sequence[tuple[float, float]]) -> np.ndarray:
    """Yields a row `[128]` for each (start_s, end_s) of `times_s`, in the order of their start.

    A row holds the mean, then the deviation, of the log-mel spectra in the window, scaled so that silence is -2 and the
    loudest tone about 2. Before and after the sound there is silence. Memory holds minutes of sound, not the file.

    Raises:
        DataError: the file has no sound.
        DecodeError: the file cannot be read.
    """
    rows: list[np.ndarray] = []
    first = 0
    while first < len(times_s):
        begin_s = times_s[first][0]
        last = first
        while last < len(times_s) and (last == first or times_s[last][1] <= begin_s + BLOCK_S):
            last += 1
        begin_s = round(begin_s * RATE_HZ / HOP) * HOP / RATE_HZ  # so that all blocks have spectra at the same times
        end_s = times_s[last - 1][1] + WINDOW / RATE_HZ
        signal = read_audio(path, rate_hz=RATE_HZ, start_s=begin_s, end_s=end_s)
        spectra = log_mel(np.pad(signal, (0, max(0, round((end_s - begin_s) * RATE_HZ) - len(signal)))))
        for start_s, stop_s in times_s[first:last]:
            a = min(max(round((start_s - begin_s) * RATE_HZ / HOP), 0), len(spectra) - 1)
            b = max(round((stop_s - begin_s) * RATE_HZ / HOP), a + 1)
            part = spectra[a:b] / SCALE
            rows.append(np.concatenate([part.mean(0), part.std(0)]))
        first = last
    return np.stack(rows).astype(np.float32)


def silence(num_rows: int) -> np.ndarray:
    """Returns the row of `sound_features` for silence."""
    row = np.concatenate([np.full(BANDS, -2.0), np.zeros(BANDS)])
    return np.tile(row, (num_rows, 1)).astype(np.float32)


@functools.cache
def _mel_bands() -> np.ndarray:
    """Returns triangles over the spectrum's bins `[bins 64]`, evenly spaced in mel (1127 ln(1 + f / 700))."""

    def mel(hz: np.ndarray | float) -> np.ndarray:
        return 1127.0 * np.log1p(np.asarray(hz) / 700.0)

    bins = mel(np.linspace(0, RATE_HZ / 2, FFT // 2 + 1))[:, None]
    edges = np.linspace(mel(LOW_HZ), mel(HIGH_HZ), BANDS + 2)
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    weights: np.ndarray = np.maximum(0.0, np.minimum(rising, falling))
    weights[0] = 0.0  # no band covers the constant part
    return weights
