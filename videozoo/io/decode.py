"""Opens video files with any decoder."""

from __future__ import annotations

import os
from typing import Literal

from videozoo.contracts.video import VideoInfo
from videozoo.errors import ConfigError, did_you_mean
from videozoo.io.pyav import PyAVReader
from videozoo.io.reader import Frames, VideoReader

__all__ = ["DECODERS", "Decoder", "Frames", "VideoReader", "open_video", "probe"]

Decoder = Literal["auto", "pyav", "torchcodec"]
DECODERS = ("auto", "pyav", "torchcodec")


def probe(path: str | os.PathLike[str]) -> VideoInfo:
    """Reads the properties of a video file; decodes its first frame, so that the file is known to open.

    Raises:
        DecodeError: there is no such file, or no video in it.
    """
    with open_video(path) as video:
        return video.info


def open_video(
    path: str | os.PathLike[str], *, decoder: Decoder = "auto", num_threads: int = 1, device: str = "cpu"
) -> VideoReader:
    """Opens a reader of the file's frames, for use in a `with` statement.

    Args:
        decoder: "auto" is PyAV, which is always installed; "torchcodec" needs its package and FFmpeg's libraries.
        num_threads: decoding threads; one by default, so that loader workers share the cores evenly.
        device: "cuda" decodes on the GPU with TorchCodec and leaves the frames there.

    Raises:
        DecodeError: there is no such file, or no video in it.
        MissingPackageError: decoder "torchcodec" does not load on this machine.
    """
    if num_threads < 1:
        raise ConfigError(f"open_video.num_threads: got {num_threads}; needs at least 1")
    if decoder in ("auto", "pyav") and device == "cpu":
        return PyAVReader(path, num_threads=num_threads)
    if decoder in ("auto", "torchcodec"):
        from videozoo.io.torchcodec import TorchCodecReader

        return TorchCodecReader(path, num_threads=num_threads, device=device)
    if decoder == "pyav":
        raise ConfigError(f"open_video.device: is {device}, which PyAV does not support; leave out decoder")
    raise ConfigError(f"open_video.decoder: there is no '{decoder}'{did_you_mean(decoder, DECODERS)}")
