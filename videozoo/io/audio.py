"""Reads the audio of a file as one mono signal."""

from __future__ import annotations

import contextlib
import math
import os
from typing import Any

import av
import av.error
import numpy as np

from videozoo.errors import ConfigError, DataError, DecodeError
from videozoo.io.pyav import PyAVReader, decoding, open_container, reason_of

__all__ = ["ChannelMean", "mono_frame", "read_audio"]

_PREROLL_S = 0.5  # decoders and the resampler need some signal before the first returned sample


def read_audio(
    path: str | os.PathLike[str], *, rate_hz: int = 16000, start_s: float = 0.0, end_s: float | None = None
) -> np.ndarray:
    """Returns the audio from start_s to end_s (None: to its end) at rate_hz: float32 mono [samples] in [-1, 1].

    Times are seconds from the first video frame, or from the first sample of a file without video. If the audio begins
    after start_s, silence precedes it; if it ends before end_s, fewer samples are returned.

    Raises:
        DataError: the file has no audio stream.
        DecodeError: the file cannot be opened, or its audio stops decoding before end_s.
    """
    path = os.fspath(path)
    if rate_hz < 1:
        raise ConfigError(f"read_audio.rate_hz: got {rate_hz}; needs at least 1")
    if not (start_s >= 0 and (end_s is None or end_s >= start_s)):
        raise DataError(f"{path}: cannot read audio from {start_s} s to {end_s} s; needs 0 <= start_s <= end_s")
    with decoding(path), open_container(path) as container:
        if not container.streams.audio:
            raise DataError(f"{path}: has no audio stream; leave it out of data sets with audio")
        return _read(container, path, rate_hz, start_s, end_s)


def _read(container: Any, path: str, rate_hz: int, start_s: float, end_s: float | None) -> np.ndarray:
    stream = container.streams.best("audio") or container.streams.audio[0]
    if stream.codec_context is None:
        raise DecodeError(path, "its audio codec is unknown to FFmpeg")
    stream.codec_context.thread_count = 1
    origin_s = _origin_s(path, stream)
    if start_s > _PREROLL_S:
        with contextlib.suppress(av.error.FFmpegError):  # not seekable: read from the current position
            container.seek(int((origin_s + start_s - _PREROLL_S) / stream.time_base), stream=stream)
    mixer, resampler = ChannelMean(), av.AudioResampler(format="flt", layout="mono", rate=rate_hz)
    chunks: list[np.ndarray] = []
    begin_s: float | None = None  # start of the first chunk
    num = 0
    try:
        for frame in container.decode(stream):
            stated_s = frame.time if frame.time is not None else origin_s
            samples = mixer(frame)
            if begin_s is None:
                skip, time_s = _to_grid(stated_s - origin_s, frame.sample_rate, rate_hz)
                samples = samples[skip:]
                if not len(samples):
                    continue
                begin_s = time_s
            for part in resampler.resample(mono_frame(samples, frame.sample_rate)):
                chunks.append(part.to_ndarray()[0])
                num += len(chunks[-1])
            if end_s is not None and begin_s + num / rate_hz >= end_s:
                break
        else:
            if begin_s is not None:
                chunks += [part.to_ndarray()[0] for part in resampler.resample(None)]
    except (av.error.FFmpegError, ValueError) as error:
        at_s = (begin_s or 0.0) + num / rate_hz
        raise DecodeError(path, f"its audio cannot be decoded after {at_s:.2f} s ({reason_of(error)})") from error
    if begin_s is None:
        return np.zeros(0, dtype=np.float32)
    signal = np.concatenate([*chunks, np.zeros(0, np.float32)])
    first = round((start_s - begin_s) * rate_hz)
    last = len(signal) if end_s is None else first + round((end_s - start_s) * rate_hz)
    silence = np.zeros(max(0, min(-first, last - first)), np.float32)
    padded = np.concatenate([silence, signal[max(0, first) : max(0, last)]])
    clipped: np.ndarray = np.clip(padded, -1.0, 1.0)
    return clipped


class ChannelMean:
    """Averages the channels of one stream's frames; swresample's own mix is louder than each channel, and clips.

    PyAV crashes on planar audio with 8 or more channels, so the samples are interleaved first.
    """

    def __init__(self) -> None:
        self._interleave = av.AudioResampler(format="flt")
        self._form: tuple[Any, ...] | None = None

    def __call__(self, frame: av.AudioFrame) -> np.ndarray:
        """Returns float32 `[samples]` at the frame's rate."""
        form = frame.format.name, frame.layout.name, frame.sample_rate
        if form != self._form:  # broadcasts change between stereo and 5.1
            self._form, self._interleave = form, av.AudioResampler(format="flt")
        frame.pts = None  # gaps are left to players; the signal here is continuous
        parts = [part.to_ndarray() for part in self._interleave.resample(frame)]
        samples = np.concatenate([np.zeros((1, 0), np.float32), *parts], axis=1)
        mean: np.ndarray = samples.reshape(-1, frame.layout.nb_channels).mean(axis=1, dtype=np.float32)
        return mean


def mono_frame(samples: np.ndarray, rate_hz: int) -> av.AudioFrame:
    """Returns float32 `[samples]` as a frame."""
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[None]), format="flt", layout="mono")
    frame.sample_rate = rate_hz
    return frame


def _to_grid(time_s: float, frame_rate_hz: int, rate_hz: int) -> tuple[int, float]:
    """Returns the number of samples to skip to reach the grid of the resampled signal, and the time of that sample.

    Reading from the middle thus gives the same samples as reading from the start.
    """
    step = frame_rate_hz // math.gcd(frame_rate_hz, rate_hz)
    first = round(time_s * frame_rate_hz)
    skip = -first % step
    return skip, (first + skip) / frame_rate_hz


def _origin_s(path: str, stream: Any) -> float:
    """Returns time zero on the container's clock; the start time stated by a stream is not always correct."""
    try:
        with PyAVReader(path) as video:
            return video.info.start_s
    except DecodeError:  # no video, or a broken one: the audio defines time zero
        return float((stream.start_time or 0) * stream.time_base)
