"""Drawing shared by rendered videos and timelines: colours, clock times, the names that get a colour."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from videozoo.predict.prediction import Window

__all__ = ["GREY", "PALETTE", "RGB", "clock", "colours", "leaders"]

RGB = tuple[int, int, int]

# distinguishable with colour blindness (Okabe and Ito, 2008), slightly softened, in order of contrast
PALETTE: tuple[RGB, ...] = (
    (0, 114, 178),
    (230, 130, 0),
    (0, 158, 115),
    (204, 90, 160),
    (86, 180, 233),
    (213, 70, 30),
    (200, 175, 30),
    (120, 94, 160),
)
GREY: RGB = (150, 155, 165)


def clock(time_s: float, *, step_s: float = 1.0) -> str:
    """Formats a time as on a clock or an axis: 7 s, 7.5 s, 1:05, 2:03:10."""
    if time_s < 60 and step_s < 60:
        return f"{time_s:.1f} s" if step_s < 1 else f"{time_s:.0f} s"
    minutes, seconds = divmod(round(time_s), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def leaders(windows: Sequence[Window], top: int) -> list[str]:
    """Returns the `top` names that are best for the longest time, then those with the highest score."""
    won: dict[str, float] = {}
    best: dict[str, float] = {}
    for window in windows:
        pairs = window.answer.ranked()
        for place, (name, score) in enumerate(pairs):
            won[name] = won.get(name, 0.0) + (window.end_s - window.start_s if place == 0 else 0.0)
            best[name] = max(best.get(name, 0.0), score)
    return sorted(best, key=lambda name: (-won[name], -best[name]))[:top]


def colours(names: Iterable[str]) -> dict[str, RGB]:
    """Returns a colour for each name, in order; the colours repeat at the palette's end."""
    return {name: PALETTE[i % len(PALETTE)] for i, name in enumerate(names)}
