"""Classification losses of PaddleVideo 2.x: cross-entropy, label smoothing, mixed batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.parity.arrays import load_file
from tests.parity.rule import rel_err
from videozoo.layers.loss import mixed_targets, smooth_targets, soft_cross_entropy, symmetric_divergence


def matches(folder: Path, manifest: Mapping[str, Any]) -> bool:
    return (folder / "losses.npz").is_file()


def compare(folder: Path, manifest: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    stored = load_file(folder / "losses.npz").map(lambda array: torch.from_numpy(np.array(array)))
    for name in stored:
        group, *case = name.split("/")
        if case and case[-1] == "loss" and len(case) == 3:
            yield from _head(name.rpartition("/")[0], group, stored)
    yield (
        "soft/loss",
        rel_err(soft_cross_entropy(stored["soft/scores"], stored["soft/target"]), stored["soft/loss"]),
    )
    yield "dml/loss", rel_err(symmetric_divergence(stored["dml/x"], stored["dml/t"]), stored["dml/loss"])
    # multi-label losses are summed over classes and batch
    summed = F.binary_cross_entropy_with_logits(stored["bce_sum/logits"], stored["bce_sum/y"], reduction="sum")
    yield "bce_sum/loss", rel_err(summed, stored["bce_sum/loss"])


def _head(case: str, group: str, stored: Mapping[str, Tensor]) -> Iterator[tuple[str, float]]:
    """`C10/eps0.1/mix0.3`: 10 classes, smoothing 0.1, 0.3 of the first labels and 0.7 of the second."""
    _, smoothing, form = case.split("/")
    scores = stored[f"{group}/scores"].clone().requires_grad_()
    a, b = (stored[f"{group}/labels_{x}"].flatten() for x in "ab")
    eps = 0.0 if form == "validTrue" else float(smoothing.removeprefix("eps"))
    targets = smooth_targets(a, scores.shape[1], eps)
    top = _top(scores, a)
    if form.startswith("mix"):
        share = float(form.removeprefix("mix"))
        targets = mixed_targets(targets, smooth_targets(b, scores.shape[1], eps), share)
        top = share * top + (1 - share) * _top(scores, b)
    loss = soft_cross_entropy(scores, targets)
    loss.backward()
    yield f"{case}/loss", rel_err(loss, stored[f"{case}/loss"])
    yield f"{case}/grad", rel_err(scores.grad, stored[f"{case}/grad"])
    yield f"{case}/top1_top5", rel_err(top, stored[f"{case}/top1_top5"])


def _top(scores: Tensor, labels: Tensor) -> np.ndarray:
    """Shares of samples with the label first, and among the first five."""
    best = scores.topk(5).indices == labels[:, None]
    return np.array([best[:, :1].any(1).double().mean().item(), best.any(1).double().mean().item()])
