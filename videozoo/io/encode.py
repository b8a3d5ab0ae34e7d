"""Writes video files: H.264 and AAC in MP4, with equal bytes for equal input."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.codec.context
import av.error
import numpy as np

from videozoo.errors import ConfigError, DataError
from videozoo.io.pyav import ONE_THREAD, reason_of, url_to_write
from videozoo.io.whole_file import whole_file

__all__ = ["write_video"]

_BT601, _LIMITED_RANGE = 6, 1  # AVCOL_SPC_SMPTE170M, AVCOL_RANGE_MPEG: swscale's defaults for RGB

# The AVX-512 code of x264's rate control (macroblock tree) reads uninitialized memory, so equal input gave different
# files. Processors with AVX-512 have all of these.
_UP_TO_AVX2 = "MMX2,SSE2Fast,SSSE3,SSE4.2,AVX,FMA3,BMI2,AVX2"


def write_video(
    path: str | os.PathLike[str],
    frames: Iterable[np.ndarray],
    *,
    fps: float | Fraction,
    audio: np.ndarray | Iterable[np.ndarray] | None = None,
    audio_rate_hz: int | None = None,
    crf: float = 18,
    preset: str = "medium",
    gop_frames: int | None = None,
    pixel_format: str = "yuv420p",
    codec: str = "libx264",
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Encodes uint8 RGB frames [h w 3] and mono audio [samples] in [-1, 1]; writes the file atomically.

    Equal input gives equal bytes with the same x264 on the same kind of processor: one encoding thread, no date in the
    file. The frames may be a generator; memory holds one at a time. The path's suffix selects the container.

    Args:
        audio: the signal, or consecutive chunks [c samples] with one or two channels.
        crf: constant quality, 0 (lossless) to 51.
        gop_frames: distance of key frames; None uses the encoder's default.

    Raises:
        DataError: there are no frames, their sizes or types differ, or the pixel format does not support their size.
        ConfigError: audio has no rate, or the encoder refuses the settings.
    """
    path = Path(path)
    if not fps > 0:
        raise ConfigError(f"write_video.fps: got {fps}; needs a rate above 0")
    if (audio is None) != (audio_rate_hz is None):
        raise ConfigError("write_video: only one of audio and audio_rate_hz is given; give both or neither")
    if isinstance(audio, np.ndarray) and audio.ndim != 1:
        raise DataError(f"{path}: audio has shape {audio.shape}; needs mono [samples]")
    options = {"crf": str(crf), "preset": preset} if codec.startswith("libx26") else {}
    if codec == "libx264" and _has_avx512():
        options["x264-params"] = f"asm={_UP_TO_AVX2}"
    if gop_frames is not None:
        options["g"] = str(gop_frames)
    if not path.parent.is_dir():
        raise DataError(f"{path}: the folder {path.parent} does not exist; create it first")
    rate = Fraction(fps).limit_denominator(1_000_000)
    with whole_file(path) as part, _Writer(part, path, rate, metadata or {}) as writer:
        writer.write(
            frames,
            codec=codec,
            pixel_format=pixel_format,
            options=options,
            audio=audio,
            audio_rate_hz=audio_rate_hz,
        )


@functools.cache
def _has_avx512() -> bool:
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.exists() and "avx512" in cpuinfo.read_text()


class _Writer:
    """One output file; error messages refer to it as `name`."""

    def __init__(self, part: Path, name: Path, fps: Fraction, metadata: Mapping[str, str]):
        self.name = name
        self.fps = fps
        options = {"fflags": "+bitexact"}
        if name.suffix.lower() in (".mp4", ".m4v", ".mov"):
            options["movflags"] = "+faststart"
        try:
            self.container: Any = av.open(url_to_write(part), "w", container_options=options)
        except (av.error.FFmpegError, ValueError) as error:
            raise ConfigError(f"{name}: cannot be written ({reason_of(error)}); end the name in .mp4") from error
        self.container.metadata.update(metadata)

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self.container.close()

    def write(
        self,
        frames: Iterable[np.ndarray],
        *,
        codec: str,
        pixel_format: str,
        options: dict[str, str],
        audio: np.ndarray | Iterable[np.ndarray] | None,
        audio_rate_hz: int | None,
    ) -> None:
        video: Any = None
        sound = None
        num = 0
        for num, frame in enumerate(frames, start=1):
            if video is None:
                self._check(frame, num - 1, None)
                video = self._add_video(codec, pixel_format, options, frame.shape)
                if audio is not None and audio_rate_hz is not None:
                    pieces = [audio[None]] if isinstance(audio, np.ndarray) else audio
                    sound = _Sound(self.container, pieces, audio_rate_hz)
                size = frame.shape
            self._check(frame, num - 1, size)
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            picture = picture.reformat(format=pixel_format, **ONE_THREAD)
            picture.pts, picture.time_base = num - 1, 1 / self.fps
            self._encode(video, picture)
            if sound is not None:
                sound.write_until(num / self.fps)
        if video is None:
            raise DataError(f"{self.name}: there are no frames to write; give at least one")
        self._encode(video, None)
        if sound is not None:
            sound.finish()

    def _add_video(self, codec: str, pixel_format: str, options: dict[str, str], shape: Sequence[int]) -> Any:
        height, width = shape[:2]
        if ("420" in pixel_format and height % 2) or (pixel_format[:6] in ("yuv420", "yuv422") and width % 2):
            raise DataError(
                f"{self.name}: frames of {width}x{height} cannot be stored as {pixel_format}; "
                f"use even sizes or pixel_format='yuv444p'"
            )
        try:
            stream = self.container.add_stream(codec, rate=self.fps, options=options)
            stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
            context = stream.codec_context
            context.thread_count = 1
            context.flags |= int(av.codec.context.Flags.bitexact)
            if pixel_format.startswith("yuv"):
                context.colorspace, context.color_range = _BT601, _LIMITED_RANGE
            context.open()
        except (av.error.FFmpegError, ValueError, OSError) as error:
            raise ConfigError(
                f"{self.name}: {codec} refuses {width}x{height} {pixel_format} ({reason_of(error)}); "
                f"change codec or pixel_format"
            ) from error
        return stream

    def _encode(self, stream: Any, picture: av.VideoFrame | None) -> None:
        for packet in stream.encode(picture):
            self.container.mux(packet)

    def _check(self, frame: np.ndarray, index: int, size: tuple[int, ...] | None) -> None:
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or 0 in frame.shape:
            raise DataError(f"{self.name}: frame {index} is {frame.dtype} {frame.shape}; needs uint8 [h w 3]")
        if size is not None and frame.shape != size:
            raise DataError(f"{self.name}: frame {index} is {frame.shape} after {size}; all frames need the same size")


class _Sound:
    """The audio stream, interleaved with the frames; memory holds one chunk at a time."""

    def __init__(self, container: Any, pieces: Iterable[np.ndarray], rate_hz: int):
        self.container = container
        self.pieces = iter(pieces)
        self.held = next(self.pieces, np.zeros((1, 0), np.float32))
        self.layout = "mono" if len(self.held) == 1 else "stereo"
        self.rate_hz = rate_hz
        self.done = 0
        self.stream = container.add_stream("aac", rate=rate_hz, layout=self.layout)
        self.stream.codec_context.flags |= int(av.codec.context.Flags.bitexact)

    def write_until(self, time_s: Fraction | None) -> None:
        """Encodes the samples before time_s; None: all remaining samples."""
        end = None if time_s is None else int(time_s * self.rate_hz)
        while end is None or self.done < end:
            if not self.held.shape[1] and not self._next():
                return
            size = self.held.shape[1] if end is None else min(self.held.shape[1], end - self.done)
            self._encode(self.held[:, :size])
            self.held = self.held[:, size:]

    def finish(self) -> None:
        self.write_until(None)
        self.container.mux(self.stream.encode(None))

    def _next(self) -> bool:
        piece = next(self.pieces, None)
        if piece is None:
            return False
        self.held = piece
        return True

    def _encode(self, samples: np.ndarray) -> None:
        signal = np.ascontiguousarray(np.clip(samples, -1.0, 1.0), dtype=np.float32)
        if not signal.size:
            return
        frame = av.AudioFrame.from_ndarray(signal, format="fltp", layout=self.layout)
        frame.sample_rate, frame.pts, frame.time_base = self.rate_hz, self.done, Fraction(1, self.rate_hz)
        self.container.mux(self.stream.encode(frame))
        self.done += signal.shape[1]
