"""Small video files whose pictures tell their own number, made with PyAV in many containers."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

__all__ = ["draw", "numbers", "picture"]


def picture(number: int, *, width: int = 32, height: int = 32) -> np.ndarray:
    """Grey of brightness 4 * number, with a darker square in the top left corner."""
    image = np.full((height, width, 3), 4 * number, np.uint8)
    image[: height // 4, : width // 4] = 2 * number
    return image


def numbers(data: np.ndarray) -> list[int]:
    """Reads the numbers back from the middle of frames [t h w c]."""
    height, width = data.shape[1:3]
    middle = data[:, height // 2 - 3 : height // 2 + 3, width // 2 - 3 : width // 2 + 3]
    return [round(float(frame.mean()) / 4) for frame in middle]


def draw(
    path: Path,
    *,
    times: Sequence[int] = tuple(range(60)),
    rate: int = 30,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    width: int = 32,
    height: int = 32,
    gop: int = 10,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    rotation_deg: int = 0,
    sound_s: float = 0.0,
    sound_codec: str = "aac",
    noisy: bool = False,
) -> Path:
    """Writes frame i, which shows i % 60, at times[i] / rate seconds; with B-frames unless told otherwise.

    With sound_s there is a tone of that length, its packets between those of the pictures. If noisy, a block of noise
    stays where it is in most frames, so that these are coded as differences.
    """
    x264 = {
        "crf": "10",
        "g": str(gop),
        "keyint_min": str(gop),
        "sc_threshold": "0",
        "bf": "2",
        "threads": "1",
    }
    with av.open(str(path), "w", container_options=container_options or {}) as container:
        stream: Any = container.add_stream(
            codec, rate=rate, options={**(x264 if codec == "libx264" else {"g": str(gop)}), **(options or {})}
        )
        stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
        stream.codec_context.time_base = Fraction(1, rate)
        sound: Any = container.add_stream(sound_codec, rate=48000, layout="mono") if sound_s else None
        packets = []
        for number, time in enumerate(times):
            drawn = picture(number % 60, width=width, height=height)
            if noisy:
                drawn[-8:, -8:] = np.random.default_rng(number // 7).integers(0, 256, (8, 8, 3))
            frame = av.VideoFrame.from_ndarray(drawn, format="rgb24")
            frame = frame.reformat(format=pixel_format)
            frame.pts, frame.time_base = int(time), Fraction(1, rate)
            packets += stream.encode(frame)
        packets += stream.encode(None)
        if sound_s:
            packets += _tone(sound, sound_s)
        for packet in sorted(packets, key=lambda p: (p.dts or 0) * p.time_base):
            container.mux(packet)
    if rotation_deg:
        _turn(path, rotation_deg)
    return path


def _tone(stream: Any, length_s: float) -> list[Any]:
    context = stream.codec_context
    context.open()
    num = context.frame_size or 1024
    packets = []
    for start in range(0, int(length_s * 48000), num):
        wave = np.sin(np.arange(start, start + num) / 10)[None]
        integer = context.format.name.startswith("s16")
        samples = (wave * 9000).astype(np.int16) if integer else wave.astype(np.float32)
        frame = av.AudioFrame.from_ndarray(samples, format=context.format.name, layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 48000, start, Fraction(1, 48000)
        packets += stream.encode(frame)
    return packets + stream.encode(None)


def _turn(path: Path, rotation_deg: int) -> None:
    """Writes a clockwise turn into the matrix of an MP4's track header: x' = a x + c y, y' = b x + d y."""
    a, b, c, d = {90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}[rotation_deg]
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 44
    data[matrix : matrix + 20] = struct.pack(">5i", *(v << 16 for v in (a, b, 0, c, d)))
    path.write_bytes(data)
