"""Training targets of boundary networks from annotated segments, and segments from their outputs.

Papers: BSN, arXiv:1806.02964, section 3.3; BMN, arXiv:1907.09702, sections 4.2 and 4.3. Segments are `[n 2]` arrays of
start and end as shares of the video's length; a sequence has t snippets, and cell (i, s) of a map is the segment of
i + 1 snippets from snippet s.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from videozoo.contracts.intervals import interval_iou, interval_overlap
from videozoo.contracts.ranking import best_first

__all__ = [
    "Around",
    "Proposals",
    "action_target",
    "boundary_targets",
    "is_boundary",
    "map_segments",
    "overlap_target",
    "pair_boundaries",
    "pick_and_decay",
    "proposal_features",
    "soft_nms",
]


# --- targets ------------------------------------------------------------------------------------------------


def map_segments(num_snippets: int, max_duration: int) -> np.ndarray:
    """Returns the segment of each cell of a map, `[d t 2]`; segments with late starts extend beyond 1."""
    duration, start = np.meshgrid(np.arange(max_duration), np.arange(num_snippets), indexing="ij")
    return np.stack([start, start + duration + 1], -1) / num_snippets


def overlap_target(segments: np.ndarray, *, num_snippets: int, max_duration: int) -> np.ndarray:
    """Returns each cell's best overlap with an annotated segment, `[d t]` float32."""
    cells = map_segments(num_snippets, max_duration).reshape(-1, 2)
    best = interval_iou(cells[:, None], _clipped(segments)).max(1, initial=0.0)
    scores: np.ndarray = best.reshape(max_duration, num_snippets).astype(np.float32)
    return scores


def boundary_targets(
    segments: np.ndarray, *, num_snippets: int, width: float | None = None, width_ratio: float = 0.1
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the share of each snippet in a window around a start, and around an end: `[t]` and `[t]` float32.

    Args:
        width: width of the windows, as a share of the video; BMN takes three snippets. None takes `width_ratio` of the
            segment's length, at least a snippet, as BSN does.
    """
    segments = _clipped(segments)
    length = np.maximum(1 / num_snippets, width_ratio * (segments[:, 1] - segments[:, 0])) if width is None else width
    start, end = (_coverage(np.stack([at - length / 2, at + length / 2], -1), num_snippets) for at in segments.T)
    return start, end


def action_target(segments: np.ndarray, *, num_snippets: int) -> np.ndarray:
    """Returns the largest share of each snippet that one annotated segment covers, `[t]` float32."""
    return _coverage(_clipped(segments), num_snippets)


def _coverage(windows: np.ndarray, num_snippets: int) -> np.ndarray:
    edges = np.arange(num_snippets + 1) / num_snippets
    snippets = np.stack([edges[:-1], edges[1:]], -1)
    overlap: np.ndarray = interval_overlap(snippets[:, None], windows).max(1, initial=0.0) * num_snippets
    return overlap.astype(np.float32)


def _clipped(segments: np.ndarray) -> np.ndarray:
    return np.clip(np.asarray(segments, dtype=np.float64).reshape(-1, 2), 0.0, 1.0)


# --- proposals ----------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Proposals:
    """Candidate segments of one video with the snippets they begin and end at.

    `scores` is the product of both boundaries' probabilities.
    """

    segments: np.ndarray  # [n 2], shares of the video
    scores: np.ndarray  # [n]
    start: np.ndarray  # [n] int, index of the first snippet
    end: np.ndarray  # [n] int, index of the last snippet

    def __len__(self) -> int:
        return len(self.scores)

    def best(self, k: int) -> Proposals:
        """Returns the k proposals with the highest scores, best first; ties keep their order."""
        order = best_first(self.scores)[:k]
        return Proposals(self.segments[order], self.scores[order], self.start[order], self.end[order])


def is_boundary(probs: np.ndarray, *, threshold: float = 0.5) -> np.ndarray:
    """Returns where a sequence `[t]` of probabilities is over `threshold` of its maximum, or above its neighbours."""
    before, after = np.append(-1.0, probs[:-1]), np.append(probs[1:], -1.0)
    peaks: np.ndarray = (probs > threshold * probs.max()) | ((probs > before) & (probs > after))
    return peaks


def pair_boundaries(
    start: np.ndarray, end: np.ndarray, *, max_duration: int | None = None, threshold: float = 0.5
) -> Proposals:
    """Pairs every likely start with every later likely end, shortest first; first and last snippet are always likely.

    Args:
        start, end: probabilities `[t]`.
        max_duration: longest segment in snippets; None for any.
        threshold: share of the maximum above which a snippet is a boundary even if it is not a peak.
    """
    t = len(start)
    starts, ends = is_boundary(start, threshold=threshold), is_boundary(end, threshold=threshold)
    starts[0] = ends[-1] = True
    s, e = np.nonzero(starts[:, None] & ends & (np.arange(t)[:, None] <= np.arange(t)))
    if max_duration is not None:
        kept = e - s < max_duration
        s, e = s[kept], e[kept]
    order = np.lexsort((s, e - s))
    s, e = s[order], e[order]
    segments = np.stack([s, e + 1], -1) / t
    return Proposals(segments, np.asarray(start, np.float64)[s] * np.asarray(end, np.float64)[e], s, e)


def proposal_features(
    action: np.ndarray,
    segments: np.ndarray,
    *,
    num_action: int = 16,
    num_boundary: int = 8,
    num_subsamples: int = 3,
    boundary_ratio: float = 0.25,
) -> np.ndarray:
    """Returns BSN's boundary-sensitive features `[n, num_action + 2 num_boundary]` of proposals.

    Points are spread over the segment, then over windows of `boundary_ratio` of its length to both sides of its
    start and of its end; a point is the mean of `num_subsamples` + 1 interpolated values. Outside of the video the
    probability is zero.

    Args:
        action: probability of an action at each snippet `[t]`.
    """
    t = len(action)
    outside = np.zeros(t // 4 + 10)
    values = np.concatenate([outside, action, outside])
    centres = (np.arange(len(values)) - len(outside) + 0.5) / t

    def sample(low: np.ndarray, high: np.ndarray, num: int) -> np.ndarray:
        step = (high - low) / (num - 1)
        at = (low - step / 2)[:, None] + (step / num_subsamples)[:, None] * np.arange(num * num_subsamples + 1)
        read = np.interp(at, centres, values)
        windows = np.lib.stride_tricks.sliding_window_view(read, num_subsamples + 1, axis=1)
        means: np.ndarray = windows[:, ::num_subsamples].mean(-1)
        return means

    low, high = np.asarray(segments, np.float64).T
    reach = (high - low) * boundary_ratio
    parts = [
        sample(low, high, num_action),
        sample(low - reach, low + reach, num_boundary),
        sample(high - reach, high + reach, num_boundary),
    ]
    return np.concatenate(parts, axis=1)


class Around:
    """Finds the segments that may overlap a given one: `around[i]` are their indices, and possibly a few more.

    Short segments in a long video, such as an hour, have few neighbours.
    """

    def __init__(self, start: np.ndarray, end: np.ndarray):
        self.start, self.end = start, end
        self.by_start = np.argsort(start, kind="stable")
        self.sorted_start = start[self.by_start]
        self.longest = float((end - start).max(initial=0.0))

    def __getitem__(self, index: int) -> np.ndarray:
        span = (self.start[index] - self.longest, self.end[index])
        first, last = (
            np.searchsorted(self.sorted_start, span[0], "left"),
            np.searchsorted(self.sorted_start, span[1], "right"),
        )
        return self.by_start[first:last]


def pick_and_decay(
    scores: np.ndarray,
    around: Around,
    decay: Callable[[int, np.ndarray], tuple[np.ndarray, np.ndarray]],
    *,
    max_kept: int | None = None,
    min_score: float = -np.inf,
) -> tuple[np.ndarray, np.ndarray]:
    """Picks the best score again and again, lowering others after each pick; returns (indices, decayed scores).

    Args:
        decay: maps the index of a pick and its neighbours' indices to the lowered indices and their factors.
        min_score: score below which a candidate is dropped.
    """
    left = np.array(scores, np.float64)
    picks: list[int] = []
    kept: list[float] = []
    while len(picks) < (len(left) if max_kept is None else max_kept):
        best = int(left.argmax())
        if left[best] == -np.inf:
            break
        picks.append(best)
        kept.append(float(left[best]))
        left[best] = -np.inf
        near = around[best]
        near = near[left[near] > -np.inf]
        lowered, factors = decay(best, near)
        left[lowered] *= factors
        if min_score > -np.inf:
            left[left < min_score] = -np.inf
    return np.array(picks, np.int64), np.array(kept)


def soft_nms(
    segments: np.ndarray,
    scores: np.ndarray,
    *,
    alpha: float = 0.4,
    low: float = 0.55,
    high: float = 0.9,
    max_kept: int = 100,
    drop_last: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns (indices, decayed scores) of the best segments, in the order of the picks.

    Each pick multiplies the scores of segments that overlap it by more than a threshold by `exp(-iou^2 / alpha)`. The
    threshold grows with the picked segment's length, from `low` to `high` at the whole video.

    Args:
        segments: `[n 2]`, shares of the video.
        drop_last: stop before the last candidate of two or more, as the code of the papers does.
    """
    order = best_first(scores)
    ranked = np.asarray(segments, np.float64)[order]
    start, end = ranked.T

    def decay(best: int, near: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        iou = interval_iou(ranked[near], ranked[best])
        hit = np.flatnonzero(iou > max(low + (high - low) * (end[best] - start[best]), 0.0))
        return near[hit], np.exp(-np.square(iou[hit]) / alpha)

    num_kept = min(max_kept, len(order) - (drop_last and len(order) > 1))
    picks, kept = pick_and_decay(np.asarray(scores)[order], Around(start, end), decay, max_kept=num_kept)
    return order[picks], kept
