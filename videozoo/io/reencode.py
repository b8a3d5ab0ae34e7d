"""Re-encodes videos for training: smaller frames, close key frames, a constant rate."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from videozoo.errors import DataError
from videozoo.io.decode import open_video
from videozoo.io.encode import write_video
from videozoo.io.pyav import open_container
from videozoo.io.reader import TIME_SLACK_S, VideoReader
from videozoo.structured import parse_json

__all__ = ["reencode"]


def reencode(
    video: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    short_side_px: int | None = 256,
    gop_frames: int = 10,
    crf: float = 20,
    preset: str = "medium",
) -> bool:
    """Re-encodes `video` as H.264 without audio; returns True if `out` exists with the same settings.

    A video of variable rate is sampled at the ticks of its average rate.

    Args:
        short_side_px: short side to which larger frames are scaled down (in even numbers); None keeps their size.
        gop_frames: distance of the key frames; decoding a random frame costs half of it on average.

    Raises:
        DecodeError: the video cannot be decoded to its end; `out` is not written.
        DataError: `out` cannot be written.
    """
    video, out = Path(video), Path(out)
    made_from = {
        "source_bytes": video.stat().st_size if video.is_file() else 0,
        "short_side_px": short_side_px,
        "gop_frames": gop_frames,
        "crf": crf,
        "preset": preset,
    }
    if _made_from(out) == made_from:
        return True
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with open_video(video) as reader:
            write_video(
                out,
                (_scaled(picture, short_side_px) for picture in _ticks(reader)),
                fps=Fraction(reader.info.fps).limit_denominator(1001),
                crf=crf,
                preset=preset,
                gop_frames=gop_frames,
                metadata={"comment": json.dumps(made_from)},
            )
    except OSError as error:
        raise DataError(
            f"{out}: cannot be written ({error.strerror or error}); "
            "free some space or choose another folder, then run again to continue"
        ) from error
    return False


def _made_from(path: Path) -> Any:
    """Returns the settings stored in a re-encoded file."""
    if not path.is_file():
        return None
    try:
        with open_container(os.fspath(path)) as container:
            return parse_json(container.metadata.get("comment", ""), where=path)
    except DataError:
        return None


def _ticks(reader: VideoReader) -> Iterator[np.ndarray]:
    """Yields the picture on screen at every tick of the video's rate; at a constant rate, each frame once."""
    on_screen, num = None, 0
    for time_s, picture in reader.stream():
        while on_screen is not None and num / reader.info.fps < time_s - TIME_SLACK_S:
            yield on_screen
            num += 1
        on_screen = picture
    if on_screen is not None:
        yield on_screen


def _scaled(picture: np.ndarray, short_side_px: int | None) -> np.ndarray:
    """Returns uint8 `[h w 3]`, scaled down, with even sides."""
    height, width = picture.shape[:2]
    share = 1.0 if short_side_px is None else min(short_side_px / min(height, width), 1.0)
    size = [max(2 * round(side * share / 2), 2) for side in (height, width)]
    if size != [height, width]:
        resized = Image.fromarray(picture).resize((size[1], size[0]), Image.Resampling.BILINEAR)
        picture = np.asarray(resized)
    return picture
