"""Predictions: the task's answer for a whole video, and one for each window of it."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from videozoo.contracts.answer import Answer, Labels, Segments
from videozoo.contracts.video import Span, VideoInfo
from videozoo.errors import DataError

__all__ = ["Place", "Prediction", "RecordAnswer", "Window"]


@dataclasses.dataclass(frozen=True)
class Place:
    """A stretch of a video to answer for; times are seconds from the video's start.

    `found` is the span of another run that the stretch was chosen by, or None.
    """

    start_s: float
    end_s: float
    found: Span | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.start_s < self.end_s:
            raise DataError(f"window: needs 0 <= start_s < end_s, got {self.start_s=} {self.end_s=}")

    def answered(self, answer: Answer) -> Window:
        """Returns the place with its answer."""
        return Window(self.start_s, self.end_s, answer, self.found)


@dataclasses.dataclass(frozen=True)
class Window:
    """A stretch of a video with the answer for it; see `Place`."""

    start_s: float
    end_s: float
    answer: Answer
    found: Span | None = None

    def __post_init__(self) -> None:
        Place(self.start_s, self.end_s)

    @property
    def labels(self) -> Labels:
        """The answer of a task whose answers are labels."""
        return self.answer.as_labels()

    def events(self) -> tuple[Span, ...]:
        """Returns the timed events of its answer; an answer without times holds for the whole window."""
        return self.answer.events(self.start_s, self.end_s)

    def holds_middle_of(self, span: Span) -> bool:
        return self.start_s <= span.middle_s < self.end_s

    def to_dict(self, *, top: int | None = None) -> dict[str, Any]:
        """Returns plain values, ready for JSON; `top` keeps the k best labels."""
        times: dict[str, Any] = {"start_s": round(self.start_s, 6), "end_s": round(self.end_s, 6)}
        if self.found is not None:
            times["found"] = {"label": self.found.label, "score": round(self.found.score, 6)}
        return {**times, **self.answer.to_dict(top=top)}


@dataclasses.dataclass(frozen=True)
class RecordAnswer:
    """The answer for one record of a data set: its id and the task's own typed value."""

    id: str
    answer: Answer

    @property
    def labels(self) -> Labels:
        """The answer of a task whose answers are labels."""
        return self.answer.as_labels()

    def to_dict(self, *, top: int | None = None) -> dict[str, Any]:
        """Returns plain values, ready for JSON; `top` keeps the k best labels."""
        return {"id": self.id, **self.answer.to_dict(top=top)}


@dataclasses.dataclass(frozen=True)
class Prediction(RecordAnswer):
    """The answer for one video.

    `answer` is the task's own typed value for the complete video (`Labels` of a classifier). `windows` are the answers
    over time, if requested, in the order of their start. With `over_spans` they are the spans that another run found,
    possibly none, not sliding windows.
    """

    info: VideoInfo
    windows: tuple[Window, ...] = ()
    over_spans: bool = False
    damaged_frames: int = 0  # number of decoded frames whose pixels the decoder guessed

    @property
    def timeline(self) -> tuple[Window, ...]:
        """The answer at each moment, as windows that do not overlap, in the order of time; there may be gaps.

        Sliding windows are cut: each covers the times nearest to its middle. Overlapping spans are combined. An answer
        without times gives one window over the complete video.
        """
        if self.over_spans:
            return _strongest(self.windows)
        if self.windows:
            return _nearest(self.windows)
        whole = (0.0, max(self.info.duration_s, 1e-3))
        return _together(self.answer.events(*whole)) if self.answer.is_timed else (Window(*whole, self.answer),)

    @property
    def is_timed(self) -> bool:
        """Whether the answer has times: windows, or times of its own."""
        return bool(self.windows) or self.over_spans or self.answer.is_timed

    def spans(self, *, min_score: float = 0.0, top: int = 1) -> tuple[Span, ...]:
        """Returns the timed events in the order of time; tables, subtitles, edit lists and clips show them.

        Consecutive sliding windows with the same best label are one span; its score is their mean. Without times in the
        answer, the `top` best labels are spans over the complete video.
        """
        spans: Iterable[Span]
        if self.over_spans:
            spans = itertools.chain.from_iterable(window.events() for window in self.windows)
        elif not self.windows:
            spans = self.answer.events(0.0, max(self.info.duration_s, 1e-3), top=top)
        else:
            spans = _joined(span for w in _nearest(self.windows) for span in w.events() if w.holds_middle_of(span))
        kept = (span for span in spans if span.score >= min_score)
        return tuple(sorted(kept, key=lambda span: (span.start_s, span.end_s, -span.score)))

    def keep(self, *, top: int | None = None, min_score: float | None = 0.0, max_overlap: float = 1.0) -> Prediction:
        """Returns a copy with only the strongest events; see `Answer.kept`."""
        kept = self.answer.kept(top=top, min_score=min_score, max_overlap=max_overlap)
        return dataclasses.replace(self, answer=kept)

    def to_dict(self, *, top: int | None = None) -> dict[str, Any]:
        """Returns plain values, ready for JSON; `top` keeps the k best labels."""
        return {
            **super().to_dict(top=top),
            "windows": [window.to_dict(top=top) for window in self.windows],
            "info": dataclasses.asdict(self.info),
        }


def _joined(spans: Iterable[Span]) -> list[Span]:
    """Joins neighbours of the same label, with their mean score."""
    joined: list[Span] = []
    for span in spans:
        last = joined[-1] if joined else None
        if last is None or last.label != span.label or not math.isclose(last.end_s, span.start_s, abs_tol=1e-6):
            joined.append(span)
            continue
        share = (span.end_s - span.start_s) / (span.end_s - last.start_s)
        joined[-1] = Span(last.start_s, span.end_s, span.label, share * span.score + (1 - share) * last.score)
    return joined


def _nearest(windows: Sequence[Window]) -> tuple[Window, ...]:
    """Returns for each moment the window whose middle is nearest; the windows have one length and are in order."""
    middles = [(w.start_s + w.end_s) / 2 for w in windows]
    borders = [(a + b) / 2 for a, b in itertools.pairwise(middles)]
    cut = zip(windows, [0.0, *borders], [*borders, windows[-1].end_s], strict=True)
    return tuple(Window(max(w.start_s, start), min(w.end_s, end), w.answer) for w, start, end in cut)


def _strongest(windows: Sequence[Window]) -> tuple[Window, ...]:
    """Returns for each moment the window whose span has the highest score."""
    return tuple(
        Window(start_s, end_s, max(active, key=lambda w: w.found.score if w.found else 0.0).answer)
        for start_s, end_s, active in _moments(windows)
    )


def _together(spans: Sequence[Span]) -> tuple[Window, ...]:
    """Returns for each moment the spans that cover it, best first."""
    return tuple(Window(start_s, end_s, Segments(_best_first(active))) for start_s, end_s, active in _moments(spans))


def _best_first(spans: Iterable[Span]) -> tuple[Span, ...]:
    return tuple(sorted(spans, key=lambda span: -span.score))


def _moments(stretches: Sequence[Any]) -> Iterator[tuple[float, float, list[Any]]]:
    """Yields (start_s, end_s, covering stretches) between consecutive starts or ends; skips uncovered times."""
    edges = sorted({edge for stretch in stretches for edge in (stretch.start_s, stretch.end_s)})
    coming = sorted(stretches, key=lambda stretch: stretch.start_s)[::-1]
    active: list[Any] = []
    for start_s, end_s in itertools.pairwise(edges):
        while coming and coming[-1].start_s <= start_s:
            active.append(coming.pop())
        active = [stretch for stretch in active if stretch.end_s > start_s]
        if active:
            yield start_s, end_s, active
