"""TFRecord files and the `Example` messages in them, read and written without TensorFlow.

A record is a little-endian length (8 bytes), the checksum of these (4), the data, and its checksum (4). Checksums
are masked CRC-32C. A file may be compressed as a whole (gzip), and is then read into memory as a whole.
"""

from __future__ import annotations

import functools
import gzip
import mmap
import os
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from videozoo.errors import DataError

__all__ = [
    "Feature",
    "Steps",
    "TFRecordFile",
    "crc32c",
    "encode_example",
    "encode_sequence_example",
    "parse_example",
    "write_tfrecord",
]

StrPath = str | os.PathLike[str]
Feature = list[bytes] | np.ndarray  # of bytes, or int64 or float32 [n]
Context = dict[str, Feature]
Steps = np.ndarray | list[Feature]  # uint8 [t width] where each step is one string of bytes, all of one length

HEADER_BYTES, FOOTER_BYTES = 12, 4
GZIP_MAGIC = b"\x1f\x8b"
ADVICE = "fetch the file again"


class TFRecordFile:
    """The records of one file, by number; the file is walked once, from header to header, without reading data.

    Args:
        verify: compare the checksum of each record when it is read.

    Raises:
        DataError: no such file, an empty one, or not a TFRecord file; `truncated` says how a damaged end reads.
    """

    def __init__(self, path: StrPath, *, verify: bool = True):
        self.path = Path(path)
        self.verify = verify
        self._data = _contents(self.path)
        self.offsets, self.problem = _walk(self._data, self.path)

    def __len__(self) -> int:
        return len(self.offsets)

    def __getitem__(self, number: int) -> bytes:
        return self.at(int(self.offsets[number]))

    def __iter__(self) -> Iterator[bytes]:
        """All records; a damaged end raises once the others have been given."""
        for offset in self.offsets:
            yield self.at(int(offset))
        if self.problem is not None:
            raise DataError(self.problem)

    def at(self, offset: int) -> bytes:
        """The data of the record that begins at `offset`.

        Raises:
            DataError: its checksum is wrong, or the file ends within it.
        """
        header = self._data[offset : offset + HEADER_BYTES]
        if len(header) < HEADER_BYTES:
            raise DataError(f"{self.path} at byte {offset}: the file ends within a record; {ADVICE}")
        (size,) = struct.unpack_from("<Q", header)
        start = offset + HEADER_BYTES
        body = self._data[start : start + size + FOOTER_BYTES]
        if len(body) < size + FOOTER_BYTES:
            raise DataError(f"{self.path} at byte {offset}: the file ends within a record of {size} bytes; {ADVICE}")
        data, (stored,) = body[:size], struct.unpack_from("<I", body, size)
        if self.verify and masked_crc32c(data) != stored:
            raise DataError(f"{self.path} at byte {offset}: wrong checksum of a record of {size} bytes; {ADVICE}")
        return data

    def close(self) -> None:
        if isinstance(self._data, mmap.mmap):
            self._data.close()


def write_tfrecord(path: StrPath, records: Iterable[bytes], *, compress: bool = False) -> int:
    """Writes `records` and says how many; the file appears whole or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    count = 0
    with gzip.GzipFile(partial, "wb", mtime=0) if compress else partial.open("wb") as file:
        for count, data in enumerate(records, start=1):  # noqa: B007
            size = struct.pack("<Q", len(data))
            file.write(size + struct.pack("<I", masked_crc32c(size)))
            file.write(data + struct.pack("<I", masked_crc32c(data)))
    partial.replace(path)
    return count


def _contents(path: Path) -> bytes | mmap.mmap:
    try:
        with path.open("rb") as file:
            if file.read(2) == GZIP_MAGIC:
                file.seek(0)
                with gzip.GzipFile(fileobj=file) as unpacked:
                    return unpacked.read()
            if os.fstat(file.fileno()).st_size == 0:
                raise DataError(f"{path}: is empty; a shard has at least one record, remove it or {ADVICE}")
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: is no whole gzip file ({error}); {ADVICE}") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the path") from error


def _walk(data: bytes | mmap.mmap, path: Path) -> tuple[np.ndarray, str | None]:
    """Where records begin, and what is wrong with the one that the walk stopped at."""
    offsets: list[int] = []
    total, offset = len(data), 0
    if not total:
        raise DataError(f"{path}: holds no records; remove it or {ADVICE}")
    problem = None
    while offset < total:
        header = data[offset : offset + HEADER_BYTES]
        if len(header) < HEADER_BYTES:
            problem = f"{path} at byte {offset}: the file ends within a record's header; {ADVICE}"
            break
        size, stored = struct.unpack("<QI", header)
        if masked_crc32c(header[:8]) != stored:
            if not offset:
                raise DataError(f"{path}: is no TFRecord file (it begins with no record header); check the path")
            problem = f"{path} at byte {offset}: the header of a record is damaged, and all behind it lost; {ADVICE}"
            break
        if offset + HEADER_BYTES + size + FOOTER_BYTES > total:
            problem = f"{path} at byte {offset}: the file ends within a record of {size} bytes; {ADVICE}"
            break
        offsets.append(offset)
        offset += HEADER_BYTES + size + FOOTER_BYTES
    if problem is not None and not offsets:
        raise DataError(problem)
    return np.array(offsets, np.int64), problem


# --- CRC-32C ------------------------------------------------------------------------------------------------

POLYNOMIAL = 0x82F63B78  # of Castagnoli, bits reversed
LANE_BYTES = 128  # stretches of a record whose checksums numpy computes side by side
SHORT_BYTES = 1024


def masked_crc32c(data: bytes) -> int:
    """CRC-32C as TFRecord stores it, rotated and shifted."""
    crc = crc32c(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def crc32c(data: bytes) -> int:
    """The CRC-32C (Castagnoli) of `data`.

    A checksum is linear, and zeros in front change nothing: long data is padded in front and cut into lanes whose
    checksums run side by side in numpy, two bytes a step; neighbours are then combined, pair by pair.
    """
    if len(data) < SHORT_BYTES:
        table, crc = _byte_table(), 0xFFFFFFFF
        for byte in data:
            crc = table[(crc ^ byte) & 255] ^ (crc >> 8)
        return crc ^ 0xFFFFFFFF
    num_lanes = -(-len(data) // LANE_BYTES)
    padded = np.zeros(num_lanes * LANE_BYTES, np.uint8)
    padded[-len(data) :] = np.frombuffer(data, np.uint8)
    padded[-len(data) :][:4] ^= 255  # what the start value 0xffffffff does
    words = np.ascontiguousarray(padded.view("<u2").reshape(num_lanes, -1).T)
    table16 = _word_table()
    state = np.zeros(num_lanes, np.uint32)
    for row in words:
        state = table16.take(row ^ state.astype(np.uint16)) ^ (state >> np.uint32(16))
    length = LANE_BYTES
    while len(state) > 1:
        if len(state) % 2:
            state = np.concatenate([np.zeros(1, np.uint32), state])
        low, high = _zeros_tables(length)
        ahead = np.ascontiguousarray(state[0::2])
        state = low.take(ahead.astype(np.uint16)) ^ high.take(ahead >> np.uint32(16)) ^ state[1::2]
        length *= 2
    return int(state[0]) ^ 0xFFFFFFFF


@functools.cache
def _byte_table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (POLYNOMIAL if byte & 1 else 0)
        table.append(byte)
    return table


@functools.cache
def _word_table() -> np.ndarray:
    """What two bytes at once make of a checksum."""
    table = np.array(_byte_table(), np.uint32)
    words = np.arange(1 << 16, dtype=np.uint32)
    once = table[words & 255] ^ (words >> np.uint32(8))
    return table[once & 255] ^ (once >> np.uint32(8))


@functools.cache
def _zeros_tables(num_bytes: int) -> tuple[np.ndarray, np.ndarray]:
    """What `num_bytes` zeros (a power of two) make of a checksum: of its low and of its high 16 bits."""
    if num_bytes > 2:
        low, high = half = _zeros_tables(num_bytes // 2)
    else:
        words = np.arange(1 << 16, dtype=np.uint32)
        return _word_table(), words  # two zeros shift the high half down
    return tuple(low.take(part & np.uint32(0xFFFF)) ^ high.take(part >> np.uint32(16)) for part in half)  # type: ignore[return-value]


# --- tf.train.Example and tf.train.SequenceExample -------------------------------------------------------------

# Both begin with a Features message (field 1: features, or context); a SequenceExample has feature_lists in field 2.
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


def parse_example(data: bytes) -> tuple[Context, dict[str, Steps]]:
    """(features or context, feature lists) of an Example or a SequenceExample; of the former there are no lists.

    Raises:
        DataError: the bytes are neither; without a place, which the caller knows.
    """
    context: Context = {}
    lists: dict[str, Steps] = {}
    try:
        for field, part in _fields(data, 0, len(data)):
            if field == 1:
                for name, start, end in _entries(data, *part):
                    context[name] = _feature(data, start, end)
            elif field == 2:
                for name, start, end in _entries(data, *part):
                    lists[name] = _feature_list(data, start, end)
    except (IndexError, ValueError, TypeError, struct.error) as error:
        raise DataError(f"is no Example message ({error}); the features may be stored in another form") from error
    return context, lists


def encode_example(features: Mapping[str, Feature]) -> bytes:
    """An Example message."""
    return _delimited(1, _encode_features(features))


def encode_sequence_example(context: Mapping[str, Feature], lists: Mapping[str, Sequence[Feature]]) -> bytes:
    """A SequenceExample message."""
    body = b""
    for name, steps in lists.items():
        value = b"".join(_delimited(1, _encode_feature(step)) for step in steps)
        body += _delimited(1, _delimited(1, name.encode()) + _delimited(2, value))
    return _delimited(1, _encode_features(context)) + _delimited(2, body)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    byte = data[at]
    if byte < 128:
        return byte, at + 1
    value, shift = byte & 127, 7
    while True:
        at += 1
        byte = data[at]
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at + 1
        shift += 7
        if shift > 63:
            raise ValueError(f"a number of more than 10 bytes at {at}")


def _fields(data: bytes, at: int, end: int) -> Iterator[tuple[int, Any]]:
    """(field number, (start, end) or value) of a message."""
    while at < end:
        key, at = _varint(data, at)
        kind = key & 7
        if kind == BYTES:
            size, at = _varint(data, at)
            if at + size > end:
                raise ValueError(f"a field of {size} bytes at {at} is longer than its message")
            yield key >> 3, (at, at + size)
            at += size
        elif kind == VARINT:
            value, at = _varint(data, at)
            yield key >> 3, value
        elif kind in (FIXED32, FIXED64):
            size = 4 if kind == FIXED32 else 8
            if at + size > end:
                raise ValueError(f"a number at {at} is cut off")
            yield key >> 3, (at, at + size)
            at += size
        else:
            raise ValueError(f"a field of unknown type {kind} at {at}")


def _entries(data: bytes, start: int, end: int) -> Iterator[tuple[str, int, int]]:
    """(name, start, end of the value) of a map."""
    for _, (at, stop) in _fields(data, start, end):
        name, value = "", (stop, stop)
        for field, part in _fields(data, at, stop):
            if field == 1:
                name = data[part[0] : part[1]].decode("utf-8")
            elif field == 2:
                value = part
        yield name, *value


def _feature(data: bytes, start: int, end: int) -> Feature:
    for field, (at, stop) in _fields(data, start, end):
        if field == 1:
            return [data[a:b] for _, (a, b) in _fields(data, at, stop)]
        parts = list(_fields(data, at, stop))
        if field == 2:
            return np.frombuffer(b"".join(data[a:b] for _, (a, b) in parts), "<f4")
        if field == 3:
            return np.array([n for _, part in parts for n in _integers(data, part)], np.uint64).astype(np.int64)
    return []


def _integers(data: bytes, part: Any) -> Iterator[int]:
    if isinstance(part, int):  # one by one, as old writers have it
        yield part
        return
    at, stop = part
    while at < stop:
        value, at = _varint(data, at)
        yield value


def _feature_list(data: bytes, start: int, end: int) -> Steps:
    if (frames := _equal_steps(data, start, end)) is not None:
        return frames
    steps = [_feature(data, *part) for _, part in _fields(data, start, end)]
    widths = {len(step[0]) if isinstance(step, list) and len(step) == 1 else -1 for step in steps}
    if len(widths) == 1 and -1 not in widths:
        return np.frombuffer(b"".join(step[0] for step in steps), np.uint8).reshape(len(steps), -1)
    return steps


def _equal_steps(data: bytes, start: int, end: int) -> np.ndarray | None:
    """The frames of a list whose steps all begin with the same bytes and are of one length, as YouTube-8M's are."""
    if start == end:
        return None
    _, first = next(_fields(data, start, end))
    value = _feature(data, *first)
    period = first[1] - start
    if not isinstance(value, list) or len(value) != 1 or (end - start) % period:
        return None
    rows = np.frombuffer(data, np.uint8, count=end - start, offset=start).reshape(-1, period)
    head = period - len(value[0])
    return rows[:, head:] if (rows[:, :head] == rows[0, :head]).all() else None


def _encode_varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _delimited(field: int, body: bytes) -> bytes:
    return _encode_varint(field << 3 | BYTES) + _encode_varint(len(body)) + body


def _encode_feature(value: Feature) -> bytes:
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        return _delimited(2, _delimited(1, value.astype("<f4").tobytes()))
    if isinstance(value, np.ndarray):
        return _delimited(3, _delimited(1, b"".join(_encode_varint(int(n)) for n in value)))
    return _delimited(1, b"".join(_delimited(1, item) for item in value))


def _encode_features(features: Mapping[str, Feature]) -> bytes:
    return b"".join(
        _delimited(1, _delimited(1, name.encode()) + _delimited(2, _encode_feature(value)))
        for name, value in features.items()
    )
