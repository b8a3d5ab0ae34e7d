"""Recall and ranks of videos found by sentences, and of sentences found by videos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from videozoo.contracts.answer import Embedding
from videozoo.errors import DataError
from videozoo.metrics.interval import batch_units, score_intervals, unit_numbers
from videozoo.metrics.parts import Interval, Note, Part, tie_notes

__all__ = ["RetrievalScores", "rank_scores", "ranks"]

RECALLS = (1, 5, 10)
ROWS_AT_ONCE = 1024


class RetrievalScores:
    """R@1, R@5, R@10 in percent, and the median and mean rank, counted from 1.

    Each sentence is a query over all videos; names that end in `_video_to_text` belong to the other direction, in which
    the best of a video's sentences counts. Equal scores share the mean of their ranks.
    """

    def __init__(self) -> None:
        self._videos: list[np.ndarray] = []
        self._texts: list[np.ndarray] = []  # `[m d]` each
        self._units: list[str] = []

    def update(self, predictions: Sequence[Embedding], batch: Mapping[str, Any]) -> None:
        if "captions" not in batch:
            raise DataError("retrieval: the data has no sentences for its videos; evaluate on described videos")
        for answer in predictions:
            self._videos.append(answer.vector)
            self._texts.append(answer.texts)
        self._units += batch_units(batch)

    def merge(self, other: RetrievalScores) -> None:
        self._videos = self._videos + other._videos
        self._texts = self._texts + other._texts
        self._units = self._units + other._units

    def compute(self) -> dict[str, float]:
        return _both(*self._ranks("mean"))

    def intervals(self) -> list[Interval]:
        of_sentences, _ = self._ranks("mean")
        units = np.repeat(unit_numbers(self._units), [len(texts) for texts in self._texts])
        return score_intervals(lambda kept: _recalls(of_sentences[kept]), units)

    def report_parts(self) -> list[Part]:
        worst, best = (_both(*self._ranks(ties)) for ties in ("last", "first"))
        names = [name for name in worst if name.startswith("r")]
        notes: list[Note] = tie_notes({n: worst[n] for n in names}, {n: best[n] for n in names})
        return list(notes)

    def _ranks(self, ties: str) -> tuple[np.ndarray, np.ndarray]:
        if not self._videos:
            raise DataError("retrieval: no video was scored; there is nothing to average")
        videos, texts = np.stack(self._videos), np.concatenate(self._texts)
        owner = np.repeat(np.arange(len(videos)), [len(rows) for rows in self._texts])
        of_sentences = np.concatenate(
            [
                ranks(texts[i : i + ROWS_AT_ONCE] @ videos.T, owner[i : i + ROWS_AT_ONCE], ties=ties)
                for i in range(0, len(texts), ROWS_AT_ONCE)
            ]
        )
        scores = np.stack([_best_of_owners(texts @ video, owner, len(videos)) for video in videos])
        return of_sentences, ranks(scores, np.arange(len(videos)), ties=ties)


def ranks(scores: np.ndarray, true: np.ndarray, *, ties: str = "mean") -> np.ndarray:
    """Returns the rank, from 1, of the true column of each row `[n k]`; "mean", "first" or "last" of equal scores."""
    own = scores[np.arange(len(scores)), true][:, None]
    better, equal = (scores > own).sum(1), (scores == own).sum(1) - 1
    found: np.ndarray = 1 + better + equal * {"first": 0.0, "mean": 0.5, "last": 1.0}[ties]
    return found


def rank_scores(found: np.ndarray) -> dict[str, float]:
    """Returns R@1, R@5 and R@10 in percent, the median rank and the mean rank."""
    return {**_recalls(found), "median_rank": float(np.median(found)), "mean_rank": float(found.mean())}


def _recalls(found: np.ndarray) -> dict[str, float]:
    return {f"r{k}": 100 * float((found <= k).mean()) for k in RECALLS}


def _both(of_sentences: np.ndarray, of_videos: np.ndarray) -> dict[str, float]:
    other = {f"{name}_video_to_text": score for name, score in rank_scores(of_videos).items()}
    return {**rank_scores(of_sentences), **other}


def _best_of_owners(scores: np.ndarray, owner: np.ndarray, count: int) -> np.ndarray:
    """Returns the best score of the sentences of each video; -inf for videos without sentences."""
    best = np.full(count, -np.inf)
    np.maximum.at(best, owner, scores)
    return best
