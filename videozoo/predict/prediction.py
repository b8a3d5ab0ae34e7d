"""What a predictor answers: the task's typed value for the whole video, and one for each window.

Everything that depends on the kind of answer is in the functions at the end, `ranked`, `as_json`, `spans_in`,
`keep` and `moved`. A task with a new kind of value registers it there (`ranked.register`, ...), or keeps to values that
are known.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from videozoo.errors import DataError
from videozoo.types import Caption, Labels, Segments, Span, VideoInfo

__all__ = ["UNNAMED", "Prediction", "Window", "as_json", "keep", "moved", "ranked", "spans_in"]

UNNAMED = "segment"  # what is shown for a segment that was found, but not named


@dataclasses.dataclass(frozen=True)
class Window:
    """A stretch of a video with the answer for it; times are seconds from the video's start.

    `found` is what another run found there, where that is how the stretch was chosen.
    """

    start_s: float
    end_s: float
    answer: Any
    found: Span | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.start_s < self.end_s:
            raise DataError(f"window: needs 0 <= start_s < end_s, got {self.start_s=} {self.end_s=}")

    @property
    def labels(self) -> Labels:
        """The answer of a task whose answers are labels."""
        return _as_labels(self.answer)

    def holds_middle_of(self, span: Span) -> bool:
        return self.start_s <= (span.start_s + span.end_s) / 2 < self.end_s

    def to_dict(self, *, top: int | None = None) -> dict[str, Any]:
        """Plain values, ready for JSON; `top` keeps the k best labels."""
        times: dict[str, Any] = {"start_s": round(self.start_s, 6), "end_s": round(self.end_s, 6)}
        if self.found is not None:
            times["found"] = {"label": self.found.label, "score": round(self.found.score, 6)}
        return {**times, **as_json(self.answer, top=top)}


@dataclasses.dataclass(frozen=True)
class Prediction:
    """The answer for one video.

    `answer` is the task's own typed value over the whole video (`Labels` of a classifier), `windows` the
    same over time where it was asked for, in the order of their start. With `over_spans` they are not sliding
    windows but the spans that another run found, possibly none.
    """

    id: str
    answer: Any
    info: VideoInfo
    windows: tuple[Window, ...] = ()
    over_spans: bool = False

    @property
    def labels(self) -> Labels:
        """The answer of a task whose answers are labels."""
        return _as_labels(self.answer)

    @property
    def timeline(self) -> tuple[Window, ...]:
        """What holds at each moment, as windows that do not overlap, in the order of time; there may be gaps.

        Sliding windows are cut: each speaks for the times nearest to its middle. Spans that overlap speak together.
        Without times it is the answer of the whole video, over the whole video.
        """
        if self.over_spans:
            return _strongest(self.windows)
        if self.windows:
            return _nearest(self.windows)
        whole = (0.0, max(self.info.duration_s, 1e-3))
        spans = spans_in(self.answer, *whole)
        return (Window(*whole, self.answer),) if spans is None else _together(spans)

    @property
    def is_timed(self) -> bool:
        """Whether the answer says when: it has windows, or is one that has times of its own."""
        return bool(self.windows) or self.over_spans or spans_in(self.answer, 0.0, 1.0) is not None

    def spans(self, *, min_score: float = 0.0, top: int = 1) -> tuple[Span, ...]:
        """What happens when, in the order of time: what tables, subtitles, edit lists and cuts are made of.

        Sliding windows that follow each other with the same best label are one span; its score is their mean. Of an
        answer that says no times, the `top` best labels are spans over the whole video.
        """
        spans: Iterable[Span]
        if self.over_spans:
            spans = itertools.chain.from_iterable(map(_spans_of, self.windows))
        elif not self.windows:
            spans = _spans_of(Window(0.0, max(self.info.duration_s, 1e-3), self.answer), top=top)
        else:
            spans = _joined(span for w in _nearest(self.windows) for span in _spans_of(w) if w.holds_middle_of(span))
        kept = (span for span in spans if span.score >= min_score)
        return tuple(sorted(kept, key=lambda span: (span.start_s, span.end_s, -span.score)))

    def keep(self, *, top: int | None = None, min_score: float | None = 0.0, max_overlap: float = 1.0) -> Prediction:
        """Of what was found in the video only what counts; see `keep`."""
        kept = keep(self.answer, top=top, min_score=min_score, max_overlap=max_overlap)
        return dataclasses.replace(self, answer=kept)

    def to_dict(self, *, top: int | None = None) -> dict[str, Any]:
        """Plain values, ready for JSON; `top` keeps the k best labels."""
        return {
            "id": self.id,
            **as_json(self.answer, top=top),
            "windows": [window.to_dict(top=top) for window in self.windows],
            "info": dataclasses.asdict(self.info),
        }


@functools.singledispatch
def ranked(answer: Any, *, top: int | None = None) -> Sequence[tuple[str, float]]:
    """An answer as (text, score 0..1) pairs, best first: what tables, renderings and timelines show.

    Raises:
        DataError: this kind of answer has no such form.
    """
    raise DataError(f"prediction: {type(answer).__name__} cannot be shown as names with scores; use to_dict()")


@functools.singledispatch
def as_json(answer: Any, *, top: int | None = None) -> dict[str, Any]:
    """An answer as plain values under the name of what it is, e.g. {"labels": [...]}.

    Raises:
        DataError: this kind of answer has no such form.
    """
    raise DataError(f"prediction: {type(answer).__name__} cannot be written as JSON; register it with as_json")


@functools.singledispatch
def spans_in(answer: Any, start_s: float, end_s: float) -> tuple[Span, ...] | None:
    """What an answer about start_s..end_s says happens when; None: it says no times (but see `Prediction.windows`)."""
    return None


@functools.singledispatch
def keep(answer: Any, *, top: int | None = None, min_score: float | None = 0.0, max_overlap: float = 1.0) -> Any:
    """An answer with only the best of what it lists as found; answers of other kinds stay as they are.

    Args:
        top: how many; None keeps them all.
        min_score: the least score; None: a third of the best one's.
        max_overlap: tIoU above which a better one displaces another, whatever they are called.
    """
    return answer


@functools.singledispatch
def moved(answer: Any, by_s: float) -> Any:
    """An answer with all its times so much later: from those of a stretch to those of its video."""
    return answer


@ranked.register
def _(answer: Labels, *, top: int | None = None) -> Sequence[tuple[str, float]]:
    return answer.top(len(answer.names) if top is None else top)


@as_json.register
def _(answer: Labels, *, top: int | None = None) -> dict[str, Any]:
    return {"labels": [{"name": name, "score": round(score, 6)} for name, score in ranked(answer, top=top)]}


@ranked.register
def _(answer: Segments, *, top: int | None = None) -> Sequence[tuple[str, float]]:
    best: dict[str, float] = {}
    for span in answer.spans:
        best.setdefault(span.label or UNNAMED, span.score)
    return list(best.items())[:top]


@as_json.register
def _(answer: Segments, *, top: int | None = None) -> dict[str, Any]:
    return {"segments": [_span_json(span) for span in answer.spans]}  # all of them; `keep` shortens


@spans_in.register
def _(answer: Segments, start_s: float, end_s: float) -> tuple[Span, ...]:
    return answer.spans


@keep.register
def _(answer: Segments, *, top: int | None = None, min_score: float | None = 0.0, max_overlap: float = 1.0) -> Segments:
    if min_score is None:
        min_score = max((span.score for span in answer.spans), default=0.0) / 3
    kept: list[Span] = []
    for span in answer.spans:
        if len(kept) == top or span.score < min_score:
            break
        if max_overlap >= 1 or all(_overlap(span, better) <= max_overlap for better in kept):
            kept.append(span)
    return dataclasses.replace(answer, spans=tuple(kept))


@moved.register
def _(answer: Segments, by_s: float) -> Segments:
    return Segments(_later(answer.spans, by_s), _later(answer.proposals, by_s))


@ranked.register
def _(answer: Caption, *, top: int | None = None) -> Sequence[tuple[str, float]]:
    return [(answer.text, answer.score)]


@as_json.register
def _(answer: Caption, *, top: int | None = None) -> dict[str, Any]:
    return {"caption": {"text": answer.text, "score": round(answer.score, 6)}}


@spans_in.register
def _(answer: Caption, start_s: float, end_s: float) -> tuple[Span, ...]:
    return (Span(start_s, end_s, answer.text, answer.score),)


@moved.register
def _(answer: Caption, by_s: float) -> Caption:
    return dataclasses.replace(answer, times_s=tuple(time_s + by_s for time_s in answer.times_s))


def _later(spans: Iterable[Span], by_s: float) -> tuple[Span, ...]:
    return tuple(dataclasses.replace(span, start_s=span.start_s + by_s, end_s=span.end_s + by_s) for span in spans)


def _overlap(a: Span, b: Span) -> float:
    """Temporal intersection over union."""
    shared_s = max(min(a.end_s, b.end_s) - max(a.start_s, b.start_s), 0.0)
    return shared_s / (max(a.end_s, b.end_s) - min(a.start_s, b.start_s)) if shared_s else 0.0


def _span_json(span: Span) -> dict[str, Any]:
    times = {"start_s": round(span.start_s, 6), "end_s": round(span.end_s, 6)}
    return {**times, "label": span.label, "score": round(span.score, 6)}


def _spans_of(window: Window, *, top: int = 1) -> tuple[Span, ...]:
    """What a window's answer says happens when; an answer without times holds for the whole window."""
    spans = spans_in(window.answer, window.start_s, window.end_s)
    if spans is None:
        spans = tuple(Span(window.start_s, window.end_s, *best) for best in ranked(window.answer, top=top))
    return spans


def _joined(spans: Iterable[Span]) -> list[Span]:
    """Neighbours of the same label as one, with their mean score."""
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
    """Each moment with the window whose middle is nearest; the windows are of one length, in order."""
    middles = [(w.start_s + w.end_s) / 2 for w in windows]
    borders = [(a + b) / 2 for a, b in itertools.pairwise(middles)]
    cut = zip(windows, [0.0, *borders], [*borders, windows[-1].end_s], strict=True)
    return tuple(Window(max(w.start_s, start), min(w.end_s, end), w.answer) for w, start, end in cut)


def _strongest(windows: Sequence[Window]) -> tuple[Window, ...]:
    """Each moment with the window whose finder was surest."""
    return tuple(
        Window(start_s, end_s, max(active, key=lambda w: w.found.score if w.found else 0.0).answer)
        for start_s, end_s, active in _moments(windows)
    )


def _together(spans: Sequence[Span]) -> tuple[Window, ...]:
    """Each moment with the spans that hold then, best first."""
    return tuple(Window(start_s, end_s, Segments(_best_first(active))) for start_s, end_s, active in _moments(spans))


def _best_first(spans: Iterable[Span]) -> tuple[Span, ...]:
    return tuple(sorted(spans, key=lambda span: -span.score))


def _moments(stretches: Sequence[Any]) -> Iterator[tuple[float, float, list[Any]]]:
    """(start_s, end_s, the stretches that hold) between one start or end and the next; where none does is left out."""
    edges = sorted({edge for stretch in stretches for edge in (stretch.start_s, stretch.end_s)})
    coming = sorted(stretches, key=lambda stretch: stretch.start_s)[::-1]
    active: list[Any] = []
    for start_s, end_s in itertools.pairwise(edges):
        while coming and coming[-1].start_s <= start_s:
            active.append(coming.pop())
        active = [stretch for stretch in active if stretch.end_s > start_s]
        if active:
            yield start_s, end_s, active


def _as_labels(answer: Any) -> Labels:
    if not isinstance(answer, Labels):
        raise DataError(f"prediction: holds {type(answer).__name__}, not labels; read its `answer`")
    return answer
