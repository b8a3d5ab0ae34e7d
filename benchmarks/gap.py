"""GAP over a million predictions: our streaming metric beside the same definition in plain Python.

    python benchmarks/gap.py [--videos 50000] [--classes 3862] [--reference-videos 2000]

`rank` is the area below the curve of the predictions that are pooled. `pick` is what leads there, and bounds what a run
waits for: the 20 best classes of every video. Plain Python picks for the first `--reference-videos` alone, where the
two must agree, and its time is scaled to all (each video costs the same); ours checks the scores, and computes what
Hit@1, PERR and mAP need as well. Seconds are of the processor, in one thread: a busy
machine changes little. Target: ranks at least 20 times faster.
"""

from __future__ import annotations

import argparse
import heapq
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from videozoo.contracts.answer import Labels
from videozoo.metrics.classification import average_precision
from videozoo.metrics.youtube8m import YouTube8M

TOP = 20
BATCH = 500
Pooled = list[tuple[float, bool]]


def batches(num_videos: int, num_classes: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Scores float32 and labels bool `[videos classes]`: three labels a video, often among the best."""
    rng = np.random.default_rng(0)
    for first in range(0, num_videos, BATCH):
        n = min(BATCH, num_videos - first)
        labels = np.zeros((n, num_classes), bool)
        np.put_along_axis(labels, rng.integers(0, num_classes, (n, 3)), True, axis=1)
        yield np.clip(rng.random((n, num_classes), np.float32) + 0.02 * labels, 0, 1), labels


def plain_pick(scores: list[float], labels: list[bool]) -> Pooled:
    best = heapq.nlargest(TOP, range(len(scores)), key=scores.__getitem__)
    return [(scores[i], labels[i]) for i in best]


def plain_gap(pooled: Pooled, num_positive: int) -> float:
    right, total = 0, 0.0
    for rank, (_, positive) in enumerate(sorted(pooled, key=lambda entry: -entry[0]), start=1):
        if positive:
            right += 1
            total += right / rank
    return 100 * total / num_positive


def best_of_three(run: Callable[[], float]) -> tuple[float, float]:
    """(its answer, processor seconds)."""
    times_s = []
    for _ in range(3):
        start_s = time.process_time()
        answer = run()
        times_s.append(time.process_time() - start_s)
    return answer, min(times_s)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--videos", type=int, default=50_000)
    parser.add_argument("--classes", type=int, default=3862)
    parser.add_argument("--reference-videos", type=int, default=2000)
    parser.add_argument("--out", type=Path, help="also write the table as JSON")
    args = parser.parse_args()
    names = tuple(map(str, range(args.classes)))
    metric, first = YouTube8M(names, top_k=TOP), YouTube8M(names, top_k=TOP)
    pooled: Pooled = []
    ours_s = plain_s = 0.0
    num_seen = num_picked = num_positive = 0
    for scores, labels in batches(args.videos, args.classes):
        batch: dict[str, Any] = {"id": list(map(str, range(len(scores)))), "label": labels.astype(np.float32)}
        predictions = [Labels(row, names) for row in scores]
        start_s = time.process_time()
        metric.update(predictions, batch)
        ours_s += time.process_time() - start_s
        if num_seen < args.reference_videos:
            first.update(predictions, batch)
            rows = list(zip(scores.tolist(), labels.tolist(), strict=True))
            start_s = time.process_time()
            pooled += [entry for row in rows for entry in plain_pick(*row)]
            plain_s += time.process_time() - start_s
            num_picked += len(rows)
            num_positive += int(labels.sum())
        num_seen += len(scores)
    rng = np.random.default_rng(1)
    values, right = rng.random(num_seen * TOP, np.float32), rng.random(num_seen * TOP) < 0.1
    entries = list(zip(values.tolist(), right.tolist(), strict=True))
    wanted, rank_plain_s = best_of_three(lambda: plain_gap(entries, num_seen))
    found, rank_ours_s = best_of_three(lambda: 100 * average_precision(values, right, num_positive=num_seen))
    pick_s = plain_s * num_seen / num_picked
    result = {
        "predictions": len(values),
        "difference": max(abs(first.compute()["gap"] - plain_gap(pooled, num_positive)), abs(found - wanted)),
        "rank": {"plain_s": rank_plain_s, "ours_s": rank_ours_s, "speedup": rank_plain_s / rank_ours_s},
        "pick": {"plain_s": pick_s, "ours_s": ours_s, "speedup": pick_s / ours_s},
    }
    print(json.dumps(result, indent=2))
    if args.out:
        args.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
