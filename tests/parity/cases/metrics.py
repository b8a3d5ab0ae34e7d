"""Top-k accuracy over centre crops and summed views, and the tagging metrics, of PaddleVideo 2.x."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tests.parity.arrays import load_file
from tests.parity.rule import rel_err
from videozoo.contracts.answer import Labels
from videozoo.io.features import dequantize
from videozoo.metrics.classification import Accuracy, MeanAveragePrecision
from videozoo.metrics.metric import Metric
from videozoo.metrics.youtube8m import YouTube8M

__all__ = ["compare", "matches", "scored"]


def matches(folder: Path, manifest: dict[str, Any]) -> bool:
    return (folder / "metrics.npz").is_file() and (folder / "expected.json").is_file()


def compare(folder: Path, manifest: dict[str, Any]) -> Iterator[tuple[str, float]]:
    expected = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    arrays = load_file(folder / "metrics.npz")

    n = expected["center"]["data_size"]  # the loader padded the last batch; the original drops what is over
    scores = scored(Accuracy, arrays["center/scores"][:n], arrays["center/labels"][:n, 0]).compute()
    for name in ("top1", "top5"):
        yield f"center/{name}", rel_err(scores[name] / 100, expected["center"][name])

    # averaging views ranks as summing them does
    crops = expected["multicrop"]
    views = crops["views"] * crops["crops"]
    clips = arrays["multicrop/preds"]  # by clip id
    videos = clips.reshape(-1, views, clips.shape[1]).mean(axis=1)
    yield "multicrop/video_preds", rel_err(videos * views, arrays["multicrop/video_preds"])
    yield "multicrop/video_labels", rel_err(arrays["multicrop/labels"], arrays["multicrop/video_labels"][:, 0])
    scores = scored(Accuracy, videos, arrays["multicrop/labels"]).compute()
    for name in ("top1", "top5"):
        yield f"multicrop/{name}", rel_err(scores[name] / 100, crops[name])

    tags = expected["yt8m"]
    pred, label = arrays["yt8m/pred"], arrays["yt8m/label"]
    metric = scored(YouTube8M, pred, label)
    scores = metric.compute()
    for name, theirs in (("hit1", "hit_at_one"), ("perr", "perr"), ("gap", "gap20")):
        yield f"yt8m/{theirs}", rel_err(scores[name] / 100, tags[theirs])
    gap5 = scored(YouTube8M, pred, label, top_k=5).compute()["gap"]
    yield "yt8m/gap5", rel_err(gap5 / 100, tags["gap5"])
    # the original gives classes without a positive 0 and averages over all of them
    precision = np.nan_to_num(metric.class_precision())
    yield "yt8m/map_calculator_top20", rel_err(precision, arrays["yt8m/map_calculator_top20"])
    full = scored(MeanAveragePrecision, pred, label)
    for name in ("yt8m/ap_per_class", "yt8m/ap_at_20_per_class"):  # there are fewer than 20 videos
        yield name, rel_err(np.nan_to_num(full.class_precision()), arrays[name])
    yield "yt8m/mAP_nonempty", rel_err(full.compute()["map"] / 100, tags["mAP_nonempty"])
    ours = dequantize(np.arange(256, dtype=np.uint8))
    yield "yt8m/dequantize", rel_err(ours, arrays["yt8m/dequantize_0_255"])


def scored(kind: type[Metric], scores: np.ndarray, labels: np.ndarray, **options: Any) -> Any:
    """A metric that has seen those scores, in two batches merged."""
    names = tuple(map(str, range(scores.shape[1])))
    halves = []
    for rows in np.array_split(np.arange(len(scores)), 2):
        metric = kind(names, **options)
        predictions = [Labels(scores=scores[i], names=names) for i in rows]
        metric.update(predictions, {"id": [str(i) for i in rows], "label": labels[rows]})
        halves.append(metric)
    halves[0].merge(halves[1])
    return halves[0]
