"""Finds the end of a video from its last packets; the stated duration only shows whether the file was truncated."""

from __future__ import annotations

import contextlib
import dataclasses
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import av.error

from videozoo.io.slice import FileSlice

__all__ = ["Ending", "find_ending", "size_bytes"]

# Distance before the stated end at which the search for the last key frame begins; otherwise all packets are read.
_STEPS_S = (1, 8, 64)
_REORDERED = 33  # packets: no codec stores a frame more than 16 packets after later frames
_BEYOND = 10**15  # later than the last packet of any file, in any time base
# Tolerance of stated durations if no bytes prove a truncation.
_WRONG_S = 0.5
# Top-level elements: those of MP4 without frames, those of Matroska and ASF with frames.
_WITHOUT_FRAMES = (b"mfra", b"free", b"skip", b"udta", b"meta")
_EBML, _SEGMENT, _CLUSTER = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67", b"\x1f\x43\xb6\x75"
_ASF_DATA = bytes.fromhex("3626b2758e66cf11a6d900aa0062ce6c")
# MPEG-TS packets of 188 bytes, with preceding times (192) or trailing checksums (204): size and offset of the sync
# byte.
_TS_PACKETS = ((188, 0), (192, 4), (204, 0))
_SYNC = 0x47
_PS_TAIL_BYTES = 1 << 17  # holds more than one pack; a PES packet has at most 65,542 bytes


@dataclasses.dataclass(frozen=True)
class Ending:
    """The last packets of a file.

    last_pts, end_pts: presentation time and end of the last frame, in ticks of the video stream.
    num_decoded: the last decoding time plus one; in AVI, where these are indices, the number of frames.
    all_end_s: end of the last packet of any stream, on the container's clock.
    is_cut: whether the file is truncated. Formats without stated size and duration count as complete.
    """

    last_pts: int
    end_pts: int
    num_decoded: int | None
    all_end_s: float
    is_cut: bool = False


def find_ending(
    path: str,
    opened: tuple[Any, Any],
    open_again: Callable[[], tuple[Any, Any]],
    *,
    first_pts: int,
    frame_ticks: int,
    video_s: float | None,
    all_s: float | None,
) -> Ending | None:
    """Demuxes the last packets without decoding; returns None if the packets have no times.

    Args:
        opened: the file's container and its video stream; their position is the end of the file afterwards.
        open_again: returns a new container and its video stream.
        frame_ticks: duration of a frame whose packet does not state one.
        video_s, all_s: durations stated by the header, of the video and of the file, from the first frame.
    """
    container, stream = opened
    format_name = str(container.format.name)
    tick_s = stream.time_base.numerator / stream.time_base.denominator
    sample_lost = "mov" in format_name and _last_sample_lost(container, stream, size_bytes(path))
    stated_s = video_s if video_s is not None else all_s
    ending = None if sample_lost else _from_index(container, stream, frame_ticks)
    for step_s in _STEPS_S if stated_s is not None else ():
        after_s = (stated_s or 0.0) - step_s
        if ending is None and after_s > 0:
            with contextlib.suppress(av.error.FFmpegError, OverflowError):
                container.seek(first_pts + int(after_s / tick_s), stream=stream)
                ending = _scan(container, stream, frame_ticks, from_key=True, video_only=video_s is not None)
    if ending is None:
        again, its_stream = open_again()
        with contextlib.closing(again):
            ending = _scan(again, its_stream, frame_ticks, from_key=False)
    if ending is None or ending.end_pts <= first_pts:
        return None
    first_s = first_pts * tick_s
    end_s, until_s = (ending.end_pts * tick_s, video_s) if video_s is not None else (ending.all_end_s, all_s)
    missing_s = 0.0 if until_s is None else first_s + until_s - end_s
    fewer = ending.num_decoded is not None and stream.frames > ending.num_decoded
    cut = _is_cut(path, format_name, sample_lost, fewer, missing_s=missing_s, frame_s=frame_ticks * tick_s)
    return dataclasses.replace(ending, is_cut=cut)


def _from_index(container: Any, stream: Any, frame_ticks: int) -> Ending | None:
    """Returns the ending from an index of all frames, as in MP4 and AVI; None without one."""
    entries = getattr(stream, "index_entries", None)  # since PyAV 17
    if not entries or len(entries) != stream.frames or len(entries) <= _REORDERED:
        return None
    with contextlib.suppress(av.error.FFmpegError):
        container.seek(entries[len(entries) - _REORDERED].timestamp, stream=stream, any_frame=True)
        return _scan(container, stream, frame_ticks, from_key=False, video_only=True)
    return None


def _scan(container: Any, stream: Any, frame_ticks: int, *, from_key: bool, video_only: bool = False) -> Ending | None:
    """Reads the following packets. After a key frame, no earlier packet can hold a later frame."""
    stamps: list[int] = []
    ends: list[int] = []
    decoded: list[int] = []
    all_end_s = 0.0
    streams = [stream] if video_only else [s for s in container.streams if s.type in ("video", "audio")]
    in_avi = container.format.name == "avi"  # AVI has no presentation times
    with contextlib.suppress(av.error.FFmpegError):  # a damaged end: the packets before it count
        for packet in container.demux(streams):
            stamp = packet.dts if packet.pts is None or in_avi else packet.pts
            if stamp is None or not packet.size or packet.is_corrupt or packet.is_discard:
                continue
            is_video = packet.stream.index == stream.index
            end = stamp + (packet.duration or (frame_ticks if is_video else 0))
            all_end_s = max(all_end_s, end * packet.time_base.numerator / packet.time_base.denominator)
            if is_video and (stamps or packet.is_keyframe or not from_key):
                stamps.append(stamp)
                ends.append(end)
                decoded += [packet.dts] if packet.dts is not None else []
    if not stamps:
        return None
    last_stamp, last_end = max(zip(stamps, ends, strict=True))  # at variable rates, others may end later
    return Ending(last_stamp, last_end, max(decoded) + 1 if decoded else None, all_end_s)


def _is_cut(
    path: str, format_name: str, sample_lost: bool, fewer_frames: bool, *, missing_s: float, frame_s: float
) -> bool:
    """Returns whether the file is truncated by its index or sizes, or by far fewer packets than its header states.

    Args:
        sample_lost: whether the last sample in an MP4's index lies outside the file.
        fewer_frames: whether the file has fewer packets than its header states.
        missing_s: difference between the end by the header and the end by the packets.
    """
    is_matroska = "matroska" in format_name
    with _Bytes.of(path) as file:
        if "mov" in format_name:
            kinds, last, unfinished = file.elements(_box)
            if b"moof" in kinds:
                return last == b"moof" or (unfinished and last not in _WITHOUT_FRAMES)
            return sample_lost or (unfinished and last == b"moov")
        if is_matroska and file.elements(_ebml_element)[1:] == (_CLUSTER, True):
            return True
        if is_matroska and file.segment_is_short():
            return missing_s > frame_s / 2
        if format_name == "avi" and file.elements(_riff_chunk)[2]:
            return fewer_frames
        if format_name == "flv" and file.ends_in_flv_tag():
            return missing_s > 0
        if format_name == "asf":
            return file.elements(_asf_object)[1:] == (_ASF_DATA, True)
        if format_name == "mpegts":
            return file.ends_in_ts_packet()
        if format_name == "mpeg":
            return file.ends_in_ps_packet()
    return (format_name in ("avi", "flv") or is_matroska) and missing_s > max(_WRONG_S, 2 * frame_s)


def _last_sample_lost(container: Any, stream: Any, file_bytes: int) -> bool:
    """Returns whether the last sample in an MP4's index lies outside the file."""
    entries = getattr(stream, "index_entries", None)
    if entries:
        last = entries[len(entries) - 1]
        return bool(last.pos + last.size > file_bytes)
    with contextlib.suppress(av.error.FFmpegError):  # PyAV before 17 does not expose the index: read the sample
        container.seek(_BEYOND, stream=stream, any_frame=True)
        packet = next(container.demux(stream), None)
        return packet is None or packet.dts is None or packet.is_corrupt
    return True


# Each parser returns the kind and the length in bytes of an element, from its first bytes and the number of bytes left
# in the file; None if no element begins there.
Element = tuple[bytes, int] | None


def _box(head: bytes, left: int) -> Element:
    length = int.from_bytes(head[:4], "big")
    if length == 1:
        length = int.from_bytes(head[8:16], "big")
    elif length == 0:  # extends to the end of the file
        length = left
    if len(head) < 8:  # the beginning of a box, or padding
        return (head[4:], left + 1) if any(head) else None
    return (head[4:8], length) if length >= 8 else None


def _riff_chunk(head: bytes, left: int) -> Element:
    """Parses a RIFF chunk. Interrupted recorders leave sizes of 0 and -1; the final padding byte may be missing."""
    length = int.from_bytes(head[4:8], "little")
    if head[:4] != b"RIFF" or length in (0, 0xFFFFFFFF):
        return None
    return head[:4], min(8 + length + length % 2, max(left, 8 + length))


def _asf_object(head: bytes, left: int) -> Element:
    length = int.from_bytes(head[16:24], "little")
    return (head[:16], length) if length >= 24 else None


def _ebml_element(head: bytes, left: int) -> Element:
    """Parses an element of a Matroska file, or of its segment, which is entered; live recordings state no sizes."""
    kind = head[: 9 - (head[:1] or b"\0")[0].bit_length()]
    num = 9 - (head[len(kind) : len(kind) + 1] or b"\0")[0].bit_length()
    mask = (1 << 7 * num) - 1
    length = int.from_bytes(head[len(kind) : len(kind) + num], "big") & mask
    if len(kind) > 4 or num > 8 or (length == mask and kind != _SEGMENT):
        return None
    return kind, len(kind) + num + (0 if kind == _SEGMENT else length)


@dataclasses.dataclass(frozen=True)
class _Bytes:
    """The bytes of a file, or of the slice at an address of `io.slice`."""

    file: io.RawIOBase
    start: int
    size: int

    @classmethod
    @contextlib.contextmanager
    def of(cls, path: str) -> Iterator[_Bytes]:
        part = FileSlice.find(path)
        with Path(path if part is None else part.path).open("rb", buffering=0) as file:
            yield cls(file, 0 if part is None else part.offset, size_bytes(path))

    def read(self, position: int, length: int) -> bytes:
        self.file.seek(self.start + position)
        return self.file.read(min(length, self.size - position))

    def elements(self, begin: Callable[[bytes, int], Element]) -> tuple[set[bytes], bytes, bool]:
        """Returns the kinds of the file's elements, the kind of the last one, and whether the file ends inside it."""
        kinds: set[bytes] = set()
        kind, position = b"", 0
        while position < self.size:
            element = begin(self.read(position, 32), self.size - position)
            if element is None:
                break
            kind, length = element
            kinds.add(kind)
            position += length
        return kinds, kind, position > self.size

    def segment_is_short(self) -> bool:
        """Returns whether a Matroska file is shorter than its segment."""
        header = _ebml_element(head := self.read(0, 32), self.size)
        if header is None or header[0] != _EBML:
            return False
        head = self.read(header[1], 12)
        num = 9 - (head[4:5] or b"\0")[0].bit_length()
        mask = (1 << 7 * num) - 1
        length = int.from_bytes(head[4 : 4 + num], "big") & mask
        return head[:4] == _SEGMENT and length != mask and header[1] + 4 + num + length > self.size

    def ends_in_flv_tag(self) -> bool:
        """Returns whether an FLV file ends inside a tag; a complete file ends with the length of its last tag."""
        length = int.from_bytes(self.read(self.size - 4, 4), "big")
        if not 11 <= length <= self.size - 4:
            return True
        head = self.read(self.size - 4 - length, 4)
        return head[0] & 0x1F not in (8, 9, 18) or int.from_bytes(head[1:], "big") != length - 11

    def ends_in_ts_packet(self) -> bool:
        for length, sync in _TS_PACKETS:
            if all(self.read(sync + k * length, 1) == bytes([_SYNC]) for k in range(5)):
                over = self.size % length
                return over > sync and self.read(self.size - over + sync, 1) == bytes([_SYNC])
        return False

    def ends_in_ps_packet(self) -> bool:
        """Returns whether a program stream ends inside a packet, parsed from a pack near the end."""
        tail = self.read(max(0, self.size - _PS_TAIL_BYTES), _PS_TAIL_BYTES)
        position = tail.find(b"\0\0\1\xba")
        while 0 <= position < len(tail):
            head = tail[position : position + 14]
            if not b"\0\0\1".startswith(head[:3]) or head[3:4] == b"\xb9":  # other bytes, or the end code
                return False
            if head[3:4] == b"\xba":
                position += 14 + (head[13:14] or b"\0")[0] % 8 if head[4:5] >= b"\x40" else 12
            else:
                position += 6 + int.from_bytes(head[4:6], "big")
        return position > len(tail)


def size_bytes(path: str) -> int:
    """Returns the size of the file, or of the slice at an address of `io.slice`."""
    part = FileSlice.find(path)
    return Path(path).stat().st_size if part is None else part.size_bytes
