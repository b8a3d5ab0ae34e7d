"""Decoding with PyAV: exact seeks, upright RGB pictures, FFmpeg's own words when something fails."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections import deque
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import av.logging
import numpy as np
import torch
from torch import Tensor

from videozoo.errors import DecodeError
from videozoo.io.reader import TIME_SLACK_S, Frames, VideoReader, check_times
from videozoo.types import VideoInfo

__all__ = ["PyAVReader", "ffmpeg_log", "open_container", "reason_of"]

# swscale starts a thread per core unless told not to; older PyAV has neither the threads nor the argument.
_ONE_THREAD = {"threads": 1} if int(av.__version__.split(".")[0]) >= 17 else {}


class PyAVReader(VideoReader):
    """See `VideoReader`. Seeks to key frames, so that the cost of a clip does not grow with the video's length."""

    def __init__(self, path: str | os.PathLike[str], *, num_threads: int = 1):
        self.path = os.fspath(path)
        self._num_threads = num_threads
        self._track = _Track(self.path, num_threads=num_threads)
        self._index: np.ndarray | None = None
        self._counted = False
        self._shown: _Shot | None = None  # the frame on screen at the last time that was asked for
        self._next: _Shot | None = None  # the one after it
        try:
            first = self._track.pull()
            if first is None:
                raise DecodeError(self.path, "its video stream holds no frame")
            self._shown = first
            self._first_pts = first.pts
            self._track.first_pts = first.pts
            self._orientation = _Orientation.of(first.frame)
            self._size = first.frame.width, first.frame.height
            self.info = self._describe(first)
        except _Damage as damage:
            self.close()
            raise DecodeError(self.path, f"its first frame cannot be decoded ({damage.reason})") from damage
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._shown = self._next = None
        self._track.close()

    @property
    def num_frames(self) -> int:
        return len(self._presented())

    def frames_at(self, times_s: Sequence[float]) -> Frames:
        check_times(self.path, times_s)
        return self._frames([self._pts_at(t) for t in times_s])

    def _frames_by_index(self, indices: list[int]) -> Frames:
        presented = self._presented()
        wanted = [int(presented[i]) for i in indices]
        frames = self._frames(wanted)
        if frames.times_s == tuple(self._time_s(pts) for pts in wanted) or self._counted:
            return frames
        # The packets promise other frames than the decoder gives (hidden or repeated ones): the decoder is right.
        self._index = self._count_by_decoding()
        self._counted = True
        return self.frames_by_index(indices)

    def _frames(self, wanted: Sequence[int]) -> Frames:
        pictures: dict[int, Tensor] = {}
        found: dict[int, int] = {}
        for pts in sorted(set(wanted)):
            shot = self._shot_at(pts)
            found[pts] = shot.pts
            if shot.pts not in pictures:
                pictures[shot.pts] = self._picture(shot.frame)
        shape = (0, 3, self.info.height_px, self.info.width_px)
        chosen = [found[pts] for pts in wanted]
        data = torch.stack([pictures[pts] for pts in chosen]) if chosen else torch.empty(shape, dtype=torch.uint8)
        return Frames(data, tuple(self._time_s(pts) for pts in chosen))

    def _shot_at(self, pts: int) -> _Shot:
        """The frame on screen at `pts`, the first frame for earlier times, the last one for later times."""
        pts = max(pts, self._first_pts)
        try:
            if self._shown is None or pts < self._shown.pts:
                self._seek(pts)
            elif self._next is None or self._next.pts <= pts:
                if self._track.has_key_up_to(pts):
                    self._seek(pts)
            return self._advance(pts)
        except _Damage as damage:
            self._shown = self._next = None
            raise self._broken(pts, damage) from damage

    def _advance(self, pts: int) -> _Shot:
        assert self._shown is not None
        while True:
            if self._next is None:
                try:
                    self._next = self._track.pull()
                except _Damage as damage:
                    last = self._shown
                    start = damage.pts if damage.pts is not None else last.pts + self._ticks_of(last)
                    if pts < start:
                        self._shown = None  # the decoder stopped: seek next time
                        return last
                    raise _Damage(start, damage.reason) from damage
            if self._next is None:
                self._check_end(pts, self._shown)
                return self._shown
            if self._next.pts > pts:
                return self._shown
            self._shown, self._next = self._next, None

    def _seek(self, pts: int) -> None:
        """Puts a frame at or before `pts` on screen, by way of a key frame near it."""
        self._shown = self._next = None
        half_second = max(1, int(0.5 / self._track.time_base))
        back = 0
        while self._track.seekable and pts - back > self._first_pts:
            if self._track.seek(pts - back, key_up_to=pts):
                shot = self._track.pull()
                if shot is not None and shot.pts <= pts:
                    self._shown = shot
                    return
            back = max(half_second, 2 * back)
        self._track.rewind()
        self._shown = self._track.pull()
        if self._shown is None:
            raise _Damage(self._first_pts, "the file changed while it was read")

    def _check_end(self, pts: int, last: _Shot) -> None:
        """The stream ended normally; was that where the file says it ends?"""
        stated_s = self._track.stated_end_s
        end = last.pts + self._ticks_of(last)
        if stated_s is None or pts < end:
            return
        if stated_s - self._time_s(end) > max(0.5, 2 / self.info.fps):
            raise _Damage(end, f"the file ends at {self._time_s(end):.2f} s of {stated_s:.2f} s")

    def _broken(self, pts: int, damage: _Damage) -> DecodeError:
        reason = f"the frame at {self._time_s(pts):.2f} s cannot be decoded ({damage.reason})"
        with contextlib.suppress(DecodeError):
            presented = self._presented()
            good = int(np.searchsorted(presented, damage.pts if damage.pts is not None else pts))
            reason += f", {good} of {len(presented)} frames come before the damage"
        return DecodeError(self.path, reason)

    def _sequence(self, start_s: float) -> Iterator[tuple[float, Any]]:
        start = self._pts_at(start_s)
        with PyAVReader(self.path, num_threads=self._num_threads) as source:
            try:
                if start > source._first_pts:
                    source._seek(start)
                shot = source._shown
                source._shown = None
                while shot is not None:
                    if shot.pts >= start:
                        yield self._time_s(shot.pts), shot.frame
                    last, shot = shot, source._track.pull()
                source._check_end(last.pts + source._ticks_of(last), last)
            except _Damage as damage:
                at = damage.pts if damage.pts is not None else last.pts
                raise self._broken(at, damage) from damage

    def _picture(self, source: Any) -> Tensor:
        width, height = self._size
        rgb = source.reformat(width=width, height=height, format="rgb24", **_ONE_THREAD).to_ndarray()
        upright = self._orientation.apply(rgb)
        return torch.from_numpy(np.array(upright.transpose(2, 0, 1), order="C"))

    def _time_s(self, pts: int) -> float:
        return float((pts - self._first_pts) * self._track.time_base)

    def _pts_at(self, time_s: float) -> int:
        ticks = time_s / float(self._track.time_base)
        slack = min(0.5, TIME_SLACK_S / float(self._track.time_base))
        return self._first_pts + int(np.floor(ticks + slack))

    def _ticks_of(self, shot: _Shot) -> int:
        """How long the frame stays on screen; the average when the file does not say."""
        return shot.frame.duration or self._track.frame_ticks

    def _presented(self) -> np.ndarray:
        """Timestamps of all frames in the order of presentation, read without decoding."""
        if self._index is None:
            times = self._track.constant_rate_times(self._first_pts)
            self._index = times if times is not None else self._track.packet_times(self._first_pts)
        return self._index

    def _count_by_decoding(self) -> np.ndarray:
        track = _Track(self.path, num_threads=self._num_threads)
        times = []
        try:
            while (shot := track.pull()) is not None:
                times.append(shot.pts)
        except _Damage as damage:
            raise DecodeError(self.path, f"it decodes for {len(times)} frames only ({damage.reason})") from damage
        finally:
            track.close()
        return np.array(times, dtype=np.int64)

    def _describe(self, first: _Shot) -> VideoInfo:
        track = self._track
        width, height = self._size
        if self._orientation.transpose:
            width, height = height, width
        duration_s = track.duration_s
        if duration_s is None:  # a container that states nothing: ask its packets
            times = self._presented()
            duration_s = self._time_s(int(times[-1]) + track.frame_ticks)
        return VideoInfo(
            path=self.path,
            duration_s=duration_s,
            fps=float(track.rate),
            num_frames=track.stream.frames or None,
            width_px=width,
            height_px=height,
            rotation_deg=self._orientation.rotation_deg,
            codec=track.stream.codec_context.name,
            pixel_format=first.frame.format.name,
            start_s=float(first.pts * track.time_base),
            size_bytes=Path(self.path).stat().st_size,
            audio_rate_hz=track.audio_rate_hz,
        )


@dataclasses.dataclass(frozen=True)
class _Shot:
    pts: int
    frame: av.VideoFrame


class _Damage(Exception):
    """From `pts` on (None: right after the last frame) nothing decodes until the next key frame."""

    def __init__(self, pts: int | None, reason: str):
        super().__init__(reason)
        self.pts = pts
        self.reason = reason


class _Track:
    """The video stream as frames in presentation order, from the start or from a key frame."""

    def __init__(self, path: str, *, num_threads: int):
        self.path = path
        self.num_threads = num_threads
        self.first_pts = 0
        self._container: Any = None
        self.rewind()
        stream = self.stream
        self.time_base = Fraction(stream.time_base.numerator, stream.time_base.denominator)
        self.rate = next((Fraction(r.numerator, r.denominator) for r in _rates(stream) if r), Fraction(25))
        self.frame_ticks = max(1, round(1 / (self.rate * self.time_base)))
        # AVI has no presentation times and FFmpeg's guesses go wrong with B-frames: count instead.
        self._counts = self._container.format.name == "avi" and bool(stream.codec_context.has_b_frames)

    @property
    def seekable(self) -> bool:
        return not self._counts

    def close(self) -> None:
        self._packets: Iterator[Any] = iter(())
        self._ahead: deque[Any] = deque()
        self._ready: deque[_Shot] = deque()
        if self._container is not None:
            self._container.close()

    def rewind(self) -> None:
        """Back to the first frame, also in files that cannot seek."""
        self.close()
        self._container = open_container(self.path)
        try:
            self.stream = _video_stream(self._container, self.path)
        except BaseException:
            self._container.close()
            raise
        self.stream.codec_context.thread_count = self.num_threads
        if self.num_threads > 1:
            self.stream.codec_context.thread_type = "AUTO"
        self._restart(None)

    def seek(self, pts: int, *, key_up_to: int) -> bool:
        """Goes to a key frame near `pts`; false when the one found comes after `key_up_to`, or there is none."""
        try:
            self._container.seek(pts, stream=self.stream)
            self._restart(None)
            while (packet := self._read()) is not None:
                if packet.is_keyframe and _stamp(packet) is not None:
                    break
        except (av.error.FFmpegError, _Damage):
            return False
        if packet is None or _stamp(packet) > key_up_to:
            return False
        self._restart(_stamp(packet))
        self._ahead.append(packet)
        return True

    def has_key_up_to(self, pts: int) -> bool:
        """Whether the next key frame, not yet decoded, comes at or before `pts`: then seeking is cheaper."""
        if not self.seekable:
            return False
        for packet in self._look_ahead():
            stamp = _stamp(packet)
            if packet.is_keyframe:
                return stamp is not None and stamp <= pts
            if packet.dts is not None and packet.dts > pts:
                return False
        return False

    def pull(self) -> _Shot | None:
        """The next frame; None at the end.

        Raises:
            _Damage: it cannot be decoded.
        """
        while not self._ready:
            if self._damage is not None:
                raise self._damage
            packet = self._ahead.popleft() if self._ahead else self._read()
            if packet is None:
                return None
            self._decode(packet)
        return self._ready.popleft()

    def _restart(self, key_pts: int | None) -> None:
        self._packets = self._container.demux(self.stream)
        self._ahead = deque()
        self._ready = deque()
        self._damage: _Damage | None = None
        self._key_pts = key_pts
        self._last_pts: int | None = None

    def _look_ahead(self) -> Iterator[Any]:
        yield from self._ahead
        try:
            while (packet := self._read()) is not None:
                self._ahead.append(packet)
                yield packet
        except _Damage as damage:
            ...
