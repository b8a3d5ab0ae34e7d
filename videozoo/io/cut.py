"""Cuts a segment out of a video file: exactly, by re-encoding, or by copying packets."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import os
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

import av
import av.error
import numpy as np

from videozoo.errors import DataError, DecodeError
from videozoo.io.audio import ChannelMean, mono_frame
from videozoo.io.decode import probe
from videozoo.io.encode import write_video
from videozoo.io.pyav import decoding, open_container, reason_of, url_to_write
from videozoo.io.reader import VideoReader
from videozoo.io.whole_file import whole_file

__all__ = ["at_rate", "at_ticks", "copy_cut", "cut", "even", "steady_fps"]

T = TypeVar("T")

MIN_FPS, MAX_FPS = 10.0, 60.0  # a file with irregular frame times may state a lower average
_PREROLL_S = 0.5  # of audio: decoders need some before the first returned sample
_GAP_S = 0.05  # tolerance of audio timestamps: some containers round to milliseconds
# Layouts that FFmpeg mixes down to stereo; other layouts become the mean of their channels.
_MIXED_DOWN = ("2.1", "3.0", "4.0", "quad", "5.0", "5.0(side)", "5.1", "5.1(side)", "6.1", "7.0", "7.1")
_AAC_RATES_HZ = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)


def cut(
    reader: VideoReader, out_path: str | os.PathLike[str], *, start_s: float, end_s: float, crf: float = 18
) -> None:
    """Writes the frames from the one nearest to start_s to the one nearest to end_s, with exactly their audio.

    The clip is re-encoded (H.264, AAC), upright, at the video's rate; odd sizes are cropped by one row or column. Mono
    stays mono, surround becomes stereo, audio of unknown layout becomes mono. Memory holds one frame at a time.

    Args:
        crf: constant quality, 0 (lossless) to 51.

    Raises:
        DataError: the video ends before start_s, or the clip cannot be written.
        DecodeError: the video or its audio cannot be read to end_s.
    """
    info = reader.info
    half_s = 0.5 / info.fps
    _check(info.path, start_s, end_s, info.duration_s)
    frames = at_rate(reader, start_s=start_s + half_s, end_s=end_s - half_s)
    first_s, first = next(frames)
    end_s = max(min(end_s, info.duration_s), first_s + 2 * half_s)
    sound, rate_hz = None, info.audio_rate_hz
    if rate_hz is not None:
        rate_hz = rate_hz if rate_hz in _AAC_RATES_HZ else _AAC_RATES_HZ[-1]
        sound = _sound(info.path, origin_s=info.start_s, start_s=first_s, end_s=end_s, rate_hz=rate_hz)
    pictures = (even(picture) for picture in _chain(first, frames))
    fps = steady_fps(info.fps)
    write_video(out_path, pictures, fps=fps, audio=sound, audio_rate_hz=rate_hz, crf=crf, preset="veryfast")


def copy_cut(path: str | os.PathLike[str], out_path: str | os.PathLike[str], *, start_s: float, end_s: float) -> None:
    """Copies the packets of start_s..end_s: fast and lossless.

    Decoding begins at a key frame, so the clip also holds the frames between that and start_s. The edit list of MP4 and
    MOV hides them, but not every player respects it. In other containers the clip begins up to one key frame interval
    too early.

    Raises:
        DataError: the container of `out_path` does not support the codecs, or the video ends before start_s.
        DecodeError: the file cannot be read.
    """
    out = Path(out_path)
    info = probe(path)
    _check(path, start_s, end_s, info.duration_s)
    try:
        with (
            whole_file(out) as part,
            contextlib.ExitStack() as opened,
            av.open(url_to_write(part), "w") as target,
        ):
            runs = []
            for kind in ("video", "audio") if info.has_audio else ("video",):
                container = opened.enter_context(open_container(os.fspath(path)))
                source: Any = container.streams.best(kind) or container.streams.get({kind: 0})[0]
                copy = target.add_stream_from_template(source)
                runs.append(_packets(container, source, copy, info.start_s + start_s, end_s - start_s))
            for _, _, packet in heapq.merge(*runs, key=lambda item: item[:2]):
                target.mux(packet)
    except (av.error.FFmpegError, ValueError, OSError) as error:
        raise DataError(
            f"{out}: cannot copy {start_s:g} s to {end_s:g} s of {path} ({reason_of(error)}); "
            "use the exact cut, which re-encodes"
        ) from error


def steady_fps(fps: float) -> float:
    """Returns the constant rate at which irregular frames are written."""
    return min(max(fps, MIN_FPS), MAX_FPS)


def at_rate(
    reader: VideoReader, *, start_s: float = 0.0, end_s: float | None = None
) -> Iterator[tuple[float, np.ndarray]]:
    """Yields (time_s, uint8 [h w c]) of the frame on screen at each tick of the constant rate `steady_fps`.

    The first frame is the one on screen at start_s, at its own time unless it appeared more than a tick earlier.
    """
    fps = steady_fps(reader.info.fps)
    until_s = reader.info.duration_s - 0.5 / fps
    until_s = until_s if end_s is None else min(end_s, until_s)
    opening = reader.frames_at([start_s])
    shown, shown_s = opening.data[0], opening.times_s[0]
    first_s = shown_s if start_s - shown_s < 1 / fps else start_s
    frames = itertools.chain([(shown_s, shown)], reader.stream(start_s=start_s, end_s=end_s))
    yield from at_ticks(frames, fps=fps, first_s=first_s, until_s=until_s)


def at_ticks(
    frames: Iterable[tuple[float, T]], *, fps: float, first_s: float, until_s: float = 0.0
) -> Iterator[tuple[float, T]]:
    """Yields (time_s, frame) for each tick of a constant rate, with the frame on screen; shows the last one.

    Args:
        frames: with their times, the first one at most half a tick after `first_s`.
    """
    tick = 0
    shown: list[T] = []  # none or one
    for time_s, frame in frames:
        while shown and first_s + tick / fps < time_s - 0.5 / fps:
            yield first_s + tick / fps, shown[0]
            tick += 1
        shown = [frame]
    until_s = max(until_s, first_s + (tick + 0.5) / fps)
    while shown and first_s + tick / fps < until_s:
        yield first_s + tick / fps, shown[0]
        tick += 1


def _check(path: str | os.PathLike[str], start_s: float, end_s: float, duration_s: float) -> None:
    if not 0 <= start_s < end_s or start_s >= duration_s:
        raise DataError(f"{path}: cannot cut {start_s:g} s to {end_s:g} s out of {duration_s:g} s")


def _chain(first: np.ndarray, rest: Iterable[tuple[float, np.ndarray]]) -> Iterator[np.ndarray]:
    yield first
    for _, picture in rest:
        yield picture


def even(picture: np.ndarray) -> np.ndarray:
    """Returns uint8 `[h w c]`, cropped to even sides."""
    height, width = (side // 2 * 2 or side for side in picture.shape[:2])
    return picture[:height, :width]


def _sound(path: str, *, origin_s: float, start_s: float, end_s: float, rate_hz: int) -> Iterator[np.ndarray]:
    """Yields the audio from start_s to end_s, float32 `[c n]`, a packet at a time, with silence in gaps."""
    with decoding(path), open_container(path) as container:
        yield from _samples(container, path, origin_s, start_s, end_s, rate_hz)


def _samples(
    container: Any, path: str, origin_s: float, start_s: float, end_s: float, rate_hz: int
) -> Iterator[np.ndarray]:
    try:
        stream = container.streams.best("audio") or container.streams.audio[0]
        stream.codec_context.thread_count = 1
        with contextlib.suppress(av.error.FFmpegError):  # not seekable: read from where it stands
            container.seek(int((origin_s + start_s - _PREROLL_S) / stream.time_base), stream=stream)
        layout = stream.codec_context.layout
        mean = None if layout.nb_channels <= 2 or layout.name in _MIXED_DOWN else ChannelMean()
        mono = layout.nb_channels == 1 or mean is not None
        as_floats = av.AudioResampler(format="fltp", layout="mono" if mono else "stereo", rate=rate_hz)
        done, wanted = 0, round((end_s - start_s) * rate_hz)
        here: int | None = None  # position of the next sample
        for frame in container.decode(stream):
            if frame.time is None:
                continue
            at = round((frame.time - origin_s - start_s) * rate_hz)
            if here is None or abs(at - here) > _GAP_S * rate_hz:
                here = at
            if mean is not None:
                frame = mono_frame(mean(frame), frame.sample_rate)
            for part in as_floats.resample(frame):
                samples = part.to_ndarray()
                if here > done:
                    yield np.zeros((len(samples), min(here, wanted) - done), np.float32)
                    done = min(here, wanted)
                chunk = samples[:, max(done - here, 0) : max(wanted - here, 0)]
                if chunk.shape[1]:
                    yield chunk
                done += chunk.shape[1]
                here += samples.shape[1]
            if done >= wanted:
                break
    except (av.error.FFmpegError, ValueError) as error:
        raise DecodeError(path, f"its audio cannot be decoded near {start_s:.2f} s ({reason_of(error)})") from error


def _packets(
    container: Any, source: Any, target: Any, start_s: float, length_s: float
) -> Iterator[tuple[Fraction, int, Any]]:
    """Yields (time, stream, packet) in decoding order from the key frame before start_s, which becomes time zero."""
    zero = round(Fraction(start_s) / source.time_base)
    end = round(Fraction(length_s) / source.time_base)
    container.seek(zero, stream=source)
    for packet in container.demux(source):
        if packet.dts is None or packet.pts is None or packet.is_corrupt:
            continue
        packet.dts, packet.pts = packet.dts - zero, packet.pts - zero
        if packet.dts >= end:
            return
        ends_before = packet.pts + (packet.duration or 0) <= 0
        if packet.pts >= end or (source.type == "audio" and ends_before):
            continue
        time_s = packet.dts * source.time_base
        packet.stream = target
        yield time_s, target.index, packet
