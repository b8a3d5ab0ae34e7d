"""Decodes with PyAV: exact seeks, upright RGB pictures, and FFmpeg's messages in errors."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import os
import re
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import av.logging
import numpy as np

from videozoo.contracts.video import VideoInfo
from videozoo.errors import DecodeError, VideoZooError, counted
from videozoo.io.ending import Ending, find_ending, size_bytes
from videozoo.io.limits import check_duration, check_size, decoder_bound, is_strict
from videozoo.io.reader import TIME_SLACK_S, Frames, VideoReader, check_times
from videozoo.io.slice import FileSlice

__all__ = [
    "ONE_THREAD",
    "Orientation",
    "PyAVReader",
    "decoding",
    "ffmpeg_log",
    "open_container",
    "reason_of",
    "rgb_picture",
    "stated_rates",
    "url_to_write",
    "video_stream",
]

_VERSION = int(av.__version__.split(".")[0])
_IS_OLD = _VERSION < 17
# swscale starts a thread per core by default; older PyAV has neither the threads nor the argument.
ONE_THREAD: dict[str, Any] = {} if _IS_OLD else {"threads": 1}
# swscale's fast conversion of 10 and 12 bits is two levels too dark; these flags avoid it:
# SWS_BILINEAR | SWS_FULL_CHR_H_INT | SWS_ACCURATE_RND, which older PyAV accepts only as a number.
_DEEP_COLOR: dict[str, Any] = {"interpolation": 1 << 1 | 1 << 13 | 1 << 18}
# Tags that are not UTF-8 must not prevent a file from opening; PyAV 19 keeps their bytes by default.
_ANY_TAGS: dict[str, Any] = {"metadata_errors": "replace"} if _VERSION < 19 else {}
# FFmpeg gets no file name; it cannot recognize these formats from a few frames.
_FORMATS = dict.fromkeys((".ts", ".mts", ".m2ts"), "mpegts") | dict.fromkeys((".mpg", ".mpeg", ".vob"), "mpeg")

_OVERSIZE = re.compile(r"size (?P<width>\d+)x(?P<height>\d+) exceeds specified max pixel count")
# Codecs with complete and correctly flagged key frames; codecs with key frames only need no list. All others are
# decoded and counted from the start, because a seek may give wrong pictures.
_TRUSTED = frozenset(
    ("av1", "ffv1", "ffvhuff", "flv1", "h263", "h264", "hevc", "huffyuv", "mpeg1video", "mpeg2video", "mpeg4")
    + ("msmpeg4v2", "msmpeg4v3", "theora", "vp8", "vp9", "vvc", "wmv1", "wmv2")
)


@contextlib.contextmanager
def decoding(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turns every exception of the decoder and its binding inside the block into the file's DecodeError."""
    try:
        yield
    except VideoZooError:
        raise
    except Exception as error:  # an odd file can make the binding raise any exception; one file must not end a job
        raise DecodeError(path, f"it cannot be decoded ({reason_of(error)})") from error


def _guarded(method: Callable[..., Any]) -> Any:
    """Runs a reader's method inside `decoding`."""
    if inspect.isgeneratorfunction(method):

        @functools.wraps(method)
        def generator(self: PyAVReader, *args: Any, **options: Any) -> Iterator[Any]:
            with decoding(self.path):
                yield from method(self, *args, **options)

        return generator

    @functools.wraps(method)
    def function(self: PyAVReader, *args: Any, **options: Any) -> Any:
        with decoding(self.path):
            return method(self, *args, **options)

    return function


class PyAVReader(VideoReader):
    """See `VideoReader`. Seeks to key frames, so the cost of a clip is independent of the video's length."""

    def __init__(self, path: str | os.PathLike[str], *, num_threads: int = 1, known: PyAVReader | None = None):
        """Opens a file; `known` is an open reader of the same file, which spares the search for its end."""
        self.path = os.fspath(path)
        with decoding(self.path):
            self._open(num_threads, known)

    def _open(self, num_threads: int, known: PyAVReader | None) -> None:
        self._num_threads = num_threads
        self._track = _Track(self.path, num_threads=num_threads)
        self._index: np.ndarray | None = None
        self._counted = False
        self._shown: _Shot | None = None  # the frame on screen at the latest requested time
        self._next: _Shot | None = None  # the following frame
        try:
            first = self._track.pull()
            if first is None:
                raise DecodeError(self.path, "its video stream holds no frame")
            self._first_pts = first.pts
            self._orientation = Orientation.of(first.frame)
            self._size = first.frame.width, first.frame.height
            self._ending: Ending | None = self._track.ending(first.pts) if known is None else known._ending
            self._shown = first if known is not None else None  # otherwise the track is at its end
            self.info = self._describe(first) if known is None else known.info
            check_duration(self.path, self.info.duration_s)
        except _Damage as damage:
            self.close()
            message = self._logged(0) or damage.reason
            raise DecodeError(self.path, f"its first frame cannot be decoded ({message})") from damage
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._shown = self._next = None
        self._track.close()

    @property
    @_guarded
    def num_frames(self) -> int:
        return len(self._presented())

    @property
    def damaged_frames(self) -> int:
        return len(self._track.damaged)

    @_guarded
    def frames_at(self, times_s: Sequence[float]) -> Frames:
        check_times(self.path, times_s)
        return self._frames([self._pts_at(t) for t in times_s])

    @_guarded
    def _frames_by_index(self, indices: list[int]) -> Frames:
        presented = self._presented()
        wanted = [int(presented[i]) for i in indices]
        frames = self._frames(wanted)
        if frames.times_s == tuple(self._time_s(pts) for pts in wanted) or self._counted:
            return frames
        # If packets and decoder disagree about the frames (some are hidden), the decoder is right.
        self._index = self._count_by_decoding()
        self._counted = True
        return self.frames_by_index(indices)

    def _frames(self, wanted: Sequence[int]) -> Frames:
        pictures: dict[int, np.ndarray] = {}
        found: dict[int, int] = {}
        for pts in sorted(set(wanted)):
            shot = self._shot_at(pts)
            found[pts] = shot.pts
            if shot.pts not in pictures:
                pictures[shot.pts] = self.picture(shot.frame)
        shape = (0, self.info.height_px, self.info.width_px, 3)
        chosen = [found[pts] for pts in wanted]
        data = np.stack([pictures[pts] for pts in chosen]) if chosen else np.empty(shape, np.uint8)
        return Frames(data, tuple(self._time_s(pts) for pts in chosen))

    def _shot_at(self, pts: int) -> _Shot:
        """Returns the frame on screen at `pts`; the first or last frame for times outside the video."""
        pts = max(pts, self._first_pts)
        try:
            backward = self._shown is None or pts < self._shown.pts
            within = self._next is not None and pts < self._next.pts
            if backward or (not within and self._track.has_key_up_to(pts)):
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
                    last, start = self._shown, self._damage_start(damage, self._shown)
                    if pts < start:
                        self._shown = None  # the decoder stopped: seek at the next request
                        return last
                    raise _Damage(start, damage.reason) from damage
            if self._next is None:
                self._check_end(pts, self._shown)
                return self._shown
            if self._next.pts > pts:
                return self._shown
            self._shown, self._next = self._next, None

    def _seek(self, pts: int) -> None:
        """Moves to a frame at or before `pts`, from a nearby key frame."""
        self._shown = self._next = None
        half_second = max(1, int(0.5 / self._track.time_base))
        back = 0
        while self._track.seekable and pts - back >= self._first_pts:
            if self._track.seek(pts - back, key_up_to=pts):
                shot = self._track.pull()
                if shot is not None and self._first_pts <= shot.pts <= pts:
                    self._shown = shot
                    return
            back = min(max(half_second, 2 * back), max(pts - self._first_pts, back + 1))  # finally, the first frame
        self._track.rewind()
        self._shown = self._track.pull()
        if self._shown is None:
            raise _Damage(self._first_pts, "the file changed while it was read")

    def _check_end(self, pts: int, last: _Shot) -> None:
        """Checks that the stream, which ended normally, reached the stated end of the file."""
        end = last.pts + self._ticks_of(last)
        if self._ending is not None and self._ending.is_cut and pts >= end:
            raise _Damage(end, self._cut_reason(end))

    def _cut_reason(self, end: int) -> str:
        end_s = self._time_s(end)
        if self.info.duration_s - end_s < 0.005:
            return f"the file is cut off after {end_s:.2f} s"
        return f"the file ends at {end_s:.2f} s of {self.info.duration_s:.2f} s"

    def _damage_start(self, damage: _Damage, last: _Shot) -> int:
        """Returns the time of the first lost frame: B-frames stored after the damage may precede it."""
        after = last.pts + self._ticks_of(last)
        return after if damage.pts is None else min(after, damage.pts)

    def _broken(self, pts: int, damage: _Damage) -> DecodeError:
        lost_end = self._cut_reason(self._ending.end_pts) if self._ending and self._ending.is_cut else ""
        if self._ending and lost_end and pts >= self._ending.last_pts:
            message = lost_end
        else:
            message = (self._logged(pts) or damage.reason) + (f", and {lost_end}" if lost_end else "")
        reason = f"the frame at {self._time_s(pts):.2f} s cannot be decoded ({message})"
        with contextlib.suppress(DecodeError):
            presented = self._presented()
            good = int(np.searchsorted(presented, damage.pts if damage.pts is not None else pts))
            reason += f", {good} of {len(presented)} frames come before the damage"
        return DecodeError(self.path, reason)

    def _logged(self, pts: int) -> str:
        """Returns FFmpeg's log for a second attempt at the damage, which is more specific than its error codes."""
        track = _Track(self.path, num_threads=1)
        try:
            with ffmpeg_log() as lines, contextlib.suppress(_Damage):
                if not (track.seekable and track.seek(pts, key_up_to=pts)):
                    track.rewind()
                while (shot := track.pull()) is not None and shot.pts <= pts:
                    pass
        finally:
            track.close()
        lines += track.errors
        for _, _, message in lines:
            if size := _OVERSIZE.search(message):
                check_size(self.path, int(size["width"]), int(size["height"]))
        return _one_line(*(message for _, _, message in lines[-1:]))

    @_guarded
    def sources(self, start_s: float) -> Iterator[tuple[float, Any]]:
        start = self._pts_at(start_s)
        with PyAVReader(self.path, num_threads=self._num_threads, known=self) as source:
            last: _Shot | None = None
            try:
                self._track.damaged |= source._track.damaged
                source._track.damaged = self._track.damaged
                if start > source._first_pts:
                    source._seek(start)
                shot = source._shown
                source._shown = None
                while shot is not None:
                    time_s = self._time_s(shot.pts)
                    if time_s >= start_s - TIME_SLACK_S:
                        yield time_s, shot.frame
                    last = shot
                    shot = source._track.pull()
                if last is not None:
                    source._check_end(last.pts + source._ticks_of(last), last)
            except _Damage as damage:
                if last is not None:
                    start = self._damage_start(damage, last)
                elif damage.pts is not None:
                    start = damage.pts
                raise self._broken(start, _Damage(start, damage.reason)) from damage

    @_guarded
    def picture(self, source: Any) -> np.ndarray:
        return rgb_picture(source, self._size, self._orientation)

    def _time_s(self, pts: int) -> float:
        return float((pts - self._first_pts) * self._track.time_base)

    def _pts_at(self, time_s: float) -> int:
        return self._first_pts + int(np.floor((time_s + TIME_SLACK_S) / float(self._track.time_base)))

    def _ticks_of(self, shot: _Shot) -> int:
        """Returns the duration of a frame; the average if the file does not state it."""
        return shot.frame.duration or self._track.frame_ticks

    def _presented(self) -> np.ndarray:
        """Returns the timestamps of all frames in presentation order, without decoding."""
        if self._index is None:
            if self._track.is_trusted:
                times = self._track.constant_rate_times(self._first_pts)
                self._index = times if times is not None else self._track.packet_times(self._first_pts)
            else:
                self._index = self._count_by_decoding()
        return self._index

    def _count_by_decoding(self) -> np.ndarray:
        track = _Track(self.path, num_threads=self._num_threads)
        times = []
        try:
            while (shot := track.pull()) is not None:
                times.append(shot.pts)
        except _Damage as damage:
            raise DecodeError(
                self.path, f"it decodes for {counted(len(times), 'frame')} only ({damage.reason})"
            ) from damage
        finally:
            track.close()
        return np.array(times, dtype=np.int64)

    def _describe(self, first: _Shot) -> VideoInfo:
        track = self._track
        width, height = self._size
        if self._orientation.transpose:
            width, height = height, width
        duration_s = track.duration_s
        if self._ending is not None:
            last_pts, end_s = self._ending.last_pts, self._time_s(self._ending.end_pts)
            duration_s = max(end_s, duration_s or 0.0) if self._ending.is_cut else end_s
        else:  # packets without times are counted
            last_pts = int(self._presented()[-1])
            duration_s = self._time_s(last_pts + track.frame_ticks)
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
            size_bytes=size_bytes(self.path),
            audio_rate_hz=track.audio_rate_hz,
            timecode=track.tag("timecode"),
            last_frame_s=self._time_s(last_pts),
        )


@dataclasses.dataclass(frozen=True)
class _Shot:
    pts: int
    frame: av.VideoFrame


class _Damage(Exception):
    """Nothing can be decoded from `pts` (None: right after the last frame) to the next key frame."""

    def __init__(self, pts: int | None, reason: str):
        super().__init__(reason)
        self.pts = pts
        self.reason = reason


class _Track:
    """The video stream as frames in presentation order, from the start or from a key frame."""

    def __init__(self, path: str, *, num_threads: int):
        self.path = path
        self.num_threads = num_threads
        self.errors: deque[Any] = deque(maxlen=20)  # the decoder's latest errors
        self.damaged: set[int] = set()  # timestamps of frames with concealed damage
        self._first_pts: int | None = None
        self._container: Any = None
        self.stream: Any
        self.rewind()
        stream = self.stream
        self.time_base = Fraction(stream.time_base.numerator, stream.time_base.denominator)
        self.rate = next((Fraction(r.numerator, r.denominator) for r in stated_rates(stream) if r), Fraction(25))
        self.frame_ticks = max(1, round(1 / (self.rate * self.time_base)))
        # AVI has no presentation times, and FFmpeg's guesses are wrong with B-frames: such files use decoding times.
        self._counts = self._format == "avi" and bool(stream.codec_context.has_b_frames)

    @property
    def seekable(self) -> bool:
        context = self.stream.codec_context
        # Old encoders signal their 4:4:4 format in the first packet only, which a seek skips.
        depends_on_first = context.name == "h264" and "444" in str(context.pix_fmt)
        return self.is_trusted and not self._counts and not depends_on_first

    @property
    def is_trusted(self) -> bool:
        """Whether packets match frames and decoding may begin at key frames."""
        codec = self.stream.codec_context.codec
        return codec.canonical_name in _TRUSTED or bool(codec.intra_only)

    def close(self) -> None:
        self._packets: Iterator[Any] = iter(())
        self._restart(None)
        if self._container is not None:
            self._container.close()

    def rewind(self) -> None:
        """Returns to the first frame, even in files that cannot seek."""
        self.close()
        self._container, self.stream = self._open_again()
        self.stream.codec_context.options = {"max_pixels": str(decoder_bound())}
        self.stream.codec_context.thread_count = self.num_threads
        if self.num_threads > 1:
            self.stream.codec_context.thread_type = "AUTO"
        self._packets = self._container.demux(self.stream)
        self._restart(None)

    def seek(self, pts: int, *, key_up_to: int) -> bool:
        """Seeks to a key frame near `pts`; returns False if it comes after `key_up_to`."""
        try:
            self._container.seek(pts, stream=self.stream)
            self._packets = self._container.demux(self.stream)
            self._restart(None)
            while (packet := self._read()) is not None:
                if packet.is_keyframe and _stamp(packet) is not None:
                    break
        except av.error.FFmpegError:
            return False
        stamp = None if packet is None else _stamp(packet)
        if stamp is None or stamp > key_up_to:
            return False
        self._restart(stamp)
        self._ahead.append(packet)
        return True

    def has_key_up_to(self, pts: int) -> bool:
        """Returns whether the next key frame, not decoded yet, is at or before `pts`: then a seek is cheaper."""
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
        """Returns the next frame, or None at the end.

        Raises:
            _Damage: the frame cannot be decoded.
        """
        while not self._ready:
            if self._damage is not None:
                raise self._damage
            packet = self._ahead.popleft() if self._ahead else self._read()
            if packet is not None:
                self._decode(packet)
            elif self._read_error is not None:
                self._stop(None, self._read_error)
            else:
                return None
        return self._ready.popleft()

    def _restart(self, key_pts: int | None) -> None:
        self._ahead: deque[Any] = deque()
        self._ready: deque[_Shot] = deque()
        self._damage: _Damage | None = None
        self._read_error: str | None = None
        self._decoded: deque[int] = deque()
        self._key_pts = key_pts
        self._last_pts: int | None = None

    def _read(self) -> Any:
        """Returns the next packet; at the end an empty one, which flushes the decoder, then None."""
        if self._read_error is not None:
            return None
        try:
            return next(self._packets, None)
        except av.error.FFmpegError as error:
            self._read_error = reason_of(error)
            return None

    def _look_ahead(self) -> Iterator[Any]:
        yield from self._ahead
        while (packet := self._read()) is not None:
            self._ahead.append(packet)
            yield packet

    def _decode(self, packet: Any) -> None:
        # A recording may begin in the middle of a GOP: packets before the first frame are skipped and not damage.
        skippable = self._last_pts is None and not packet.is_keyframe
        if packet.is_corrupt:
            if not skippable:
                self._stop(_stamp(packet), "the packet is truncated or damaged")
            return
        lines: list[Any] = []
        if packet.size and packet.dts is not None:
            self._decoded.append(packet.dts)
        try:
            # Logs of decoder threads cannot be assigned to a reader: only the frames' own flags count then.
            with ffmpeg_log() if self.num_threads == 1 else contextlib.nullcontext(lines) as lines:
                frames = packet.decode()
        except av.error.EOFError:
            return
        except av.error.FFmpegError as error:
            if not skippable:
                self._stop(_stamp(packet), reason_of(error))
            return
        finally:
            self.errors += lines
        if lines and not skippable:
            self._note_damage(_stamp(packet), _one_line(lines[-1][2]))
        for frame in frames:
            if frame.is_corrupt:
                self._note_damage(frame.pts, "the decoder marks it as corrupt")
            self._take(frame)

    def _note_damage(self, pts: int | None, reason: str) -> None:
        if pts is None or (self._key_pts is not None and pts < self._key_pts):  # the latter are not presented
            return
        self.damaged.add(pts)
        if is_strict() and self._damage is None:
            self._damage = _Damage(pts, f"concealed damage: {reason}")

    def _stop(self, pts: int | None, reason: str) -> None:
        """Flushes the complete frames of the decoder, then records the damage."""
        if self.num_threads > 1:  # errors arrive late: only frames already returned are certain
            pts = None
        else:
            with contextlib.suppress(av.error.FFmpegError):
                for frame in self.stream.codec_context.decode(None):
                    if pts is None or frame.pts is None or frame.pts < pts:
                        self._take(frame)
        self._damage = _Damage(pts, reason)

    def _take(self, frame: av.VideoFrame) -> None:
        check_size(self.path, frame.width, frame.height)
        if self._last_pts is None and frame.pts is None and self._key_pts is None:
            self._counts = True
        if self._counts and self._decoded:  # the n-th presented frame has the n-th decoding time
            pts = self._decoded.popleft()
        elif self._counts or frame.pts is None:
            pts = 0 if self._last_pts is None else self._last_pts + self.frame_ticks
        else:
            pts = frame.pts
            self._decoded.clear()
        self._last_pts = pts
        if self._first_pts is None:
            self._first_pts = pts
        # Frames stored after the key frame and presented before it refer to the previous GOP, which was not decoded.
        if self._key_pts is None or pts >= self._key_pts:
            self._ready.append(_Shot(pts, frame))

    def constant_rate_times(self, first_pts: int) -> np.ndarray | None:
        """Returns computed timestamps of all frames if the container's index shows even spacing, else None."""
        entries = getattr(self.stream, "index_entries", None)  # since PyAV 17
        num = self.stream.frames
        if self._counts or not entries or not num or len(entries) != num:
            return None
        if any(entry.is_discard for entry in entries):
            return None
        steps = np.diff([entry.timestamp for entry in entries])
        if len(steps) and (steps != steps[0]).any():
            return None
        return first_pts + np.arange(num, dtype=np.int64) * (int(steps[0]) if len(steps) else 1)

    def packet_times(self, first_pts: int) -> np.ndarray:
        """Reads the timestamps of all frames in one pass over the packets, without decoding.

        Raises:
            DecodeError: the file cannot be read to its end.
        """
        container = open_container(self.path)
        stamps: list[int | None] = []
        try:
            for packet in container.demux(video_stream(container, self.path)):
                if packet.size and not packet.is_discard and not _is_hidden(packet):
                    stamps.append(packet.dts if self._counts else _stamp(packet))
        except av.error.FFmpegError as error:
            raise DecodeError(
                self.path, f"it can be read for {counted(len(stamps), 'frame')} only ({reason_of(error)})"
            ) from error
        finally:
            container.close()
        known = [stamp for stamp in stamps if stamp is not None]
        if len(known) < len(stamps):
            return first_pts + np.arange(len(stamps), dtype=np.int64) * self.frame_ticks
        times = np.sort(np.array(known, dtype=np.int64))
        return times[times >= first_pts]

    @property
    def duration_s(self) -> float | None:
        """The duration stated by the container, of the video stream if possible."""
        stated_s = self._stream_duration_s
        return stated_s if stated_s is not None else self._container_duration_s

    def ending(self, first_pts: int) -> Ending | None:
        """Returns the end of the file, or None if packets have no times. Afterwards, call `seek` or `rewind`."""
        self._packets = iter(())
        return find_ending(
            self.path,
            (self._container, self.stream),
            self._open_again,
            first_pts=first_pts,
            frame_ticks=self.frame_ticks,
            video_s=self._stream_duration_s,
            all_s=self._container_duration_s,
        )

    def _open_again(self) -> tuple[Any, Any]:
        container = open_container(self.path)
        try:
            return container, video_stream(container, self.path)
        except BaseException:
            container.close()
            raise

    @property
    def _stream_duration_s(self) -> float | None:
        if self.stream.duration:
            return self._from_start_s(float(self.stream.duration * self.time_base))
        tag = self.tag("DURATION") or ""  # Matroska: 00:00:10.400000000
        with contextlib.suppress(ValueError):
            hours, minutes, seconds = tag.split(":")
            return self._from_start_s(int(hours) * 3600 + int(minutes) * 60 + float(seconds))
        return None

    @property
    def _container_duration_s(self) -> float | None:
        if not self._container.duration:
            return None
        return self._from_start_s(self._container.duration / av.time_base)

    def _from_start_s(self, stated_s: float) -> float | None:
        """Converts a stated end to a duration: Matroska counts from zero even if its first frame is later."""
        if self._is_matroska:
            stated_s -= float((self._first_pts or 0) * self.time_base)
        return stated_s if stated_s > 0 else None

    def tag(self, name: str) -> str | None:
        """Returns a tag of the stream, case-insensitive; replaces bytes that are not UTF-8."""
        value = next((text for key, text in self.stream.metadata.items() if key.lower() == name.lower()), None)
        return None if value is None else value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")

    @property
    def _is_matroska(self) -> bool:
        return "matroska" in self._format

    @property
    def _format(self) -> str:
        return str(self._container.format.name)

    @property
    def audio_rate_hz(self) -> int | None:
        audio = self._container.streams.audio
        return audio[0].codec_context.sample_rate if audio and audio[0].codec_context else None


@dataclasses.dataclass(frozen=True)
class Orientation:
    """The operations that turn stored pictures upright: a transposition, then mirroring."""

    transpose: bool = False
    mirror_x: bool = False
    mirror_y: bool = False

    @classmethod
    def of(cls, frame: av.VideoFrame) -> Orientation:
        """Reads the display matrix [[a, b], [c, d]]: x' = a x + c y, y' = b x + d y."""
        try:
            side_data: Any = frame.side_data.get("DISPLAYMATRIX")
        except ValueError:  # side data unknown to PyAV, such as Exif, hides the matrix: only its angle is available
            quarter_turns = round(-frame.rotation / 90) % 4
            return cls(quarter_turns % 2 == 1, quarter_turns in (1, 2), quarter_turns in (2, 3))
        if side_data is None:
            return cls()
        a, b, _, c, d = np.frombuffer(bytes(side_data), dtype=np.int32)[:5].tolist()
        if abs(a) >= abs(b):
            return cls(False, a < 0, d < 0)
        return cls(True, c < 0, b < 0)

    @property
    def rotation_deg(self) -> int:
        """Clockwise rotation in degrees."""
        if self.transpose:
            return 90 if self.mirror_x else 270
        return 180 if self.mirror_y else 0

    def apply(self, picture: np.ndarray) -> np.ndarray:
        """Returns an upright view of `picture` [h w c]."""
        if self.transpose:
            picture = picture.transpose(1, 0, 2)
        return picture[:: -1 if self.mirror_y else 1, :: -1 if self.mirror_x else 1]


def rgb_picture(frame: av.VideoFrame, size: tuple[int, int], orientation: Orientation) -> np.ndarray:
    """Returns uint8 `[h w 3]`, upright, of a frame scaled to `size` (width, height) before it is turned."""
    width, height = size
    deep = _DEEP_COLOR if frame.format.components[0].bits > 8 else {}
    how = {**ONE_THREAD, **deep, **_color_arguments(frame)}
    rgb = frame.reformat(width=width, height=height, format="rgb24", **how).to_ndarray()
    return np.array(orientation.apply(rgb), order="C")


def _color_arguments(frame: av.VideoFrame) -> dict[str, Any]:
    """Returns the frame's color matrix and range as arguments: PyAV before 17 does not pass them to swscale."""
    if not _IS_OLD or not frame.format.name.startswith("yuv"):
        return {}
    full_range = frame.color_range == 2 or frame.format.name.startswith("yuvj")
    return {
        "src_colorspace": int(frame.colorspace),
        "dst_colorspace": 5,  # differs from the source's: otherwise these arguments are ignored
        "src_color_range": 2 if full_range else 1,
        "dst_color_range": 2,
    }


def open_container(path: str) -> Any:
    """Opens a file, or the slice at an address of `io.slice`, for reading.

    Raises:
        DecodeError: the path does not exist, or FFmpeg does not recognize the file.
    """
    part = FileSlice.find(path)
    file = Path(path) if part is None else part.path
    if part is not None and file.is_file() and part.offset + part.size_bytes > file.stat().st_size:
        raise DecodeError(path, f"the file ends at byte {file.stat().st_size}, before this slice of it")
    if not file.exists():
        raise DecodeError(path, "there is no such file", "check the path")
    if not file.is_file():
        raise DecodeError(path, "it is not a file", "give the path of a video file")
    if file.stat().st_size == 0:
        raise DecodeError(path, "the file is empty (0 bytes)")
    try:
        return _open(file, part)
    except (av.error.FFmpegError, OSError, ValueError) as error:
        named = _FORMATS.get(Path(path).suffix.lower())
        with contextlib.suppress(av.error.FFmpegError, OSError, ValueError):
            if named is not None:
                return _open(file, part, format_name=named)
        with ffmpeg_log() as lines, contextlib.suppress(av.error.FFmpegError, OSError, ValueError):
            _open(file, part).close()
        reason = "it is a text file" if _is_text(file, part) else reason_of(error, lines)
        raise DecodeError(path, f"it cannot be opened as a video ({reason})") from error


def _open(file: Path, part: FileSlice | None, *, format_name: str | None = None) -> Any:
    """Opens only the named file: FFmpeg gets its descriptor and may not open any path.

    Playlists, patterns and references to other files are thus refused, and special characters in a name have no effect.
    """
    with file.open("rb", buffering=0) as opened:
        reading = {"fd": str(opened.fileno()), "protocol_whitelist": "fd,subfile"}
        # FFmpeg decodes some frames to determine their size, so the limit applies here, too. In older PyAV, decoding
        # options crash on formats that detect their streams late, such as FLV.
        bounded = {} if _IS_OLD else {"max_pixels": str(decoder_bound())}
        url = "fd:" if part is None else part.url
        return av.open(url, format=format_name, container_options=reading, options=bounded, **_ANY_TAGS)


def _is_text(file: Path, part: FileSlice | None) -> bool:
    with file.open("rb") as opened:
        opened.seek(0 if part is None else part.offset)
        head = opened.read(1024 if part is None else min(1024, part.size_bytes))
    return bool(head) and all(byte >= 32 or byte in b"\t\n\r\f" for byte in head)


def url_to_write(path: str | os.PathLike[str]) -> str:
    """Returns FFmpeg's URL of a file to write: without `file:`, a colon in the path would select a protocol."""
    return f"file:{os.fspath(path)}"


_listening = threading.Lock()
_num_listeners = 0
_usual_level: int | None = None


@contextlib.contextmanager
def ffmpeg_log() -> Iterator[list[Any]]:
    """Collects FFmpeg's error log of this thread, which PyAV drops by default; nested blocks collect separately."""
    global _num_listeners, _usual_level
    with _listening:  # the log level is process-wide
        _num_listeners += 1
        if _num_listeners == 1:
            _usual_level = av.logging.get_level()
            av.logging.set_level(av.logging.ERROR)
            av.logging.set_skip_repeated(False)
    try:
        with av.logging.Capture(local=True) as lines:
            yield lines
    finally:
        with _listening:
            _num_listeners -= 1
            if _num_listeners == 0:
                av.logging.set_level(_usual_level)
                av.logging.set_skip_repeated(True)


def reason_of(error: BaseException, lines: Sequence[tuple[int, str, str]] = ()) -> str:
    """Returns FFmpeg's message in one line."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return _one_line(text, *(message for _, _, message in lines[-1:]))


def _one_line(*parts: str) -> str:
    return ": ".join(" ".join(part.split()).rstrip(".").lower() for part in parts)


def video_stream(container: Any, path: str) -> Any:
    """Returns the video stream; ignores cover pictures and text files.

    Raises:
        DecodeError: there is no video stream.
    """
    kinds = sorted({stream.type for stream in container.streams})
    stream = container.streams.best("video")
    if stream is None or stream.disposition & av.stream.Disposition.attached_pic:
        raise DecodeError(path, f"it has no video stream (only: {', '.join(kinds) or 'nothing'})")
    if stream.codec_context is None:
        raise DecodeError(path, "its video codec is unknown to FFmpeg")
    check_size(path, stream.codec_context.width, stream.codec_context.height)
    return stream


def _is_hidden(packet: Any) -> bool:
    """Returns whether a packet of VP8 or VP9 holds only a hidden reference frame.

    See RFC 6386, section 9.1, and the VP9 bitstream specification, section 6.2; a superframe of VP9 (annex B) also
    holds a presented frame.
    """
    codec = packet.stream.codec_context.codec.canonical_name
    if codec not in ("vp8", "vp9"):
        return False
    data = bytes(packet)
    if codec == "vp8":
        return not data[0] & 0x10
    profile_3 = data[0] & 0x30 == 0x30  # has one more bit
    shown_again, shown = (0x04, 0x01) if profile_3 else (0x08, 0x02)
    return data[-1] & 0xE0 != 0xC0 and not data[0] & shown_again and not data[0] & shown


def stated_rates(stream: Any) -> tuple[Any, ...]:
    return stream.average_rate, stream.guessed_rate, stream.base_rate


def _stamp(packet: Any) -> int | None:
    stamp: int | None = packet.pts if packet.pts is not None else packet.dts
    return stamp
