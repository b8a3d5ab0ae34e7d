"""Anchor segments on a time axis: their places, targets for them, and detections from their scores.

C-TCN uses them. Segments are `[n 2]` arrays of start and end, anchors of centre and length, both on an axis of
`num_snippets`, 512 in the original.
"""

from __future__ import annotations

import numpy as np

from videozoo.contracts.intervals import interval_iou
from videozoo.contracts.ranking import best_first
from videozoo.decoding.proposals import Around, pick_and_decay

__all__ = ["anchors", "decode", "detect", "encode", "nms", "num_anchors", "score_decay"]

NUM_LEVELS = 8
STEPS = (0.1, 0.2, 0.3)  # the seven lengths: the stride, and lengths shorter and longer by these shares
VARIANCES = (0.1, 0.2)  # offsets are divided by these, so that they are of about unit size


def num_anchors() -> int:
    """Anchors at one place."""
    return 1 + 2 * len(STEPS)


def anchors(num_snippets: int = 512) -> np.ndarray:
    """Returns centre and length of every anchor, `[7 (t/4 + t/8 + ... + t/512), 2]`, finest level first.

    The coarsest level is as long as the axis, so it has no longer anchors, but additional shorter ones.
    """
    found = []
    for level in range(NUM_LEVELS):
        stride = float(4 << level)
        ratios = [1.0]
        for step in STEPS:
            longer = 1 - (step + 0.05) if level == NUM_LEVELS - 1 else 1 + step
            ratios += [1 - step, longer]
        centres = (np.arange(num_snippets // (4 << level)) + 0.5) * stride
        pairs = np.meshgrid(centres, np.array(ratios) * stride, indexing="ij")
        found.append(np.stack(pairs, -1).reshape(-1, 2))
    return np.concatenate(found)


def encode(
    segments: np.ndarray,
    labels: np.ndarray,
    boxes: np.ndarray,
    *,
    min_iou: float = 0.5,
    skip_lone_anchor: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the training targets of the anchors, (offsets `[n 2]`, classes `[n]`); class 0 is the background.

    Each segment gets the anchor it overlaps most, best pairs first; then each other anchor with an overlap of
    `min_iou` takes its best segment. Offsets of background anchors are zero.

    Args:
        labels: classes of the segments, counted from 1.
        boxes: anchors `[n 2]` of centre and length.
        skip_lone_anchor: leaves such an anchor background if there is only one, as in the original code.
    """
    iou = interval_iou(_edges(boxes)[:, None], segments)
    chosen = np.full(len(boxes), -1)
    left = iou.copy()
    for _ in range(len(segments)):
        anchor, segment = np.unravel_index(left.argmax(), left.shape)
        if left[anchor, segment] < 1e-6:
            break
        chosen[anchor] = segment
        left[anchor], left[:, segment] = 0, 0
    others = (chosen < 0) & (iou.max(1, initial=0.0) >= min_iou)
    if not (skip_lone_anchor and others.sum() == 1):
        chosen[others] = iou[others].argmax(1) if others.any() else -1
    offsets, classes = np.zeros((len(boxes), 2)), np.zeros(len(boxes), np.int64)
    hit = chosen >= 0
    matched, anchor = segments[chosen[hit]], boxes[hit]
    centre, length = matched.mean(1), matched[:, 1] - matched[:, 0]
    offsets[hit, 0] = (centre - anchor[:, 0]) / anchor[:, 1] / VARIANCES[0]
    offsets[hit, 1] = (length / anchor[:, 1] - 1) / VARIANCES[1]
    classes[hit] = labels[chosen[hit]]
    return offsets, classes


def decode(offsets: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Returns the segments `[n 2]` for offsets `[n 2]` of the anchors `[n 2]`."""
    centre = offsets[:, 0] * VARIANCES[0] * boxes[:, 1] + boxes[:, 0]
    length = (offsets[:, 1] * VARIANCES[1] + 1) * boxes[:, 1]
    return np.stack([centre - length / 2, centre + length / 2], -1)


def _edges(boxes: np.ndarray) -> np.ndarray:
    return np.stack([boxes[:, 0] - boxes[:, 1] / 2, boxes[:, 0] + boxes[:, 1] / 2], -1)


def nms(segments: np.ndarray, scores: np.ndarray, *, max_iou: float) -> np.ndarray:
    """Returns the indices of the segments kept by non-maximum suppression at `max_iou`, best first."""
    around = Around(*segments.T)
    left = np.ones(len(scores), bool)
    kept: list[int] = []
    for best in best_first(scores).tolist():
        if left[best]:
            kept.append(best)
            near = around[best]
            left[near[interval_iou(segments[near], segments[best]) > max_iou]] = False
    return np.array(kept, np.int64)


def score_decay(
    segments: np.ndarray, scores: np.ndarray, *, sigma: float, min_score: float
) -> tuple[np.ndarray, np.ndarray]:
    """Returns (indices, scores) by gaussian soft-NMS (arXiv:1704.04503).

    Each pick multiplies the other scores by `exp(-iou^2 / sigma)`; scores below `min_score` are dropped.
    """

    def decay(best: int, near: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        iou = interval_iou(segments[near], segments[best])
        return near, np.exp(-np.square(iou) / sigma)

    return pick_and_decay(scores, Around(*segments.T), decay, min_score=min_score)


def detect(
    offsets: np.ndarray,
    probs: np.ndarray,
    boxes: np.ndarray,
    *,
    min_score: float = 0.001,
    max_iou: float = 0.8,
    sigma: float = 0.9,
    min_decayed: float = 0.004,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns (segments `[m 2]`, classes `[m]` from 0 without the background, scores `[m]`) of one video, by class.

    In each class the anchors over `min_score` go through plain and then gaussian soft suppression.

    Args:
        offsets: `[n 2]`; probs: `[n 1 + k]`; boxes: anchors `[n 2]`.
    """
    segments = decode(offsets, boxes)
    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for k in range(probs.shape[1] - 1):
        score = probs[:, k + 1]
        candidates = np.nonzero(score > min_score)[0]
        candidates = candidates[nms(segments[candidates], score[candidates], max_iou=max_iou)]
        picks, kept = score_decay(segments[candidates], score[candidates], sigma=sigma, min_score=min_decayed)
        parts.append((segments[candidates[picks]], np.full(len(picks), k), kept))
    found = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return found[0], found[1], found[2]
