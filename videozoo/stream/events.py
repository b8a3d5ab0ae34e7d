"""From scores over time to events: a label begins above one score and ends below a lower one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from videozoo.contracts.video import Span
from videozoo.errors import ConfigError

__all__ = ["Hysteresis", "OpenEvent", "Tracker"]


@dataclasses.dataclass(frozen=True)
class Hysteresis:
    """When events begin and end.

    Attributes:
        on: score from which a label's event begins.
        off: score below which it ends.
        hold_s: seconds that the score must stay below `off`; shorter gaps belong to the event.
    """

    on: float = 0.6
    off: float = 0.4
    hold_s: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.off <= self.on <= 1:
            raise ConfigError(f"--on, --off: got {self.on:g} and {self.off:g}; needs 0 <= off <= on <= 1")
        if not 0 <= self.hold_s < float("inf"):
            raise ConfigError(f"--hold-s: got {self.hold_s:g}; needs seconds, 0 or more")


@dataclasses.dataclass
class OpenEvent:
    """An event that has begun; `end_s` is the end of its latest answer of `off` or more, `best` its highest score."""

    label: str
    start_s: float
    end_s: float
    best: float

    def span(self) -> Span:
        """Returns the event as it is now."""
        return Span(self.start_s, self.end_s, self.label, self.best)


class Tracker:
    """The events of each label.

    Attributes:
        active: the events that have begun and not ended, by label.
    """

    def __init__(self, hysteresis: Hysteresis):
        self._when = hysteresis
        self.active: dict[str, OpenEvent] = {}

    def add(self, scores: Mapping[str, float], start_s: float, end_s: float) -> tuple[list[OpenEvent], list[OpenEvent]]:
        """Returns the events that begin and those that end, after the scores of one more stretch of time."""
        begun, ended = [], []
        for label, score in scores.items():
            event = self.active.get(label)
            if event is None and score >= self._when.on:
                begun.append(OpenEvent(label, start_s, end_s, score))
            elif event is not None and score >= self._when.off:
                event.end_s, event.best = end_s, max(event.best, score)
        for event in self.active.values():
            if scores.get(event.label, 0.0) < self._when.off and end_s - event.end_s >= self._when.hold_s:
                ended.append(event)
        for event in ended:
            del self.active[event.label]
        self.active |= {event.label: event for event in begun}
        return begun, ended

    def finish(self) -> list[OpenEvent]:
        """Returns the events that the end of the stream ends."""
        ended = list(self.active.values())
        self.active.clear()
        return ended
