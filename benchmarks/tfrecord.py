"""Records a second of YouTube-8M's frame-level shards: our reader, TensorFlow's and the `tfrecord` package's.

    python -m venv /tmp/tensorflow && /tmp/tensorflow/bin/pip install tensorflow-cpu tfrecord
    python benchmarks/tfrecord.py --python /tmp/tensorflow/bin/python [--videos 400] [--shard FILE]

Each reads the same shard in one process on one core, checks the checksums (the `tfrecord` package does not), and parses
every record into id, labels, and two whole arrays of bytes, `[t 1024]` and `[t 128]`. They take turns, and the best
turn of each counts. Seconds are of the processor, over all threads: a busy machine changes little. Target: at least
twice TensorFlow's records a second.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

Read = Callable[[str], Iterator[tuple[bytes, np.ndarray, np.ndarray, np.ndarray]]]


def ours(path: str, *, verify: bool = True) -> Iterator[Any]:
    from videozoo.io.tfrecord import TFRecordFile, parse_example

    for data in TFRecordFile(path, verify=verify):
        context, lists = parse_example(data)
        rgb, audio = (np.ascontiguousarray(lists[name]) for name in ("rgb", "audio"))
        yield context["id"][0], context["labels"], rgb, audio


def ours_unchecked(path: str) -> Iterator[Any]:
    return ours(path, verify=False)


def tensorflow(path: str) -> Iterator[Any]:
    import tensorflow as tf

    frames = tf.io.FixedLenSequenceFeature([], tf.string)

    def parse(record: Any) -> Any:
        context, lists = tf.io.parse_single_sequence_example(
            record,
            context_features={"id": tf.io.FixedLenFeature([], tf.string), "labels": tf.io.VarLenFeature(tf.int64)},
            sequence_features={"rgb": frames, "audio": frames},
        )
        rgb = tf.ensure_shape(tf.io.decode_raw(lists["rgb"], tf.uint8), [None, 1024])
        audio = tf.ensure_shape(tf.io.decode_raw(lists["audio"], tf.uint8), [None, 128])
        return context["id"], tf.sparse.to_dense(context["labels"]), rgb, audio

    yield from tf.data.TFRecordDataset(path).map(parse).as_numpy_iterator()


def tfrecord(path: str) -> Iterator[Any]:
    from tfrecord.reader import tfrecord_loader

    context, frames = {"id": "byte", "labels": "int"}, {"rgb": "byte", "audio": "byte"}
    for found, lists in tfrecord_loader(path, None, context, sequence_description=frames):
        rgb, audio = (np.frombuffer(b"".join(rows), np.uint8).reshape(len(rows), -1) for rows in lists.values())
        yield found["id"], found["labels"], rgb, audio


READERS: dict[str, Read] = {
    "ours": ours,
    "ours, checksums off": ours_unchecked,
    "tensorflow": tensorflow,
    "tfrecord": tfrecord,
}


def rate(read: Read, path: str) -> tuple[float, int]:
    """(records a second, a sum that must be the same for all readers)."""
    digest, count = 0, 0
    start_s = time.process_time()
    for id_, labels, rgb, audio in read(path):
        digest += len(id_) + int(labels.sum()) + int(rgb[-1, -1]) + int(audio[0, 0]) + rgb.size + audio.size
        count += 1
    return count / (time.process_time() - start_s), digest


def turn(name: str, python: str, path: str) -> tuple[float, int]:
    """One reader in a process of its own on the first core of this one, warmed up by a first pass."""
    command = [python, __file__, "--read", name, "--shard", path]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{name}: {done.stderr.strip().splitlines()[-1]}")
    value, digest = done.stdout.split()[-2:]
    return float(value), int(digest)


def write_shard(path: Path, num_videos: int) -> None:
    from videozoo.io.tfrecord import encode_sequence_example, write_tfrecord

    rng = np.random.default_rng(0)

    def record(index: int) -> bytes:
        num_frames = int(rng.integers(120, 301))
        frames = {name: rng.integers(0, 256, (num_frames, d), np.uint8) for name, d in (("rgb", 1024), ("audio", 128))}
        context = {"id": [f"{index:04d}".encode()], "labels": rng.integers(0, 3862, 3)}
        return encode_sequence_example(context, {k: [[row.tobytes()] for row in v] for k, v in frames.items()})

    write_tfrecord(path, map(record, range(num_videos)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--python", help="an interpreter that has tensorflow and tfrecord")
    parser.add_argument("--videos", type=int, default=400)
    parser.add_argument("--shard", help="a real shard, in place of a made one")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--read", choices=READERS, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help="also write the table as JSON")
    args = parser.parse_args()
    if args.read:
        sys.path.pop(0)  # this file's folder: it is called like one of the packages
        os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "OMP_NUM_THREADS": "1"}
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
        rate(READERS[args.read], args.shard)
        print(*max(rate(READERS[args.read], args.shard) for _ in range(3)))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = args.shard or f"{folder}/made.tfrecord"
        if not args.shard:
            write_shard(Path(path), args.videos)
        names = list(READERS) if args.python else ["ours", "ours, checksums off"]
        best: dict[str, float] = dict.fromkeys(names, 0.0)
        digests = set()
        for _ in range(args.turns):
            for name in names:
                python = sys.executable if name.startswith("ours") else args.python
                value, digest = turn(name, python, path)
                best[name] = max(best[name], value)
                digests.add(digest)
        megabytes_a_record = Path(path).stat().st_size / 1e6 / args.videos if not args.shard else None
    if len(digests) > 1:
        sys.exit(f"the readers disagree: {sorted(digests)}")
    result = {
        "records_per_s": {name: round(value) for name, value in best.items()},
        "ours_over": {name: round(best["ours"] / best[name], 2) for name in names if name != "ours"},
        "megabytes_a_record": megabytes_a_record,
    }
    print(json.dumps(result, indent=2))
    if args.out:
        args.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
