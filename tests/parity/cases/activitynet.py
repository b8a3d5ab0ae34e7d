"""The official ActivityNet evaluation: recall curve of proposals and average precision of detections."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tests.parity.arrays import load, load_file
from tests.parity.rule import rel_err
from videozoo.contracts.video import Span
from videozoo.metrics.detection import Table, average_precision
from videozoo.metrics.proposals import average_recall

Segments = dict[str, np.ndarray]


def matches(folder: Path, manifest: Mapping[str, Any]) -> bool:
    return (folder / "proposals.json").is_file()


def compare(folder: Path, manifest: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    if (folder / "ground_truth.json").is_file():
        yield from _compare1(folder, manifest)
    else:
        yield from _compare2(folder)


def _read(path: Path, key: str) -> dict[str, Any]:
    content = json.loads(path.read_text(encoding="utf-8"))
    return content.get(key, content)


def _truth(path: Path) -> Segments:
    videos = _read(path, "database").items()
    return {
        video: np.array([a["segment"] for a in entry["annotations"]], np.float64).reshape(-1, 2)
        for video, entry in videos
        if entry["subset"] == "validation"
    }


def _proposals(path: Path) -> Segments:
    return {
        video: np.array([[*row["segment"], row["score"]] for row in rows], np.float64).reshape(-1, 3)
        for video, rows in _read(path, "results").items()
    }


def _compare1(folder: Path, manifest: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    expected, results = load(folder), manifest["results"]
    truth, proposals = _truth(folder / "ground_truth.json"), _proposals(folder / "proposals.json")
    for most in (100, 10):
        curve = average_recall(truth, proposals, max_proposals=most)
        yield f"recall_max{most}", rel_err(curve.recall, expected[f"recall_max{most}"])
        yield f"avg_recall_max{most}", rel_err(curve.average, expected[f"avg_recall_max{most}"])
        yield f"nr_max{most}", rel_err(curve.num_proposals, expected[f"nr_max{most}"])
        yield f"auc_max{most}", rel_err(curve.auc, results[f"auc_max{most}"])
    number = results["activity_index"]
    names = sorted(number, key=number.__getitem__)

    def spans(videos: Mapping[str, Any]) -> dict[str, list[Span]]:
        return {
            video: [Span(*row["segment"], row["label"], row.get("score", 1.0)) for row in rows]
            for video, rows in videos.items()
        }

    entries = _read(folder / "ground_truth.json", "database")
    detections = spans(_read(folder / "detections.json", "results"))
    videos = sorted({*truth, *detections})  # what is found in videos outside of the truth counts as wrong
    annotated = Table.of(spans({video: entries[video]["annotations"] for video in truth}), videos, names)
    found = Table.of(detections, videos, names)
    table = average_precision(annotated, found, num_classes=len(names))
    yield "ap", rel_err(table, expected["ap"])
    yield "mAP_per_tiou", rel_err(table.mean(1), expected["mAP_per_tiou"])
    yield "average_mAP", rel_err(table.mean(), results["average_mAP"])


def _compare2(folder: Path) -> Iterator[tuple[str, float]]:
    stored = load_file(folder / "anet.npz")
    curve = average_recall(_truth(folder / "gt.json"), _proposals(folder / "proposals.json"))
    yield "recall", rel_err(curve.recall, stored["recall"])
    yield "average_recall", rel_err(curve.average, stored["average_recall"])
    yield "average_nr_proposals", rel_err(curve.num_proposals, stored["average_nr_proposals"])
    yield "auc", rel_err(curve.auc, stored["auc"])
    stated = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    yield "AUC", rel_err(curve.auc, stated["AUC"])
    for n in (1, 5, 10, 100):
        yield f"AR{n}", rel_err(100 * curve.average[n - 1], stated[f"AR{n}"])
    for path in sorted(folder.glob("anet2_max*.npz")):
        most = path.stem.removeprefix("anet2_max")
        truth, proposals = _truth(folder / "gt2.json"), _proposals(folder / "proposals2.json")
        curve = average_recall(truth, proposals, max_proposals=None if most == "None" else float(most))
        stored = load_file(path)
        yield f"{path.stem}/recall", rel_err(curve.recall, stored["recall"])
        yield f"{path.stem}/ar", rel_err(curve.average, stored["ar"])
        yield f"{path.stem}/nr", rel_err(curve.num_proposals, stored["nr"])
        yield f"{path.stem}/auc", rel_err(curve.auc, stored["auc"])
