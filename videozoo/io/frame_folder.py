"""Reads a folder with one image per frame like a video file."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import BmpImagePlugin, Image, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from videozoo.contracts.video import VideoInfo
from videozoo.errors import DataError, counted
from videozoo.io.limits import check_size
from videozoo.io.reader import TIME_SLACK_S, Frames, VideoReader
from videozoo.structured import reading, regular_file, shown

__all__ = ["IMAGE_SUFFIXES", "FrameFolder", "frame_files"]

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".webp"})
IMAGE_FORMATS = tuple(  # whatever the suffix: PIL would run Ghostscript for PostScript
    kind.format
    for kind in (
        BmpImagePlugin.BmpImageFile,
        JpegImagePlugin.JpegImageFile,
        PngImagePlugin.PngImageFile,
        WebPImagePlugin.WebPImageFile,
    )
)
MOST_FRAMES = 10_000_000  # of one video; bounds the number stated in a list


class FrameFolder(VideoReader):
    """The frames of a folder, in the order of the numbers in their names; see `VideoReader`.

    Args:
        num_frames: number of frames to use from the beginning; None uses all.
        template: name of a frame, e.g. "img_{:05d}.jpg", counted from 1; None uses every image.
        fps: frame rate of the images.

    Raises:
        DataError: the folder does not exist, or holds fewer images than `num_frames`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        num_frames: int | None = None,
        template: str | None = None,
        fps: float = 25.0,
    ):
        self.path = Path(path)
        self.fps = fps
        if not self.path.is_dir():
            raise DataError(f"{self.path}: there is no such folder of frames; correct the list")
        if num_frames is not None and num_frames > MOST_FRAMES:
            raise DataError(f"{self.path}: {shown(num_frames)} frames are more than any video has; correct the list")
        if template is not None and num_frames is not None:
            self.files = [self.path / template.format(1 + i) for i in range(num_frames)]
        else:
            self.files = frame_files(self.path)[:num_frames]
        if len(self.files) < (num_frames or 1):
            raise DataError(
                f"{self.path}: holds {counted(len(self.files), 'frame')} as images, {num_frames or 'some'} expected; "
                "extract them again or correct the list"
            )

    def close(self) -> None:
        pass  # files are opened only for reading

    @functools.cached_property
    def info(self) -> VideoInfo:  # type: ignore[override]
        """The properties of a video file with these frames; the first image is read for its size."""
        height, width = _read_image(self.files[0]).shape[:2]
        return VideoInfo(
            path=str(self.path),
            duration_s=self.num_frames / self.fps,
            fps=self.fps,
            num_frames=self.num_frames,
            width_px=width,
            height_px=height,
            rotation_deg=0,
            codec=self.files[0].suffix.lstrip("."),
            pixel_format="rgb24",
            start_s=0.0,
            size_bytes=self.files[0].stat().st_size * self.num_frames,
        )

    @property
    def num_frames(self) -> int:
        return len(self.files)

    def frames_at(self, times_s: Sequence[float]) -> Frames:
        indices = np.floor((np.asarray(times_s, float) + TIME_SLACK_S) * self.fps).astype(int)
        return self._frames_by_index(np.clip(indices, 0, self.num_frames - 1).tolist())

    def _frames_by_index(self, indices: list[int]) -> Frames:
        """Reads the frames, each file once.

        Raises:
            DataError: a file is missing, is not an image, or has a different size than the others.
        """
        wanted, places = np.unique(indices, return_inverse=True)
        images = [_read_image(self.files[i]) for i in wanted]
        for i, image in zip(wanted, images, strict=True):
            if image.shape != images[0].shape:
                raise DataError(
                    f"{self.files[i]}: is {_px(image)}, {self.files[wanted[0]].name} is {_px(images[0])}; "
                    "the frames of one video must have one size"
                )
        data = np.stack(images)[places]
        return Frames(data, tuple(i / self.fps for i in indices))

    def sources(self, start_s: float) -> Iterator[tuple[float, int]]:
        for i in range(self.num_frames):
            if i / self.fps >= start_s - TIME_SLACK_S:
                yield i / self.fps, i

    def picture(self, source: int) -> np.ndarray:
        return _read_image(self.files[source])


def frame_files(folder: Path) -> list[Path]:
    """Lists the images directly in `folder`, in the order of the numbers in their names; skips hidden files.

    Raises:
        DataError: the folder cannot be read.
    """
    try:
        files = [p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith(".")]
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise DataError(
            f"{folder}: cannot be read ({reason}); check its permissions, or leave this folder out"
        ) from error
    return sorted(files, key=lambda p: ([int(n) for n in re.findall(r"\d+", p.stem)], p.name))


def _read_image(file: Path) -> np.ndarray:
    advice = "extract the frames again"
    if not file.exists():
        raise DataError(f"{file}: this frame is missing; {advice} or correct the list")
    with reading(regular_file(file, kind="frame"), advice=advice), Image.open(file, formats=IMAGE_FORMATS) as image:
        check_size(file, *image.size)
        return np.array(image.convert("RGB"))


def _px(image: np.ndarray) -> str:
    return f"{image.shape[1]}x{image.shape[0]} px"
