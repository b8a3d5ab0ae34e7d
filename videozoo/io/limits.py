"""Bounds on files from strangers; they hold for this process and those that it starts."""

from __future__ import annotations

import os

from videozoo.errors import ConfigError, DecodeError

__all__ = ["MAX_PIXELS", "check_size", "decoder_bound", "is_strict", "max_pixels", "set_max_pixels", "set_strict"]

MAX_PIXELS = 8192 * 8192  # twice the pixels of 8K video; its decoder takes about 1 GB
_VARIABLE = "VIDEOZOO_MAX_PIXELS"
_STRICT = "VIDEOZOO_STRICT"


def max_pixels() -> int:
    """Returns the most pixels that a frame may have.

    Raises:
        ConfigError: the environment's VIDEOZOO_MAX_PIXELS is not a number above 0.
    """
    text = os.environ.get(_VARIABLE, str(MAX_PIXELS))
    if not text.isdecimal() or int(text) < 1:
        raise ConfigError(f"{_VARIABLE}: '{text}' is not a number of pixels; write e.g. {MAX_PIXELS}")
    return int(text)


def decoder_bound() -> int:
    """Returns the bound for FFmpeg, which also counts the padding of its buffers."""
    return max_pixels() * 5 // 4 + 256 * 256


def set_max_pixels(count: int | None) -> None:
    """Sets the bound for this process and those that it starts; None leaves it."""
    if count is not None:
        os.environ[_VARIABLE] = str(count)


def is_strict() -> bool:
    """Returns whether damage that a decoder conceals is an error."""
    return os.environ.get(_STRICT, "") not in ("", "0")


def set_strict(strict: bool) -> None:
    """Makes concealed damage an error for this process and those that it starts; False leaves it as it is."""
    if strict:
        os.environ[_STRICT] = "1"


def check_size(path: str | os.PathLike[str], width_px: int, height_px: int) -> None:
    """Refuses frames with more pixels than `max_pixels`, before they are decoded.

    Raises:
        DecodeError: they have more.
    """
    bound = max_pixels()
    if width_px * height_px > bound:
        raise DecodeError(
            path,
            f"its frames have {width_px}x{height_px} pixels, more than the {bound} allowed",
            f"if you trust the file, give --max-pixels {width_px * height_px}",
        )
