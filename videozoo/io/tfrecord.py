"""Reads and writes TFRecord files and their `Example` messages without TensorFlow.

A record is a little-endian length (8 bytes), the checksum of the length (4), the data, and its checksum (4). Checksums
are masked CRC-32C. A gzip-compressed file is read into memory completely.
"""

from __future__ import annotations

import functools
import gzip
import io
import mmap
import os
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from videozoo.errors import DataError
from videozoo.io.whole_file import whole_file
from videozoo.structured import regular_file

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
Buffer = bytes | memoryview
Feature = list[bytes] | np.ndarray  # a list of bytes, or int64 or float32 [n]
Context = dict[str, Feature]
Steps = np.ndarray | list[Feature]  # uint8 [t width] if each step is one byte string of equal length

HEADER_BYTES, FOOTER_BYTES = 12, 4
GZIP_MAGIC = b"\x1f\x8b"
MAX_UNPACKED = 20  # times the size of the file; features rarely compress to a half
SPARE_BYTES = 64 << 20
ADVICE = "fetch the file again"


class TFRecordFile:
    """The records of one file, with random access by offset.

    `offsets` and `problem` are determined on first access, by reading only the headers.

    Args:
        verify: whether to verify the checksum of each record on reading.

    Attributes:
        offsets: positions of the records, int64.
        problem: the damage at the end of the file, or None; it may start in the first record.

    Raises:
        DataError: the file does not exist, is empty, or is not a TFRecord file; see `problem` for a damaged end.
    """

    def __init__(self, path: StrPath, *, verify: bool = True):
        self.path = Path(path)
        self.verify = verify
        self._data = memoryview(_contents(self.path))
        _check_first(self._data[:HEADER_BYTES], self.path)

    @functools.cached_property
    def offsets(self) -> np.ndarray:
        return self._walked[0]

    @property
    def problem(self) -> str | None:
        return self._walked[1]

    @functools.cached_property
    def _walked(self) -> tuple[np.ndarray, str | None]:
        if isinstance(self._data.obj, bytes):
            return _walk(io.BytesIO(self._data.obj), len(self._data), self.path)
        # not through the memory map, whose read-ahead would load most of the file
        with self.path.open("rb", buffering=0) as file:
            return _walk(file, len(self._data), self.path)

    def __len__(self) -> int:
        return len(self.offsets)

    def __getitem__(self, number: int) -> memoryview:
        return self.at(int(self.offsets[number]))

    def __iter__(self) -> Iterator[memoryview]:
        """Yields all records; a damaged end raises after the others."""
        for offset in self.offsets:
            yield self.at(int(offset))
        if self.problem is not None:
            raise DataError(self.problem)

    def at(self, offset: int) -> memoryview:
        """Returns a view of the data of the record at `offset`; the file stays open while the view exists.

        Raises:
            DataError: the record's checksum is wrong, or the file ends within it.
        """
        header = self._data[offset : offset + HEADER_BYTES]
        if len(header) < HEADER_BYTES:
            raise DataError(f"{self.path} at byte {offset}: the file ends within a record; {ADVICE}")
        (size,) = struct.unpack_from("<Q", header)
        start = offset + HEADER_BYTES
        data, footer = self._data[start : start + size], self._data[start + size : start + size + FOOTER_BYTES]
        if len(footer) < FOOTER_BYTES:
            raise DataError(f"{self.path} at byte {offset}: the file ends within a record of {size} bytes; {ADVICE}")
        if self.verify and masked_crc32c(data) != int.from_bytes(footer, "little"):
            raise DataError(f"{self.path} at byte {offset}: wrong checksum of a record of {size} bytes; {ADVICE}")
        return data


def write_tfrecord(path: StrPath, records: Iterable[bytes], *, compress: bool = False) -> int:
    """Writes `records` atomically and returns their number."""
    count = 0
    with whole_file(path) as part, gzip.GzipFile(part, "wb", mtime=0) if compress else part.open("wb") as file:
        for count, data in enumerate(records, start=1):  # noqa: B007
            size = struct.pack("<Q", len(data))
            file.write(size + struct.pack("<I", masked_crc32c(size)))
            file.write(data + struct.pack("<I", masked_crc32c(data)))
    return count


def _contents(path: Path) -> bytes | mmap.mmap:
    try:
        with regular_file(path, kind="shard").open("rb") as file:
            size_bytes = os.fstat(file.fileno()).st_size
            if file.read(2) == GZIP_MAGIC:
                file.seek(0)
                most_bytes = MAX_UNPACKED * size_bytes + SPARE_BYTES
                with gzip.GzipFile(fileobj=file) as unpacked:
                    content = unpacked.read(most_bytes + 1)
                if len(content) > most_bytes:
                    raise DataError(
                        f"{path}: unpacks to over {most_bytes:,} bytes, but the file has only {size_bytes:,}; {ADVICE}"
                    )
                return content
            if size_bytes == 0:
                raise DataError(f"{path}: is empty but a shard has at least one record; remove it or {ADVICE}")
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: is not a complete gzip file ({error}); {ADVICE}") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the path") from error


def _check_first(header: memoryview, path: Path) -> None:
    if not header:
        raise DataError(f"{path}: holds no records; remove it or {ADVICE}")
    if len(header) == HEADER_BYTES and masked_crc32c(header[:8]) != struct.unpack_from("<I", header, 8)[0]:
        raise DataError(f"{path}: is not a TFRecord file (it does not begin with a record header); check the path")


def _walk(file: BinaryIO, total: int, path: Path) -> tuple[np.ndarray, str | None]:
    """Returns the positions of the records, and the damage of the first invalid one or None."""
    offsets: list[int] = []
    offset = 0
    problem = None
    while offset < total:
        file.seek(offset)
        header = file.read(HEADER_BYTES)
        if len(header) < HEADER_BYTES:
            problem = f"{path} at byte {offset}: the file ends within a record's header; {ADVICE}"
            break
        size, stored = struct.unpack("<QI", header)
        if masked_crc32c(header[:8]) != stored:
            problem = f"{path} at byte {offset}: the header of a record is damaged, the rest is lost; {ADVICE}"
            break
        if offset + HEADER_BYTES + size + FOOTER_BYTES > total:
            problem = f"{path} at byte {offset}: the file ends within a record of {size} bytes; {ADVICE}"
            break
        offsets.append(offset)
        offset += HEADER_BYTES + size + FOOTER_BYTES
    return np.array(offsets, np.int64), problem


# --- CRC-32C ------------------------------------------------------------------------------------------------

POLYNOMIAL = 0x82F63B78  # Castagnoli's, bits reversed
# For these three distances s, the sum of x^8s and x^0 is 0 modulo the polynomial: a byte can be moved back to all three
# positions at once. The same holds for twice, four times, ... the distances (squares over bits). Found by search: the
# shortest triple with a large ratio of smallest to greatest, so that many bytes move at a time.
MOVES = (4323, 5259, 5685)
SHORT_BYTES = 64


def masked_crc32c(data: Buffer) -> int:
    """Returns CRC-32C masked like in TFRecord: rotated, with an offset."""
    crc = crc32c(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def crc32c(data: Buffer) -> int:
    """Returns the CRC-32C (Castagnoli) of `data`: the remainder of a long polynomial over bits.

    Differs from the usual table, which Python would apply byte by byte: long data is first reduced by folding its front
    onto the rest, in blocks that numpy adds at once; then the remainders of the remaining bits are added.
    """
    if len(data) <= SHORT_BYTES:
        crc, remainders = 0xFFFFFFFF, _byte_remainders()
        for byte in data:
            crc = remainders[(crc ^ byte) & 255] ^ (crc >> 8)
        return crc ^ 0xFFFFFFFF
    rest = np.zeros(len(data) + 4, np.uint8)
    rest[:-4] = np.frombuffer(data, np.uint8)
    rest[:4] ^= 255  # the start value 0xffffffff
    scale = 1 << (len(rest) // MOVES[-1]).bit_length()
    while scale := scale >> 1:
        near, between, far = (scale * move for move in MOVES)
        while len(rest) > far:
            count = min(near, len(rest) - far)
            for move in (near, between, far):
                target = rest[move : move + count]
                np.bitwise_xor(target, rest[:count], out=target)
            rest = rest[count:]
    bits = np.unpackbits(rest, bitorder="little")
    return int(np.bitwise_xor.reduce(_bit_remainders()[-len(bits) :] * bits)) ^ 0xFFFFFFFF


def _next_power(remainder: int) -> int:
    """Returns the remainder of x^(k+1), given that of x^k."""
    return remainder >> 1 ^ (POLYNOMIAL if remainder & 1 else 0)


@functools.cache
def _byte_remainders() -> list[int]:
    table = list(range(256))
    for _ in range(8):
        table = [_next_power(value) for value in table]
    return table


@functools.cache
def _bit_remainders() -> np.ndarray:
    """Returns the remainders of the last bits of a message: ... x^2, x^1, x^0, uint32."""
    powers = [1 << 31]
    while len(powers) < 8 * MOVES[-1]:
        powers.append(_next_power(powers[-1]))
    return np.array(powers[::-1], np.uint32)


# --- tf.train.Example and tf.train.SequenceExample -------------------------------------------------------------

# Both begin with a Features message (field 1: features, or context); a SequenceExample has feature_lists in field 2.
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


def parse_example(data: Buffer) -> tuple[Context, dict[str, Steps]]:
    """Returns (features or context, feature lists) of an Example, which has no lists, or a SequenceExample.

    Raises:
        DataError: the bytes are neither; the message has no path, which the caller adds.
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
    except (IndexError, ValueError, TypeError, OverflowError, struct.error) as error:
        raise DataError(f"is not an Example message ({error}); the features may have a different format") from error
    return context, lists


def encode_example(features: Mapping[str, Feature]) -> bytes:
    """Returns an Example message."""
    return _delimited(1, _encode_features(features))


def encode_sequence_example(context: Mapping[str, Feature], lists: Mapping[str, Sequence[Feature]]) -> bytes:
    """Returns a SequenceExample message."""
    body = b""
    for name, steps in lists.items():
        value = b"".join(_delimited(1, _encode_feature(step)) for step in steps)
        body += _delimited(1, _delimited(1, name.encode()) + _delimited(2, value))
    return _delimited(1, _encode_features(context)) + _delimited(2, body)


def _varint(data: Buffer, at: int) -> tuple[int, int]:
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


def _fields(data: Buffer, at: int, end: int) -> Iterator[tuple[int, Any]]:
    """Yields (field number, (start, end) or value) of a message."""
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
                raise ValueError(f"a number at {at} is truncated")
            yield key >> 3, (at, at + size)
            at += size
        else:
            raise ValueError(f"a field of unknown type {kind} at {at}")


def _entries(data: Buffer, start: int, end: int) -> Iterator[tuple[str, int, int]]:
    """Yields (name, start, end of the value) of a map."""
    for _, (at, stop) in _fields(data, start, end):
        name, value = "", (stop, stop)
        for field, part in _fields(data, at, stop):
            if field == 1:
                name = str(data[part[0] : part[1]], "utf-8")
            elif field == 2:
                value = part
        yield name, *value


def _feature(data: Buffer, start: int, end: int) -> Feature:
    for field, (at, stop) in _fields(data, start, end):
        if field == 1:
            return [bytes(data[a:b]) for _, (a, b) in _fields(data, at, stop)]
        parts = list(_fields(data, at, stop))
        if field == 2:
            return np.frombuffer(b"".join(data[a:b] for _, (a, b) in parts), "<f4")
        if field == 3:
            return np.array([n for _, part in parts for n in _integers(data, part)], np.uint64).astype(np.int64)
    return []


def _integers(data: Buffer, part: Any) -> Iterator[int]:
    if isinstance(part, int):  # one field per number, as in files of old writers
        yield part
        return
    at, stop = part
    while at < stop:
        value, at = _varint(data, at)
        yield value


def _feature_list(data: Buffer, start: int, end: int) -> Steps:
    if (frames := _equal_steps(data, start, end)) is not None:
        return frames
    steps = [_feature(data, *part) for _, part in _fields(data, start, end)]
    widths = {len(step[0]) if isinstance(step, list) and len(step) == 1 else -1 for step in steps}
    if len(widths) == 1 and -1 not in widths:
        return np.frombuffer(b"".join(step[0] for step in steps), np.uint8).reshape(len(steps), -1)
    return steps


def _equal_steps(data: Buffer, start: int, end: int) -> np.ndarray | None:
    """Returns the steps of a list as one array if all have the same prefix and length, as in YouTube-8M; else None."""
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
