"""Answers: typed values for one video or a stretch of it, with their forms for tables, files and pictures.

A task with a new kind of answer brings a subclass of `Answer`. No code outside the subclass knows the kind: JSON
comes from `to_dict`, tables from `ranked` and `events`, timelines from `lanes`, rendered frames from `marks_at`.
"""

from __future__ import annotations

import abc
import dataclasses
import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import numpy as np
from typing_extensions import Self

from videozoo.contracts.ranking import best_first
from videozoo.contracts.video import Span
from videozoo.errors import DataError

__all__ = ["UNNAMED", "Answer", "Boundary", "BoxMark", "Caption", "Embedding", "Labels", "Lane", "Segments", "Shots"]

UNNAMED = "segment"  # shown for a segment without a label


@dataclasses.dataclass(frozen=True)
class Lane:
    """One row of a timeline whose shade follows a value over time.

    Attributes:
        name: shown to the left of the row.
        times_s: middles of the stretches, increasing, in seconds of the video.
        values: one for each of `times_s`, 0 or more; the largest is drawn darkest.

    Raises:
        DataError: there are no times, or the values do not match them.
    """

    name: str
    times_s: Sequence[float]
    values: np.ndarray

    def __post_init__(self) -> None:
        if not len(self.times_s) or np.shape(self.values) != (len(self.times_s),):
            raise DataError(
                f"lane '{self.name}': values have shape {np.shape(self.values)} for {len(self.times_s)} times; "
                "give one value for each time, and at least one"
            )
        if not (np.isfinite(self.values).all() and np.min(self.values) >= 0 and np.all(np.diff(self.times_s) > 0)):
            raise DataError(f"lane '{self.name}': values must be finite and at least 0, and times must increase")


@dataclasses.dataclass(frozen=True)
class BoxMark:
    """A rectangle to draw on a frame, in pixels of the upright frame.

    Attributes:
        text: written at the rectangle's upper edge.
        color_key: marks with the same key have the same color, e.g. the id of a track; empty uses the text.

    Raises:
        DataError: the sides are not finite numbers, or not in order.
    """

    left_px: float
    top_px: float
    right_px: float
    bottom_px: float
    text: str = ""
    color_key: str = ""

    def __post_init__(self) -> None:
        sides = (self.left_px, self.top_px, self.right_px, self.bottom_px)
        if not all(map(math.isfinite, sides)) or self.left_px > self.right_px or self.top_px > self.bottom_px:
            raise DataError(f"box mark: needs left <= right and top <= bottom; got left, top, right, bottom = {sides}")


class Answer(abc.ABC):
    """A task's answer for one sample.

    Attributes:
        kind: the name of the kind in messages, and the answer's key in JSON.
        noun: the timeline's name for the best entry of `ranked`.
        is_timed: whether the answer has times of its own; otherwise it applies to the whole stretch.
    """

    kind: ClassVar[str] = "answer"
    noun: ClassVar[str] = "best label"
    is_timed: ClassVar[bool] = False

    @abc.abstractmethod
    def to_dict(self, *, top: int | None = None) -> dict[str, Any]:
        """Returns plain values, ready for JSON, under the name of the kind; `top` keeps the k best entries."""

    def ranked(self, *, top: int | None = None) -> list[tuple[str, float]]:
        """Returns (text, score 0..1) pairs, best first; empty where the answer has no such form."""
        return []

    def events(self, start_s: float, end_s: float, *, top: int = 1) -> tuple[Span, ...]:
        """Returns the timed events of an answer about start_s..end_s.

        An answer without times of its own gives its `top` best entries, each over the whole stretch.
        """
        return tuple(Span(start_s, end_s, text, score) for text, score in self.ranked(top=top))

    def shifted(self, by_s: float) -> Self:
        """Returns the answer with all its times moved by `by_s`: from the times of a stretch to those of its video."""
        return self

    def kept(self, *, top: int | None = None, min_score: float | None = 0.0, max_overlap: float = 1.0) -> Self:
        """Returns the answer with only its strongest events; answers without listed events stay unchanged.

        Args:
            top: the number of events to keep; None keeps all.
            min_score: the lowest score to keep; None takes a third of the best score.
            max_overlap: tIoU above which the weaker of two events is dropped, whatever their labels.
        """
        return self

    def lanes(self) -> tuple[Lane, ...]:
        """Returns rows for a timeline; without any the timeline is drawn from `ranked` and `events`."""
        return ()

    def marks_at(self, time_s: float) -> tuple[BoxMark, ...]:
        """Returns the marks to draw on the frame at `time_s`."""
        return ()

    def as_labels(self) -> Labels:
        """Returns the answer as one score a class.

        Raises:
            DataError: the answer is of a different kind.
        """
        raise DataError(f"prediction: holds {self.kind}, not labels; read its `answer`")


@dataclasses.dataclass(frozen=True)
class Labels(Answer):
    """One score for each class; probabilities, unless the task defines other scores."""

    scores: np.ndarray  # [k]
    names: Sequence[str]

    kind: ClassVar[str] = "labels"

    def __post_init__(self) -> None:
        if self.scores.ndim != 1 or len(self.scores) != len(self.names):
            raise DataError(
                f"labels: {self.scores.shape} scores for {len(self.names)} names; give one score for each name"
            )

    def top(self, k: int = 5) -> list[tuple[str, float]]:
        """Returns the k best (name, score) pairs, best first; ties keep the class order."""
        order = best_first(self.scores)[:k]
        return [(self.names[i], float(self.scores[i])) for i in order]

    @property
    def best(self) -> str:
        return self.top(1)[0][0]

    def as_labels(self) -> Labels:
        return self

    def ranked(self, *, top: int | None = None) -> list[tuple[str, float]]:
        return self.top(len(self.names) if top is None else top)

    def to_dict(self, *, top: int | None = None) -> dict[str, Any]:
        return {"labels": [{"name": name, "score": round(score, 6)} for name, score in self.ranked(top=top)]}


@dataclasses.dataclass(frozen=True)
class Segments(Answer):
    """The events of one video: spans in seconds of the video, best score first; there may be none.

    `proposals` are the spans before a classifier labels them, best first; empty for models that label spans directly.
    """

    spans: tuple[Span, ...]
    proposals: tuple[Span, ...] = ()

    kind: ClassVar[str] = "segments"
    is_timed: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for spans in (self.spans, self.proposals):
            if any(first.score < second.score for first, second in itertools.pairwise(spans)):
                raise DataError(f"segments: {len(spans)} spans are not sorted by score; give the best first")

    def ranked(self, *, top: int | None = None) -> list[tuple[str, float]]:
        best: dict[str, float] = {}
        for span in self.spans:
            best.setdefault(span.label or UNNAMED, span.score)
        return list(best.items())[:top]

    def to_dict(self, *, top: int | None = None) -> dict[str, Any]:
        return {"segments": [_span_dict(span) for span in self.spans]}  # all of them; `kept` shortens

    def events(self, start_s: float, end_s: float, *, top: int = 1) -> tuple[Span, ...]:
        return self.spans

    def kept(self, *, top: int | None = None, min_score: float | None = 0.0, max_overlap: float = 1.0) -> Self:
        if min_score is None:
            min_score = max((span.score for span in self.spans), default=0.0) / 3
        kept: list[Span] = []
        for span in self.spans:
            if len(kept) == top or span.score < min_score:
                break
            if max_overlap >= 1 or all(span.iou(better) <= max_overlap for better in kept):
                kept.append(span)
        return dataclasses.replace(self, spans=tuple(kept))

    def shifted(self, by_s: float) -> Self:
        return dataclasses.replace(self, spans=_shifted(self.spans, by_s), proposals=_shifted(self.proposals, by_s))


@dataclasses.dataclass(frozen=True)
class Boundary:
    """The change from one shot to the next, with its score 0..1; at a cut both times are equal.

    Attributes:
        start_s: the end of the first shot.
        end_s: the start of the second one.
    """

    start_s: float
    end_s: float
    score: float = 1.0

    @property
    def time_s(self) -> float:
        return (self.start_s + self.end_s) / 2


@dataclasses.dataclass(frozen=True)
class Shots(Segments):
    """The shots of a video as segments in the order of time, and the boundaries between them.

    Attributes:
        boundaries: one between each two consecutive shots.
        scores: for each frame, the probability of a boundary `[n]`; empty if unknown.
        times_s: the times of these frames.
    """

    boundaries: tuple[Boundary, ...] = ()
    scores: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, np.float32), repr=False)
    times_s: tuple[float, ...] = dataclasses.field(default=(), repr=False)

    kind: ClassVar[str] = "shots"

    def to_dict(self, *, top: int | None = None) -> dict[str, Any]:
        boundaries = [
            {"time_s": round(each.time_s, 6), "start_s": round(each.start_s, 6), "end_s": round(each.end_s, 6)}
            | {"score": round(each.score, 6)}
            for each in self.boundaries
        ]
        return {"shots": [_span_dict(span) for span in self.spans], "boundaries": boundaries}

    def shifted(self, by_s: float) -> Self:
        boundaries = tuple(Boundary(b.start_s + by_s, b.end_s + by_s, b.score) for b in self.boundaries)
        times_s = tuple(time_s + by_s for time_s in self.times_s)
        return dataclasses.replace(super().shifted(by_s), boundaries=boundaries, times_s=times_s)

    def lanes(self) -> tuple[Lane, ...]:
        return (Lane("boundary", self.times_s, self.scores),) if self.times_s else ()


@dataclasses.dataclass(frozen=True)
class Caption(Answer):
    """A sentence about a video, or about a stretch of it.

    Attributes:
        score: mean probability of a word, 0..1.
        words: its words in order, as they stand in the model's vocabulary.
        attention: float `[words t]`, the weight of each row of features for each word; rows sum to 1.
        times_s: the middles of those rows, in seconds of the video.
    """

    text: str
    score: float = 1.0
    words: tuple[str, ...] = ()
    attention: np.ndarray | None = None
    times_s: tuple[float, ...] = ()

    kind: ClassVar[str] = "caption"
    noun: ClassVar[str] = "sentence"
    is_timed: ClassVar[bool] = True

    def __post_init__(self) -> None:
        wanted = (len(self.words), len(self.times_s))
        if self.attention is not None and self.attention.shape != wanted:
            raise DataError(f"caption: attention of shape {self.attention.shape}; needs [words t] = {wanted}")

    def ranked(self, *, top: int | None = None) -> list[tuple[str, float]]:
        return [(self.text, self.score)]

    def to_dict(self, *, top: int | None = None) -> dict[str, Any]:
        return {"caption": {"text": self.text, "score": round(self.score, 6)}}

    def shifted(self, by_s: float) -> Self:
        return dataclasses.replace(self, times_s=tuple(time_s + by_s for time_s in self.times_s))

    def lanes(self) -> tuple[Lane, ...]:
        if self.attention is None:
            return ()
        return tuple(Lane(word, self.times_s, row) for word, row in zip(self.words, self.attention, strict=True))


@dataclasses.dataclass(frozen=True)
class Embedding(Answer):
    """The vector of a video `[d]`, and the vectors `[m d]` of the sentences that the data has for it."""

    vector: np.ndarray
    texts: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros((0, 0), np.float32), repr=False)

    kind: ClassVar[str] = "embedding"

    def to_dict(self, *, top: int | None = None) -> dict[str, Any]:
        return {"embedding": [round(float(value), 6) for value in self.vector]}


def _shifted(spans: Iterable[Span], by_s: float) -> tuple[Span, ...]:
    return tuple(span.shifted(by_s) for span in spans)


def _span_dict(span: Span) -> dict[str, Any]:
    times = {"start_s": round(span.start_s, 6), "end_s": round(span.end_s, 6)}
    return {**times, "label": span.label, "score": round(span.score, 6)}
