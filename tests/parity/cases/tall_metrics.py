"""TALL's recall at n, its suppression, the windows that stand for a sentence, and their offsets."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tests.parity.arrays import load
from tests.parity.rule import rel_err
from videozoo.contracts.answer import Segments
from videozoo.contracts.video import Span
from videozoo.decoding.anchors import nms
from videozoo.metrics.grounding import IOUS, MomentRecall, first_hits
from videozoo.transforms.moments import fits

Cfg = Mapping[str, Any]
RANKS = (1, 5, 10)
NMS_IOU = 0.45
FAR = 1000.0  # frames: takes begin and end of every prediction to where a span may lie, and changes no overlap


def matches(folder: Path, manifest: Cfg) -> bool:
    return "train_pairs" in manifest and (folder / "expected.npz").is_file()


def compare(folder: Path, manifest: Cfg) -> Iterator[tuple[str, float]]:
    expected = load(folder)
    whole = MomentRecall(ranks=RANKS)
    logged = _logged(manifest["log"])
    for movie, video in manifest["spec"].items():
        outputs = expected[f"{movie.partition('.')[0]}_outputs"].astype(np.float64)
        clips, truths = _frames(video["clips"]), _frames(video["sentences"])
        moments = clips + outputs[:, :, 1:]
        answers = []
        for scores, own in zip(outputs[:, :, 0], moments, strict=True):
            order = np.argsort(-scores)
            spans = [Span(own[i, 0] + FAR, own[i, 1] + FAR, score=scores[i]) for i in order if own[i, 1] > own[i, 0]]
            answers.append(Segments(tuple(spans)))
        recall = MomentRecall(ranks=RANKS)
        recall.update(answers, {"id": video["sentences"], "moment": truths + FAR})
        yield f"{movie} recall", rel_err(_table(recall), logged[movie])
        whole.merge(recall)
        best = [own[scores.argmax()] for scores, own in zip(outputs[:, :, 0], moments, strict=True)]
        wanted = [answer[1:] for answer in manifest["infer_results"]["results"][movie]]
        yield f"{movie} best", rel_err(best, wanted)
    yield "recall", rel_err(_table(whole), logged[""])
    segments = np.stack([expected["nms_x1"], expected["nms_x2"]], axis=1)
    picks = expected["nms_pick"]
    kept = nms(segments, expected["nms_sim"], max_iou=NMS_IOU)
    yield "nms", rel_err(kept, picks)
    places = [first_hits(segments, expected["nms_sim"], segments[pick], ious=[0.5])[0] for pick in picks]
    yield "first hits", rel_err(places, np.arange(len(picks)))
    yield "train pairs", float(_pairs(manifest) != {tuple(pair) for pair in manifest["train_pairs"]})


def _frames(names: list[str]) -> np.ndarray:
    return np.array([name.removesuffix(".npy").split("_")[1:] for name in names], np.float64)


def _table(recall: MomentRecall) -> np.ndarray:
    scores = recall.compute()
    return np.array([[scores[f"r{rank}_iou{iou:g}"] / 100 for iou in IOUS] for rank in RANKS])


def _logged(lines: list[str]) -> dict[str, np.ndarray]:
    """`[ranks ious]` by movie, and of all under an empty name."""
    found: dict[str, np.ndarray] = {}
    for line in lines:
        if place := re.match(r"(\S*) IoU= ([\d.]+)", line):
            table = found.setdefault(place[1], np.zeros((len(RANKS), len(IOUS))))
            for rank, value in re.findall(r"R@(\d+): ([\d.]+)", line):
                table[RANKS.index(int(rank)), IOUS.index(float(place[2]))] = float(value)
    return found


def _pairs(manifest: Cfg) -> set[tuple[Any, ...]]:
    windows = _frames(manifest["windows"])
    found = set()
    for sentence in manifest["train_sentences"]:
        name, _, count = sentence.partition(" (")
        moment = _frames([name])[0]
        for i in np.flatnonzero(fits(windows, moment, min_iou=0.5, max_outside=0.15)):
            start, end = (moment - windows[i]).tolist()
            found |= {(name, number, manifest["windows"][i], start, end) for number in range(int(count[0]))}
    return found
