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
) -> Path:
    """Writes frame i, which shows i % 60, at times[i] / rate seconds; with B-frames unless told otherwise."""
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
        for number, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(picture(number % 60, width=width, height=height), format="rgb24")
            frame = frame.reformat(format=pixel_format)
            frame.pts, frame.time_base = time, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    if rotation_deg:
        _turn(path, rotation_deg)
    return path


def _turn(path: Path, rotation_deg: int) -> None:
    """Writes a clockwise turn into the matrix of an MP4's track header: x' = a x + c y, y' = b x + d y."""
    a, b, c, d = {90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}[rotation_deg]
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 44
    data[matrix : matrix + 20] = struct.pack(">5i", *(v << 16 for v in (a, b, 0, c, d)))
    path.write_bytes(data)
