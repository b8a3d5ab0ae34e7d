"""Top-k accuracy, single and over several clips a video, of the static-graph code of 2019 and 2020."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tests.parity.arrays import load
from tests.parity.cases.metrics import scored
from tests.parity.rule import rel_err
from videozoo.metrics.classification import Accuracy

__all__ = ["compare", "matches"]


def matches(folder: Path, manifest: dict[str, Any]) -> bool:
    return "multicrop_log" in manifest.get("results", {})


def compare(folder: Path, manifest: dict[str, Any]) -> Iterator[tuple[str, float]]:
    arrays, results = load(folder), manifest["results"]
    pred = np.concatenate([arrays["pred0"], arrays["pred1"]])
    label = np.concatenate([arrays["label0"], arrays["label1"]])[:, 0]
    scores = scored(Accuracy, pred, label).compute()
    yield "single/acc1", rel_err(scores["top1"], results["single"]["avg_acc1"])
    yield "single/acc5", rel_err(scores["top5"], results["single"]["avg_acc5"])

    log = "\n".join(results["multicrop_log"])
    num_clips = int(re.search(r"Max num of clips in a video: (\d+)", log)[1])
    ids, probs, truth = arrays["mc_video_ids"], arrays["mc_probs"], arrays["mc_gt"]
    first = [np.flatnonzero(ids == video)[:num_clips] for video in range(len(truth))]  # later ones were skipped
    scores = scored(Accuracy, np.stack([probs[clips].mean(axis=0) for clips in first]), truth).compute()
    for k in (1, 5):
        theirs = float(re.search(rf"top-{k} accuracy: ([\d.]+)", log)[1])
        yield f"multicrop/top{k}", rel_err(scores[f"top{k}"], theirs)
    clips = np.concatenate(first)
    every = scored(Accuracy, probs[clips], truth[ids[clips]]).compute()["top1"]
    counted = re.search(r"Clip accuracy: .*\((\d+)/(\d+)\)", log)
    yield "multicrop/clip_accuracy", rel_err(every / 100, int(counted[1]) / int(counted[2]))
