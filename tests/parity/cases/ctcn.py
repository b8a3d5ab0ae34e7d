"""C-TCN of 2019 in float64, its loss, and its anchors, targets and detections."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.parity.arrays import load
from tests.parity.rule import inputs1, own_err, params1, rel_err
from tests.parity.train_step import silence
from videozoo.decoding.anchors import anchors, detect, encode, nms, score_decay
from videozoo.layers.multibox_loss import multibox_losses
from videozoo.models import create_model
from videozoo.models.model import VideoModel
from videozoo.weights import convert
from videozoo.weights.importer import key_map

Cfg = Mapping[str, Any]


def _is_network(manifest: Cfg) -> bool:
    return manifest.get("model") == "CTCN" and "kinds" in manifest


def matches(folder: Path, manifest: Cfg) -> bool:
    return (_is_network(manifest) or "decode_params" in manifest) and (folder / "expected.npz").is_file()


def build(manifest: Cfg, *, damped: bool) -> VideoModel:
    size, state = manifest["config"]["MODEL"], params1(manifest)
    if damped:
        state |= {name: value / 2 for name, value in state.items() if manifest["kinds"][name] == "bn_scale"}
    model = create_model(
        "ctcn", num_classes=size["num_classes"] - 1, feature_dim=size["concept_size"], num_snippets=size["img_size"]
    )
    return convert(model, state, source="paddlevideo1").double()


def compare(folder: Path, manifest: Cfg) -> Iterator[tuple[str, float]]:
    expected = load(folder)
    yield from (
        _compare_network(manifest, expected) if _is_network(manifest) else _compare_boxes(folder, manifest, expected)
    )


def _compare_network(manifest: Cfg, expected: Mapping[str, np.ndarray]) -> Iterator[tuple[str, float]]:
    inputs = {name: torch.from_numpy(value) for name, value in inputs1(manifest["inputs"], expected).items()}
    for mode in ("eval", "damped", "train"):
        if f"{mode}_output_0" not in expected:
            continue
        model = build(manifest, damped=mode == "damped").train(mode == "train")
        if mode == "train":
            silence(model)
        offsets, scores = model(inputs["image"].squeeze(1).double())
        ours = {"output_0": offsets, "output_1": scores.softmax(-1), "logits": scores}
        losses = multibox_losses(
            offsets, scores, offset_target=inputs["loc_targets"].double(), class_target=inputs["cls_targets"]
        )
        if mode != "eval":  # there the original's logarithm of a saturated soft-max is cut off
            ours |= {f"loss_{i}": losses[part].reshape(1) for i, part in enumerate(("loss", "offset", "class"))}
        for name, value in ours.items():
            if f"{mode}_{name}" in expected:
                yield f"{mode}_{name}", rel_err(value, expected[f"{mode}_{name}"])
        if mode == "train" and (norms := manifest.get("train_grad_norms")):
            losses["loss"].backward()
            names = key_map(model, source="paddlevideo1")
            norm_of = {names.theirs(name): p.grad.norm().item() for name, p in model.named_parameters()}
            yield "train_grad_names", float(len(norms.keys() ^ norm_of.keys()))
            yield "train_grad_norms", own_err([norm_of[name] for name in norms], list(norms.values()))


def _compare_boxes(folder: Path, manifest: Cfg, expected: Mapping[str, np.ndarray]) -> Iterator[tuple[str, float]]:
    boxes = anchors()
    yield "default_boxes", rel_err(boxes, expected["default_boxes"])
    case = 0
    while f"enc{case}_boxes" in expected:
        segments, labels = expected[f"enc{case}_boxes"], expected[f"enc{case}_labels"]
        offsets, classes = encode(segments, labels, boxes, skip_lone_anchor=True)
        yield f"enc{case}_cls", rel_err(classes, expected[f"enc{case}_cls"])
        learnt = classes > 0  # the original gives the others numbers too, which no loss reads
        yield f"enc{case}_loc", rel_err(offsets[learnt], expected[f"enc{case}_loc"][learnt]) if learnt.any() else 0.0
        case += 1
    first, second = manifest["decode_params"], (0.05, 0.45, 1.0, 0.01)
    for name, (score, iou, sigma, least) in {"dec": tuple(first.values()), "dec2": second}.items():
        found = detect(
            expected["dec_loc"].astype(np.float64),
            expected["dec_cls"],
            boxes,
            min_score=score,
            max_iou=iou,
            sigma=sigma,
            min_decayed=least,
        )
        for kind, value in zip(("boxes", "labels", "scores"), found, strict=True):
            yield f"{name}_{kind}", rel_err(value, expected[f"{name}_{kind}"])
    segments, scores = expected["nms_boxes"], expected["nms_scores"]
    yield "nms_keep_union", rel_err(nms(segments, scores, max_iou=0.5), expected["nms_keep_union"])
    picks, kept = score_decay(segments, scores, sigma=0.9, min_score=0.004)
    yield "softnms_m2", rel_err(np.column_stack([segments[picks], kept]), expected["softnms_m2"])
    stated = json.loads((folder / "results_test.json").read_text(encoding="utf-8"))["results"]
    for video, rows in stated.items():
        found = np.array([[*row["segment"], row["score"]] for row in rows])
        boxes_found = expected["dec_boxes"].clip(0, 512) / 512
        if len(found) != len(boxes_found):
            continue
        duration_s = found[:, :2].sum() / boxes_found.sum()  # not stated anywhere
        yield f"results {video} segments", rel_err(found[:, :2], boxes_found * duration_s)
        yield f"results {video} scores", rel_err(found[:, 2], expected["dec_scores"])
