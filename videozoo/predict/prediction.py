"""What a predictor answers: the task's typed value for the whole video, and one for each window.

Everything that depends on the kind of answer is in the two functions at the end, `ranked` and `as_json`. A
task with a new kind of value registers it there (`ranked.register`, `as_json.register`), or keeps to values
that are known.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Sequence
from typing import Any

from videozoo.errors import DataError
from videozoo.types import Labels, VideoInfo

__all__ = ["Prediction", "Window", "as_json", "ranked"]


@dataclasses.dataclass(frozen=True)
class Window:
    """A stretch of a video with the answer for it; times are seconds from the video's start."""

    start_s: float
    end_s: float
    answer: Any

    def __post_init__(self) -> None:
        if not 0 <= self.start_s < self.end_s:
            raise DataError(f"window: needs 0 <= start_s < end_s, got {self.start_s=} {self.end_s=}")

    @property
    def labels(self) -> Labels:
        """The answer of a task whose answers are labels."""
        return _as_labels(self.answer)

    def to_dict(self, *, top: int | None = None) -> dict[str, Any]:
        """Plain values, ready for JSON; `top` keeps the k best labels."""
        times = {"start_s": round(self.start_s, 6), "end_s": round(self.end_s, 6)}
        return {**times, **as_json(self.answer, top=top)}


@dataclasses.dataclass(frozen=True)
class Prediction:
    """The answer for one video.

    `answer` is the task's own typed value over the whole video (`Labels` of a classifier), `windows` the
    same over time where it was asked for, in the order of their start.
    """

    id: str
    answer: Any
    info: VideoInfo
    windows: tuple[Window, ...] = ()

    @property
    def labels(self) -> Labels:
        """The answer of a task whose answers are labels."""
        return _as_labels(self.answer)

    @property
    def timeline(self) -> tuple[Window, ...]:
        """The windows cut so that they do not overlap: each speaks for the times nearest to its middle.

        Without windows it is the answer of the whole video, over the whole video.
        """
        if not self.windows:
            return (Window(0.0, max(self.info.duration_s, 1e-3), self.answer),)
        middles = [(w.start_s + w.end_s) / 2 for w in self.windows]
        borders = [(a + b) / 2 for a, b in itertools.pairwise(middles)]
        cut = zip(self.windows, [0.0, *borders], [*borders, self.windows[-1].end_s], strict=True)
        return tuple(Window(max(w.start_s, start), min(w.end_s, end), w.answer) for w, start, end in cut)

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


@ranked.register
def _(answer: Labels, *, top: int | None = None) -> Sequence[tuple[str, float]]:
    return answer.top(len(answer.names) if top is None else top)


@as_json.register
def _(answer: Labels, *, top: int | None = None) -> dict[str, Any]:
    return {"labels": [{"name": name, "score": round(score, 6)} for name, score in ranked(answer, top=top)]}


def _as_labels(answer: Any) -> Labels:
    if not isinstance(answer, Labels):
        raise DataError(f"prediction: holds {type(answer).__name__}, not labels; read its `answer`")
    return answer
