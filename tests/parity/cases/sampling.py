"""Frame indices of PaddleVideo 2.x: every sampler over many lengths, and seeded training draws.

Two kinds of rows name frames that do not exist, and are compared after being brought back into the video:
frame folders shorter than the clip (the original counts on past the last file) and SlowFast windows that
reach the end (one past it).
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from videozoo.io.sample import Indices, segments, spaced, windows


def matches(folder: Path, manifest: Mapping[str, Any]) -> bool:
    return (folder / "sampling.json").is_file()


def compare(folder: Path, manifest: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    stored = json.loads((folder / "sampling.json").read_text(encoding="utf-8"))
    for name, case in stored.items():
        if "/" in name:
            yield from _evaluation(name, case)
    for num_frames, case in stored["linspace_with_start_end"].items():
        ours = spaced(case["start"], case["end"], 8, num_frames=int(num_frames))
        yield f"linspace_with_start_end/{num_frames}", _differs(ours, case["idx"])
    for case in stored["slowfast_test_10clips"]:
        name = "slowfast/{videolen}/{fps}/{temporal_sample_index}".format(**case)
        expected = np.minimum(case["index"], case["videolen"] - 1)
        yield name, _differs(_slowfast(case), expected)
    for name, expected in stored["slowfast_pack_alpha"].items():
        frames, alpha = (int(part.lstrip("Talph")) for part in name.split("_"))
        yield f"pack/{name}", _differs(spaced(0, frames - 1, frames // alpha, num_frames=frames), expected)
    for name, expected in stored["train_mode_examples"]["cases"].items():
        yield f"train/{name}", _differs(_training(name), np.array(expected) - name.startswith("dense"))


def _evaluation(name: str, case: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    counted_from = 1 if name.endswith("/frame") or case["args"].get("dense_sample") else 0
    for length, stored in case["indices"].items():
        num_frames, expected = int(length), np.array(stored) - counted_from
        if name.endswith("/frame") and expected.max() >= num_frames:
            expected = expected % num_frames
        yield f"{name}/{length}", _differs(_sampled(num_frames, **case["args"]), expected)


def _sampled(
    num_frames: int,
    *,
    num_seg: int,
    seg_len: int,
    frame_interval: int | None = None,
    dense_sample: bool = False,
    linspace_sample: bool = False,
    select_left: bool = False,
    **_: Any,
) -> Indices:
    """The original sampler's arguments in our words."""
    if dense_sample:
        return windows(num_frames, num_seg, stride=64 // num_seg, num_clips=10, short="wrap")
    if linspace_sample:
        return spaced(0, num_frames - 1, num_seg, num_frames=num_frames)
    if frame_interval:
        return windows(num_frames, seg_len, stride=frame_interval, num_clips=num_seg, place="centers", short="wrap")
    if select_left:
        return segments(num_frames, num_seg, short="first")
    return segments(num_frames, num_seg, split="floor", short="wrap")


def _slowfast(case: Mapping[str, Any]) -> Indices:
    """32 frames, 2 apart at 30 Hz, counted in the video's own frames."""
    span = 32 * 2 / 30 * case["fps"]
    start = max(case["videolen"] - span, 0) * case["temporal_sample_index"] / case["temporal_num_clips"]
    return spaced(start, start + span - 1, 32, num_frames=case["videolen"])


def _training(name: str) -> Indices:
    sampler, _, rest = name.partition("/")
    num_frames = int(rest.split()[0])
    rng: Any = PythonRandom(0) if sampler.startswith("pptsm8") else _LegacyNumpy(0)
    if sampler.startswith("pptsm8"):
        return segments(num_frames, 8, split="floor", short="wrap", rng=rng)
    if sampler.startswith("tsn3"):
        return segments(num_frames, 3, split="floor", short="first", rng=rng)
    if sampler.startswith("dense8"):
        return windows(num_frames, 8, stride=8, short="wrap", rng=rng)
    return windows(num_frames, 32, stride=2, short="wrap", rng=rng)


class _LegacyNumpy:
    """`np.random.seed` and `randint` behind the interface of today's generators."""

    def __init__(self, seed: int):
        self._random = np.random.RandomState(seed)

    def integers(self, low: int, high: int, size: int) -> np.ndarray:
        return self._random.randint(low, high, size=size)


class PythonRandom:
    """`random.seed` and one `randint` a draw behind the interface of numpy's generators."""

    def __init__(self, seed: int):
        self._random = random.Random(seed)

    def integers(self, low: int, high: int, size: int) -> np.ndarray:
        return np.array([self._random.randint(low, high - 1) for _ in range(size)])


def _differs(ours: Indices, expected: Any) -> float:
    return float(not np.array_equal(ours.ravel(), expected))
