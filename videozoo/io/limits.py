"""Limits on untrusted files, for this process and its child processes."""

from __future__ import annotations

import os

from videozoo.errors import ConfigError, DecodeError

__all__ = [
    "MAX_PIXELS",
    "LimitError",
    "check_duration",
    "check_size",
    "decoder_bound",
    "is_strict",
    "max_pixels",
    "set_max_duration",
    "set_max_pixels",
    "set_strict",
]

MAX_PIXELS = 8192 * 8192  # twice the pixels of 8K video, whose decoder uses about 1 GB
_VARIABLE = "VIDEOZOO_MAX_PIXELS"
_DURATION = "VIDEOZOO_MAX_DURATION_S"
_STRICT = "VIDEOZOO_STRICT"


class LimitError(DecodeError):
    """A file is larger or longer than the limits allow."""


def max_pixels() -> int:
    """Returns the largest allowed number of pixels per frame.

    Raises:
        ConfigError: the environment's VIDEOZOO_MAX_PIXELS is not a number above 0.
    """
    text = os.environ.get(_VARIABLE, str(MAX_PIXELS))
    if not text.isdecimal() or int(text) < 1:
        raise ConfigError(f"{_VARIABLE}: '{text}' is not a number of pixels; write e.g. {MAX_PIXELS}")
    return int(text)


def decoder_bound() -> int:
    """Returns the limit for FFmpeg, which includes the padding of its buffers."""
    return max_pixels() * 5 // 4 + 256 * 256


def set_max_pixels(count: int | None) -> None:
    """Sets the limit for this process and its child processes; None keeps the current one."""
    if count is not None:
        os.environ[_VARIABLE] = str(count)


def set_max_duration(duration_s: float) -> None:
    """Sets the longest allowed video for this process and its child processes; without it, any length is allowed."""
    os.environ[_DURATION] = repr(float(duration_s))


def is_strict() -> bool:
    """Returns whether concealed damage is an error."""
    return os.environ.get(_STRICT, "") not in ("", "0")


def set_strict(strict: bool) -> None:
    """Makes concealed damage an error for this process and its child processes; False keeps the current setting."""
    if strict:
        os.environ[_STRICT] = "1"


def check_size(path: str | os.PathLike[str], width_px: int, height_px: int) -> None:
    """Refuses frames with more pixels than `max_pixels`, before they are decoded.

    Raises:
        LimitError: a frame has more.
    """
    bound = max_pixels()
    if width_px * height_px > bound:
        raise LimitError(
            path,
            f"its frames have {width_px}x{height_px} pixels, more than the {bound} allowed",
            f"if you trust the file, give --max-pixels {width_px * height_px}",
        )


def check_duration(path: str | os.PathLike[str], duration_s: float) -> None:
    """Refuses videos that are longer than `set_max_duration` allows.

    Raises:
        LimitError: the video is longer.
    """
    text = os.environ.get(_DURATION)
    if text is not None and not duration_s <= float(text):
        raise LimitError(path, f"it lasts {duration_s:g} s, more than the {float(text):g} s allowed", "cut it")
