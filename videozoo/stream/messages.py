"""What a stream reports: typed messages, each with its form as a line of JSON."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

from videozoo.contracts.video import Span

__all__ = ["Answered", "Began", "ClipWritten", "EventBegan", "EventEnded", "Message", "Reconnected", "Summary"]


class Message(abc.ABC):
    """One message.

    Attributes:
        kind: the name of its kind in JSON.
    """

    kind: ClassVar[str]

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values, ready for JSON; times are rounded to microseconds."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}  # type: ignore[arg-type]
        return {"kind": self.kind, **{key: round(v, 6) if isinstance(v, float) else v for key, v in values.items()}}


@dataclasses.dataclass(frozen=True)
class Began(Message):
    """The stream is open and the network ready; `mode` is "frames" or "windows"."""

    kind = "begin"
    source: str
    run: str
    mode: str
    fps: float
    utc: str


@dataclasses.dataclass(frozen=True)
class Answered(Message):
    """One answer.

    Attributes:
        time_s: the time of the latest frame that it depends on.
        label, score: its best label; the label is None if the score is below `--none-below`.
        latency_s: from the arrival of that frame to the answer.
        dropped_frames: the number of frames lost so far.
        answer: the answer itself, in the form of `predict --json`.
        window: (start_s, end_s) of the stretch that the network read, if it answers in windows.
    """

    kind = "answer"
    time_s: float
    label: str | None
    score: float | None
    latency_s: float
    dropped_frames: int
    answer: Mapping[str, Any]
    window: tuple[float, float] | None = None

    def to_dict(self) -> dict[str, Any]:
        values = super().to_dict()
        answer, window = values.pop("answer"), values.pop("window")
        times = {} if window is None else {"start_s": round(window[0], 6), "end_s": round(window[1], 6)}
        return {**values, **times, **answer}


@dataclasses.dataclass(frozen=True)
class EventBegan(Message):
    """A label's score reached `--on`."""

    kind = "event_begin"
    label: str
    start_s: float
    score: float


@dataclasses.dataclass(frozen=True)
class EventEnded(Message):
    """A label's score stayed below `--off`, or the stream ended; the score is the highest of the event."""

    kind = "event"
    label: str
    start_s: float
    end_s: float
    score: float

    @classmethod
    def of(cls, span: Span) -> EventEnded:
        return cls(span.label, span.start_s, span.end_s, span.score)


@dataclasses.dataclass(frozen=True)
class ClipWritten(Message):
    """The clip of an event is complete, or `problem` says why there is none."""

    kind = "clip"
    path: str
    label: str
    start_s: float
    end_s: float
    num_frames: int
    lost_frames: int
    problem: str | None


@dataclasses.dataclass(frozen=True)
class Reconnected(Message):
    """The source was lost and is back; frames of `gap_s` are missing before `time_s`, and the network begins anew."""

    kind = "reconnect"
    time_s: float
    gap_s: float


@dataclasses.dataclass(frozen=True)
class Summary(Message):
    """The end of a stream.

    Attributes:
        num_frames: frames that arrived.
        num_clips, num_failed_clips: clips of events, and those that could not be written.
        dropped_frames: frames lost because the network was too slow.
        damaged_frames: frames that the decoder skipped or guessed.
        duration_s: the time of the latest frame.
        latency_median_s, latency_p95_s: of the latest 100,000 answers; None without answers.
    """

    kind = "summary"
    num_frames: int
    num_answers: int
    dropped_frames: int
    damaged_frames: int
    num_events: int
    num_clips: int
    num_failed_clips: int
    num_reconnects: int
    duration_s: float
    latency_median_s: float | None
    latency_p95_s: float | None
