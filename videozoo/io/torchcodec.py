"""Decodes with TorchCodec, which needs its package and FFmpeg's libraries."""

from __future__ import annotations

import bisect
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from videozoo.errors import DecodeError, require
from videozoo.io.pyav import PyAVReader
from videozoo.io.reader import TIME_SLACK_S, Frames, VideoReader, check_times
from videozoo.io.slice import FileSlice

__all__ = ["TorchCodecReader"]

_JUST_BEFORE_S = 1e-6
_ERRORS = (RuntimeError, ValueError, TypeError, LookupError, ArithmeticError, MemoryError)  # of its C++ code


class TorchCodecReader(VideoReader):
    """See `VideoReader`. TorchCodec scans all packets when it opens a file, for its seeks.

    Differs from PyAV: it uses the times that FFmpeg guesses for AVI files with B-frames, and it converts 10 and 12 bits
    to RGB differently.
    """

    def __init__(self, path: str | os.PathLike[str], *, num_threads: int = 1, device: str = "cpu"):
        decoders = require("torchcodec.decoders", extra="gpu-decode", purpose="open_video with decoder='torchcodec'")
        self.path = os.fspath(path)
        with PyAVReader(self.path) as known:  # both decoders give the same properties and errors
            self.info = known.info
        part = FileSlice.find(self.path)
        source = self.path if part is None else part.read()
        try:
            self._decoder: Any = decoders.VideoDecoder(
                source,
                dimension_order="NHWC",
                num_ffmpeg_threads=num_threads,
                seek_mode="exact",
                device=device,
            )
        except _ERRORS as error:
            raise self._broken(error) from error
        self._start_s = float(self._decoder.metadata.begin_stream_seconds)
        self._end_of_last_s = float(self._decoder.metadata.end_stream_seconds)

    def close(self) -> None:
        self._decoder = None

    @property
    def num_frames(self) -> int:
        return len(self._decoder)

    def frames_at(self, times_s: Sequence[float]) -> Frames:
        check_times(self.path, times_s)
        if not times_s:
            return self._frames_by_index([])
        try:
            return self._frames(self._decoder.get_frames_played_at([self._clock(t) for t in times_s]))
        except _ERRORS as error:
            raise self._broken(error) from error

    def _frames_by_index(self, indices: list[int]) -> Frames:
        if not indices:
            shape = (0, self.info.height_px, self.info.width_px, 3)
            return Frames(np.empty(shape, np.uint8), ())
        try:
            return self._frames(self._decoder.get_frames_at(indices))
        except _ERRORS as error:
            raise self._broken(error) from error

    def sources(self, start_s: float) -> Iterator[tuple[float, Any]]:
        try:
            first = bisect.bisect_left(range(self.num_frames), start_s - TIME_SLACK_S, key=self._time_s)
            for index in range(first, self.num_frames):
                frame = self._decoder.get_frame_at(index)
                yield float(frame.pts_seconds) - self._start_s, frame.data
        except _ERRORS as error:
            raise self._broken(error) from error

    def _time_s(self, index: int) -> float:
        return float(self._decoder.get_frame_at(index).pts_seconds) - self._start_s

    def picture(self, source: Any) -> Any:
        return _arrays(source)

    def _frames(self, batch: Any) -> Frames:
        return Frames(_arrays(batch.data), tuple(float(t) - self._start_s for t in batch.pts_seconds))

    def _clock(self, time_s: float) -> float:
        """Converts a time from the first frame to the container's clock, limited to the stream."""
        inside_s = max(self._start_s, self._start_s + time_s + TIME_SLACK_S)
        return min(inside_s, self._end_of_last_s - _JUST_BEFORE_S)

    def _broken(self, error: Exception) -> DecodeError:
        lines = str(error).strip().splitlines()
        return DecodeError(self.path, f"torchcodec cannot decode it ({lines[0] if lines else type(error).__name__})")


def _arrays(tensor: Any) -> Any:
    """Returns frames on the CPU as an array; frames on a GPU stay there."""
    return tensor if tensor.is_cuda else tensor.numpy()
