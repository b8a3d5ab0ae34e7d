from __future__ import annotations

import contextlib
import gzip
import os

import numpy as np
import pytest

from videozoo.errors import DataError
from videozoo.io import tfrecord
from videozoo.io.tfrecord import (
    TFRecordFile,
    crc32c,
    encode_example,
    encode_sequence_example,
    parse_example,
    write_tfrecord,
)


def bitwise_crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def test_crc32c_of_the_standard():
    assert crc32c(b"123456789") == 0xE3069283  # the check value of CRC-32C
    assert crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720, B.4


@pytest.mark.parametrize("size", [0, 1, 1023, 1024, 1025, 3000, 4096, 20_001])
def test_crc32c_of_any_length(size):
    data = np.random.default_rng(size).bytes(size)
    assert crc32c(data) == bitwise_crc32c(data)


@pytest.mark.parametrize("compress", [False, True])
def test_written_is_read(tmp_path, compress):
    records = [b"", b"a", bytes(5000)]
    assert write_tfrecord(tmp_path / "a", records, compress=compress) == 3
    file = TFRecordFile(tmp_path / "a")
    assert list(file) == records and file[1] == b"a" and file.problem is None


def test_bytes_of_a_record(tmp_path):
    # length 3, its masked checksum, data, its masked checksum
    write_tfrecord(tmp_path / "a", [b"foo"])
    assert (tmp_path / "a").read_bytes()[:8] == (3).to_bytes(8, "little")
    assert len((tmp_path / "a").read_bytes()) == 12 + 3 + 4


def test_messages():
    frames = [[bytes([i] * 4)] for i in range(3)]
    labels = np.array([0, 127, 128, 3861])
    context, lists = parse_example(encode_sequence_example({"id": [b"x"], "labels": labels}, {"rgb": frames}))
    assert context["id"] == [b"x"] and context["labels"].tolist() == labels.tolist()
    assert lists["rgb"].tolist() == [[i] * 4 for i in range(3)]
    context, lists = parse_example(encode_example({"mean_rgb": np.array([0.5, -1.0], np.float32)}))
    assert context["mean_rgb"].tolist() == [0.5, -1.0] and not lists


def test_damage_names_file_and_offset(tmp_path):
    path = tmp_path / "a.tfrecord"
    write_tfrecord(path, [bytes(100), bytes(200)])
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    file = TFRecordFile(path)
    assert len(file) == 1
    with pytest.raises(DataError, match=r"a.tfrecord at byte 116: the file ends within a record of 200 bytes"):
        list(file)
    path.write_bytes(whole[:20] + b"\x01" + whole[21:])
    with pytest.raises(DataError, match=r"a.tfrecord at byte 0: wrong checksum of a record of 100 bytes"):
        TFRecordFile(path)[0]
    path.write_bytes(whole[:116] + b"\x01" + whole[117:])
    assert "at byte 116: the header of a record is damaged" in TFRecordFile(path).problem


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty but a shard has at least one record"),
        (b"x" * 100, "is not a TFRecord file"),
        (b"\x1f\x8b123", "is not a complete gzip file"),
    ],
)
def test_other_files(tmp_path, content, message):
    path = tmp_path / "a"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        TFRecordFile(path)


def test_no_message():
    with pytest.raises(DataError, match="is not an Example message"):
        parse_example(b"\x0a\xff\x01ab")


def test_a_shard_of_zeros_without_end_is_not_unpacked(tmp_path, monkeypatch):
    path = tmp_path / "a.tfrecord"
    monkeypatch.setattr(tfrecord, "SPARE_BYTES", 1 << 20)
    path.write_bytes(gzip.compress(bytes(8 << 20)))
    with pytest.raises(DataError, match=r"a\.tfrecord: unpacks to over [\d,]+ bytes, but .* only [\d,]+; fetch"):
        TFRecordFile(path)


def test_a_pipe_is_no_shard(tmp_path):
    os.mkfifo(tmp_path / "a.tfrecord")
    with pytest.raises(DataError, match=r"a\.tfrecord: is a pipe"):
        TFRecordFile(tmp_path / "a.tfrecord")


def test_messages_that_are_damaged_are_read_or_refused():
    frames = [[bytes([i] * 4)] for i in range(3)]
    whole = encode_sequence_example({"id": [b"x"], "labels": np.array([0, 127, 3861])}, {"rgb": frames})
    read = 0
    for seed in range(500):
        rng, data = np.random.default_rng(seed), bytearray(whole)
        for place in rng.integers(0, len(data), 3):
            data[place] = rng.integers(256)
        with contextlib.suppress(DataError):
            parse_example(bytes(data))
            read += 1
    assert 0 < read < 500


def test_a_number_of_more_than_64_bits():
    feature = b"\x1a\x0c\x0a\x0a" + b"\xff" * 9 + b"\x7f"  # an Int64List of one packed number
    entry = b"\x0a\x01l\x12" + bytes([len(feature)]) + feature
    features = b"\x0a" + bytes([len(entry)]) + entry
    with pytest.raises(DataError, match="is not an Example message"):
        parse_example(b"\x0a" + bytes([len(features)]) + features)
