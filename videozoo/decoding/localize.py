"""Temporal localization: from the outputs for sequences of snippets to segments in seconds of the video.

This is the common part of all localizers. `decoding.localize_bmn`, `decoding.localize_bsn` and
`decoding.localize_ctcn` turn a network's outputs into proposals.
"""

from __future__ import annotations

import abc
import dataclasses
import functools
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from videozoo.contracts.answer import Answer, Segments
from videozoo.contracts.backend import Decoder, Outputs, Run
from videozoo.contracts.input import Batch
from videozoo.contracts.ranking import best_first
from videozoo.contracts.video import Span
from videozoo.decoding.proposals import soft_nms
from videozoo.decoding.video_scores import VideoScores
from videozoo.transforms.snippets import ClassTrack, Timeline

__all__ = ["SEQUENCES_AT_ONCE", "Candidates", "ProposeDecoder", "SegmentsDecoder", "spans_of"]

SEQUENCES_AT_ONCE = 16  # of a video that is cut into windows
Candidates = tuple[np.ndarray, np.ndarray]  # segments `[n 2]` in shares of a sequence, their scores `[n]`


@dataclasses.dataclass(frozen=True)
class SegmentsDecoder(Decoder):
    """Reads outputs `[n ...]` of the sequences of all videos of a batch, video by video."""

    answers: ClassVar[type[Answer]] = Segments

    class_names: tuple[str, ...]

    def __call__(self, outputs: Outputs, batch: Batch) -> list[Answer]:
        answers: list[Answer] = []
        first = 0
        for id_, timeline in zip(batch["id"], batch["timeline"], strict=True):
            rows = range(first, first + len(timeline.extents))
            sequences = [{name: array[row] for name, array in outputs.items()} for row in rows]
            answers.append(self.segments(sequences, timeline, id_=id_))
            first = rows.stop
        return answers

    def outputs(self, run: Run, batch: Batch, *, graph: str = "main") -> Outputs:
        features = batch["features"]
        parts = [
            run(graph, {"features": features[first : first + SEQUENCES_AT_ONCE]})
            for first in range(0, len(features), SEQUENCES_AT_ONCE)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    @abc.abstractmethod
    def segments(self, sequences: Sequence[Outputs], timeline: Timeline, *, id_: str) -> Segments:
        """Returns the segments of one video, from the outputs for each of its sequences."""


@dataclasses.dataclass(frozen=True)
class ProposeDecoder(SegmentsDecoder):
    """Joins starts and ends to proposals, filters them by gaussian soft-NMS, and labels the rest.

    Labels come from the first available source: `video_scores`, a file of class probabilities of whole videos; the
    stored class probabilities of the feature extractor, averaged inside each proposal, if it has the data's classes.
    Without either, segments have no labels.

    Args:
        alpha, low, high: of `decoding.proposals.soft_nms`.
        max_proposals: largest number of proposals of a video, or of a window of it.
        num_names: number of labels for each proposal; a segment's score is the product of both scores.
        video_scores: JSON of ActivityNet's challenge, `{"class": [name, ...], "results": {id: [score, ...]}}`.
    """

    alpha: float = 0.4
    low: float = 0.55
    high: float = 0.9
    max_proposals: int = 100
    num_names: int = 2
    video_scores: str | None = None

    @abc.abstractmethod
    def candidates(self, outputs: Outputs) -> Candidates:
        """Returns the proposals of one sequence."""

    def segments(self, sequences: Sequence[Outputs], timeline: Timeline, *, id_: str) -> Segments:
        parts = [self.candidates(outputs) for outputs in sequences]
        if len(parts) > 1:  # in a long video, weak proposals of a window stay weak, and suppression compares all pairs
            parts = [_best(*part, 2 * self.max_proposals) for part in parts]
        shares, scores = (np.concatenate(column) for column in zip(*parts, strict=True))
        starts_s = np.repeat([extent.start_s for extent in timeline.extents], [len(part[1]) for part in parts])
        length_s = timeline.extents[0].length_s  # all have the same length
        # the unit of soft-NMS is the length of a sequence: the whole video or a window of it
        on_axis = shares + starts_s[:, None] / length_s
        picks, kept = soft_nms(
            on_axis,
            scores,
            alpha=self.alpha,
            low=self.low,
            high=self.high,
            max_kept=timeline.allowance(self.max_proposals),
        )
        seconds = np.clip(on_axis[picks] * length_s, 0.0, timeline.video_s)
        inside = seconds[:, 1] > seconds[:, 0]
        seconds, kept = seconds[inside], kept[inside]
        proposals = spans_of(seconds, [""] * len(kept), kept)
        named = self._named(seconds, kept, timeline.track, id_)
        return Segments(proposals if named is None else named, proposals)

    @functools.cached_property
    def _video_scores(self) -> VideoScores | None:
        return VideoScores(self.video_scores) if self.video_scores is not None else None

    def _named(
        self, seconds: np.ndarray, scores: np.ndarray, track: ClassTrack | None, id_: str
    ) -> tuple[Span, ...] | None:
        of_videos = self._video_scores
        if of_videos is not None and (track is None or id_ in of_videos):
            names, probs = of_videos.read(id_)
            probs = np.broadcast_to(probs, (len(seconds), len(names)))
        elif track is not None:
            names, probs = track.class_names, track.means(seconds)
        else:
            return None
        columns = _columns(names, self.class_names)
        if not columns:
            return None
        labels = list(columns)
        probs = probs[:, [columns[label] for label in labels]]
        best = best_first(probs)[:, : self.num_names]
        row = np.repeat(np.arange(len(seconds)), best.shape[1])
        column = best.flatten()
        return spans_of(seconds[row], [labels[c] for c in column], scores[row] * probs[row, column])


def _best(segments: np.ndarray, scores: np.ndarray, k: int) -> Candidates:
    order = best_first(scores)[:k]
    return segments[order], scores[order]


def _columns(names: Sequence[str], class_names: Sequence[str]) -> dict[str, int]:
    """Returns the classifier's column of each class that it knows; `moves_left` matches `moves left`."""
    known = {_plain(name): i for i, name in enumerate(names)}
    return {name: known[_plain(name)] for name in class_names if _plain(name) in known}


def _plain(name: str) -> str:
    return name.replace("_", " ").casefold()


def spans_of(seconds: np.ndarray, labels: Sequence[str], scores: np.ndarray) -> tuple[Span, ...]:
    """Returns spans, best first."""
    order = best_first(scores)
    return tuple(Span(float(seconds[i, 0]), float(seconds[i, 1]), labels[i], float(scores[i])) for i in order)
