"""GAP, Hit@1, PERR and per-class AP of the static-graph code of 2019 and 2020."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tests.parity.arrays import load
from tests.parity.cases.metrics import scored
from tests.parity.rule import rel_err
from videozoo.metrics.youtube8m import YouTube8M

__all__ = ["compare", "matches"]


def matches(folder: Path, manifest: dict[str, Any]) -> bool:
    return "epoch_top20" in manifest.get("results", {})


def compare(folder: Path, manifest: dict[str, Any]) -> Iterator[tuple[str, float]]:
    arrays, results = load(folder), manifest["results"]
    for batch in (1, 2):
        pred, label = arrays[f"pred{batch}"], arrays[f"label{batch}"]
        scores = scored(YouTube8M, pred, label).compute()
        for name, theirs in (("hit1", "hit_at_one"), ("perr", "perr"), ("gap", "gap")):
            yield f"batch{batch}/{theirs}", rel_err(scores[name] / 100, results[f"batch{batch}"][theirs])
        gap5 = scored(YouTube8M, pred, label, top_k=5).compute()["gap"]
        yield f"batch{batch}/gap_top5", rel_err(gap5 / 100, results[f"batch{batch}"]["gap_top5"])

    pred = np.concatenate([arrays["pred1"], arrays["pred2"]])
    label = np.concatenate([arrays["label1"], arrays["label2"]])
    metric = scored(YouTube8M, pred, label)
    scores = metric.compute()
    for name, theirs in (("hit1", "avg_hit_at_one"), ("perr", "avg_perr"), ("gap", "gap")):
        yield f"epoch/{theirs}", rel_err(scores[name] / 100, results["epoch_top20"][theirs])
    yield "epoch/aps_top20", rel_err(np.nan_to_num(metric.class_precision()), arrays["aps_top20"])
