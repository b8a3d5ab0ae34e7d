"""Live video: cameras, network streams and pipes, whose frames come once and in order."""

from __future__ import annotations

import contextlib
import math
import os
import re
import sys
import time
import urllib.parse
from collections.abc import Iterator
from typing import Any, BinaryIO

import av
import av.error
import numpy as np

from videozoo.contracts.video import VideoInfo
from videozoo.errors import ConfigError, DecodeError
from videozoo.io.limits import check_size, decoder_bound
from videozoo.io.pyav import Orientation, decoding, ffmpeg_log, reason_of, rgb_picture, stated_rates, video_stream

__all__ = ["LiveVideo", "is_camera", "is_url", "open_camera", "open_pipe", "open_url", "shown_url"]

# The protocols that FFmpeg may use for a URL, by its scheme: a playlist from the network opens no file of this machine.
_HTTP = "http,https,tcp,tls,httpproxy,crypto,data"
_RTSP = "rtsp,rtsps,rtp,srtp,udp,tcp,tls,http,https"
PROTOCOLS = {
    "http": _HTTP,
    "https": _HTTP,
    "rtsp": _RTSP,
    "rtsps": _RTSP,
    "rtmp": "rtmp,tcp",
    "rtmps": "rtmps,tls,tcp",
    "udp": "udp",
    "tcp": "tcp",
    "srt": "srt,udp",
}
USUAL_FPS, MOST_FPS = 25.0, 240.0  # streams without a rate, or with the rate of their clock
LONGEST_STEP_S = 10.0  # a jump of the timestamps beyond it is a new beginning
END_SLACK_S = 0.5  # between the last frame and the stated end
_CAMERA = re.compile(r"(?:webcam|camera):(\d+)|/dev/video(\d+)")
_OPEN_S = 15.0  # FFmpeg reads a few seconds of a stream before it knows its format


class LiveVideo:
    """The frames of an open container that is read once, as they arrive; a context manager. Not thread-safe.

    Frames that cannot be decoded are skipped and counted.

    Attributes:
        info: the properties of the video, without an end.
        stated_s: the length that the source states; None for an endless one.
        is_cut: whether the frames ended before that length.
        damaged_frames: packets so far that could not be decoded.
    """

    def __init__(self, name: str, container: Any):
        self.name = name
        self._container = container
        try:
            with decoding(name):
                self._stream = video_stream(container, name)
                context = self._stream.codec_context
                context.options = {"max_pixels": str(decoder_bound())}
                context.thread_count = 1  # threads would delay frames
        except BaseException:
            container.close()
            raise
        stream = self._stream
        ticks, time_base = stream.duration, stream.time_base
        stated_s = ticks * time_base if ticks and time_base else (container.duration or 0) / av.time_base
        self.stated_s = float(stated_s) or None
        self.is_cut = False
        self.damaged_frames = 0
        self._orientation: Orientation | None = None
        self._size = context.width, context.height
        rate = next((float(r) for r in stated_rates(self._stream) if r and r <= MOST_FPS), USUAL_FPS)
        self.info = VideoInfo(
            path=name,
            duration_s=math.inf,
            fps=rate,
            num_frames=None,
            width_px=context.width,
            height_px=context.height,
            rotation_deg=0,
            codec=context.name,
            pixel_format=str(context.pix_fmt),
            start_s=0.0,
            size_bytes=0,
        )

    def __enter__(self) -> LiveVideo:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the source."""
        with contextlib.suppress(av.error.FFmpegError, OSError):
            self._container.close()

    def frames(self) -> Iterator[tuple[float, float, Any]]:
        """Yields (time_s, arrived_s, argument of `picture`) of each frame.

        Times are seconds since the first frame and increase; a source without timestamps counts at its rate.
        `arrived_s` is the time of `time.monotonic` before the frame was decoded.

        Raises:
            DecodeError: the source broke off.
        """
        time_s, offset_s, is_first = 0.0, 0.0, True
        time_base = self._stream.time_base
        for arrived_s, frame in self._decoded():
            check_size(self.name, frame.width, frame.height)
            step_s = 1 / self.info.fps
            stamp_s = None if frame.pts is None or not time_base else float(frame.pts * time_base)
            if is_first:
                offset_s = -(stamp_s or 0.0)
            elif stamp_s is None:
                time_s += step_s
            elif 0 < stamp_s + offset_s - time_s <= LONGEST_STEP_S:
                time_s = stamp_s + offset_s
            else:  # the clock of the source was set, or began again
                time_s += step_s
                offset_s = time_s - stamp_s
            is_first = False
            yield time_s, arrived_s, frame
        self.is_cut = self.stated_s is not None and time_s < self.stated_s - END_SLACK_S

    def picture(self, source: Any) -> np.ndarray:
        """Returns uint8 `[h w 3]`, upright RGB, of a frame; all have the size of the first."""
        if self._orientation is None:
            self._orientation = Orientation.of(source)
            self._size = source.width, source.height
        return rgb_picture(source, self._size, self._orientation)

    def _decoded(self) -> Iterator[tuple[float, Any]]:
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except (av.error.FFmpegError, OSError) as error:
                arrived_s = time.monotonic()
                with contextlib.suppress(av.error.FFmpegError):
                    yield from ((arrived_s, frame) for frame in self._stream.codec_context.decode(None))
                raise DecodeError(
                    self.name, f"the stream broke off ({reason_of(error)})", "check the source"
                ) from error
            if packet is None:
                return
            arrived_s = time.monotonic()
            try:
                frames = packet.decode()
            except av.error.EOFError:
                return
            except av.error.FFmpegError:
                self.damaged_frames += 1
                continue
            for frame in frames:
                yield arrived_s, frame


def is_url(source: str) -> bool:
    """Returns whether a source is an address in the network."""
    return "://" in source


def is_camera(source: str) -> bool:
    """Returns whether a source is a camera of this machine: `/dev/video0` or `webcam:0`."""
    return _CAMERA.fullmatch(source) is not None


def open_url(url: str, *, silence_s: float = 10.0) -> LiveVideo:
    """Opens a stream in the network.

    Args:
        silence_s: seconds without data after which the stream is broken.

    Raises:
        DecodeError: the server does not answer, or there is no video.
        ConfigError: the scheme of the URL is not known.
    """
    scheme = url.partition("://")[0].lower()
    if scheme not in PROTOCOLS:
        raise ConfigError(f"{shown_url(url)}: there is no stream of '{scheme}'; use one of {', '.join(PROTOCOLS)}")
    options = {"protocol_whitelist": PROTOCOLS[scheme]}
    if scheme.startswith("rtsp"):
        options["rtsp_transport"] = "tcp"  # by UDP, lost packets damage frames
    return _open(shown_url(url), url, timeout=(max(_OPEN_S, silence_s), silence_s), options=options)


def open_camera(name: str) -> LiveVideo:
    """Opens a camera of this machine.

    Raises:
        DecodeError: there is no such camera, or it is in use.
        ConfigError: the name is not that of a camera.
    """
    found = _CAMERA.fullmatch(name)
    if found is None:
        raise ConfigError(f"{name}: is not a camera; write webcam:0 or /dev/video0")
    number = found[1] or found[2]
    if sys.platform == "darwin":
        return _open(name, number, format_name="avfoundation", options={"framerate": "30"})
    return _open(name, f"/dev/video{number}", format_name="v4l2")


def open_pipe(pipe: BinaryIO, *, name: str = "-") -> LiveVideo:
    """Opens a video that is read from a pipe.

    Raises:
        DecodeError: there is no video, or its format must be read from its end, as that of most MP4 files.
    """
    return _open(name, _Forward(pipe), options={"protocol_whitelist": ""})


class _Forward:
    """A file that FFmpeg can read but not seek."""

    def __init__(self, pipe: BinaryIO):
        self._pipe = pipe

    def read(self, size: int) -> bytes:
        return os.read(self._pipe.fileno(), size)  # what has arrived, without waiting for `size` bytes


def _open(
    name: str,
    source: Any,
    *,
    format_name: str | None = None,
    timeout: tuple[float, float] | None = None,
    options: dict[str, str] | None = None,
) -> LiveVideo:
    bounded = {"max_pixels": str(decoder_bound())}
    try:
        with ffmpeg_log() as lines:
            container = av.open(
                source, format=format_name, timeout=timeout, container_options=options or {}, options=bounded
            )
    except (av.error.FFmpegError, OSError, ValueError) as error:
        reason = reason_of(error, lines).replace(str(source), name)
        raise DecodeError(name, f"it cannot be opened as a stream of video ({reason})", "check the source") from error
    return LiveVideo(name, container)


def shown_url(url: str) -> str:
    """Returns a URL for messages, without the user's name and password."""
    parts = urllib.parse.urlsplit(url)
    return urllib.parse.urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
