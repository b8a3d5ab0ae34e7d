"""Temporal detection scores and suppression in arrays, beside the same definitions in plain Python.

    python benchmarks/localization_metrics.py [--videos 5000] [--proposals 100] [--reference-videos 250]

The reference runs on the first `--reference-videos` videos, where its answers must be equal; its time is scaled to all
(it is linear in the videos). Target: at least 20 times faster.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from videozoo.decoding.proposals import soft_nms
from videozoo.metrics.detection import Table, average_precision
from videozoo.metrics.proposals import ACTIVITYNET_TIOUS, average_recall

Rows = list[tuple[float, ...]]


def make(num_videos: int, num_proposals: int, num_classes: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Truths (start, end, class) and proposals (start, end, score, class) of each video, half of them near a truth."""
    rng = np.random.default_rng(0)
    truths, proposals = [], []
    for _ in range(num_videos):
        n = 1 + rng.poisson(0.6)
        start = rng.uniform(0, 90, n)
        truth = np.column_stack([start, start + rng.uniform(2, 60, n), rng.integers(num_classes, size=n)])
        near = truth[rng.integers(n, size=num_proposals), :2] + rng.normal(0, 6, (num_proposals, 2))
        far = np.sort(rng.uniform(0, 120, (num_proposals, 2)), axis=1)
        segments = np.sort(np.where(rng.random((num_proposals, 1)) < 0.5, near, far), axis=1)
        label = np.where(rng.random(num_proposals) < 0.7, truth[0, 2], rng.integers(num_classes, size=num_proposals))
        truths.append(truth)
        proposals.append(np.column_stack([segments, rng.random(num_proposals), label]))
    return truths, proposals


def iou(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    shared = max(min(a[1], b[1]) - max(a[0], b[0]), 0.0)
    union = (a[1] - a[0]) + (b[1] - b[0]) - shared
    return shared / union if union > 0 else 0.0


def plain_recall(truths: list[Rows], proposals: list[Rows]) -> float:
    """Area below average recall, 0..100, at up to 100 proposals a video."""
    total = sum(map(len, proposals))
    share = min(100 * len(truths) / total, 1.0)
    table = []
    for truth, rows in zip(truths, proposals, strict=True):
        ranked = sorted(rows, key=lambda row: -row[2])[: int(len(rows) * share)]
        table.append([[iou(t, p) for p in ranked] for t in truth])
    kept = sum(len(row[0]) for row in table)
    shares = [(j + 1) / 100 * (100 * len(truths) / kept) for j in range(100)]
    average = [0.0] * 100
    for tiou in ACTIVITYNET_TIOUS:
        for j, part in enumerate(shares):
            found = sum(any(v >= tiou for v in row[: min(int(len(row) * part), len(row))]) for t in table for row in t)
            average[j] += found / sum(map(len, truths)) / len(ACTIVITYNET_TIOUS)
    numbers = [part * kept / len(truths) for part in shares]
    area = sum((average[j] + average[j + 1]) / 2 * (numbers[j + 1] - numbers[j]) for j in range(99))
    return 100 * area / numbers[-1]


def plain_map(truths: list[Rows], proposals: list[Rows], num_classes: int) -> float:
    """Mean over classes and tIoUs of interpolated average precision."""
    values = []
    for k in range(num_classes):
        of_class = [[t for t in truth if t[2] == k] for truth in truths]
        num_truths = sum(map(len, of_class))
        if not num_truths:
            continue
        ranked = sorted(((p[2], v, p) for v, rows in enumerate(proposals) for p in rows if p[3] == k), reverse=True)
        overlaps = [sorted(((iou(p, t), i) for i, t in enumerate(of_class[v])), reverse=True) for _, v, p in ranked]
        for tiou in ACTIVITYNET_TIOUS:
            taken: set[tuple[int, int]] = set()
            hits = []
            for (_, v, _p), near in zip(ranked, overlaps, strict=True):
                free = next((i for value, i in near if value >= tiou and (v, i) not in taken), None)
                hits.append(free is not None)
                if free is not None:
                    taken.add((v, free))
            precision, right = [], 0
            for n, hit in enumerate(hits):
                right += hit
                precision.append(right / (n + 1))
            for n in range(len(precision) - 2, -1, -1):
                precision[n] = max(precision[n], precision[n + 1])
            values.append(sum(p for p, hit in zip(precision, hits, strict=True) if hit) / num_truths)
    return sum(values) / len(values)


def plain_soft_nms(rows: Rows, alpha: float = 0.4, low: float = 0.55, high: float = 0.9) -> list[float]:
    left, kept = [list(row) for row in rows], []
    while left and len(kept) < 100:
        best = left.pop(max(range(len(left)), key=lambda i: left[i][2]))
        kept.append(best[2])
        for row in left:
            overlap = iou(tuple(row), tuple(best))
            if overlap > low + (high - low) * (best[1] - best[0]):
                row[2] *= math.exp(-overlap * overlap / alpha)
    return kept


def timed(run: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    return run(), time.perf_counter() - start


def table_of(rows: list[np.ndarray], *, scored: bool) -> Table:
    video = np.repeat(np.arange(len(rows)), [len(r) for r in rows])
    flat = np.concatenate(rows)
    label = flat[:, 3 if scored else 2].astype(np.int64)
    return Table(video, label, flat[:, :2], flat[:, 2] if scored else np.ones(len(flat)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--videos", type=int, default=5000)
    parser.add_argument("--proposals", type=int, default=100)
    parser.add_argument("--classes", type=int, default=20)
    parser.add_argument("--reference-videos", type=int, default=250)
    parser.add_argument("--out", type=Path, help="also write the table as JSON")
    args = parser.parse_args()
    truths, proposals = make(args.videos, args.proposals, args.classes)

    def ours(n: int) -> tuple[float, float]:
        named = {str(i): truth[:, :2] for i, truth in enumerate(truths[:n])}
        auc = average_recall(named, {str(i): rows[:, :3] for i, rows in enumerate(proposals[:n])}).auc
        found = table_of(proposals[:n], scored=True), table_of(truths[:n], scored=False)
        return auc, float(np.nanmean(average_precision(found[1], found[0], num_classes=args.classes)))

    def plain(n: int) -> tuple[float, float]:
        rows = [[tuple(map(float, r)) for r in video] for video in truths[:n]]
        found = [[tuple(map(float, r)) for r in video] for video in proposals[:n]]
        return plain_recall(rows, found), plain_map(rows, found, args.classes)

    n = args.reference_videos
    want, plain_s = timed(lambda: plain(n))
    got = ours(n)
    _, ours_s = timed(lambda: ours(args.videos))
    scaled_s = plain_s * args.videos / n
    rng = np.random.default_rng(1)
    segments, scores = np.sort(rng.random((1500, 2)), axis=1), rng.random(1500)
    rows = [(float(a), float(b), float(s)) for (a, b), s in zip(segments, scores, strict=True)]
    soft_nms(segments, scores)  # warm up
    kept, plain_nms_s = timed(lambda: [plain_soft_nms(rows) for _ in range(5)])
    found, nms_s = timed(lambda: [soft_nms(segments, scores) for _ in range(5)])
    result = {
        "auc_map": {
            "difference": max(abs(a - b) for a, b in zip(want, got, strict=True)),
            "plain_s": scaled_s,
            "ours_s": ours_s,
            "speedup": scaled_s / ours_s,
        },
        "soft_nms": {
            "difference": float(np.abs(np.array(kept[0]) - found[0][1]).max()),
            "plain_s": plain_nms_s,
            "ours_s": nms_s,
            "speedup": plain_nms_s / nms_s,
        },
    }
    print(json.dumps(result, indent=2))
    if args.out:
        args.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
