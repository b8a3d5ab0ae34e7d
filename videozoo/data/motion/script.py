"""The script of a synthetic video, without pixels: events drawn at random from a seed.

A single frame does not reveal the motion. Every event draws a path for each of the four things that can
change: across, down, size and angle. Its motion runs one of the paths, forwards or backwards; the other three
are frozen at a moment drawn uniformly. So a random frame shows the same distribution of position, size and
angle for every motion (also when nothing moves), and forwards and backwards show the same set of frames.
Shape, colour and textures are also independent of the motion.

Mirroring a clip turns `moves left` into `moves right` and the clock backwards: a recipe for this world must
not flip.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence

import numpy as np

from videozoo.data.motion.shapes import COLOURS, SHAPES
from videozoo.errors import DataError
from videozoo.structured import checked, parse_json

__all__ = ["CLASSES", "PAUSE", "Event", "Script", "State", "clip_script", "story_script", "untrimmed_script"]

# motion -> (the path it runs, 1 forwards or -1 backwards); x runs right, y down, angles clockwise
_RUNS = {
    "moves left": (0, -1),
    "moves right": (0, 1),
    "moves up": (1, -1),
    "moves down": (1, 1),
    "turns clockwise": (3, 1),
    "turns counter-clockwise": (3, -1),
    "grows": (2, 1),
    "shrinks": (2, -1),
}
CLASSES = tuple(_RUNS)
PAUSE = "pauses"

# Rows: x, y, log radius, angle in degrees; lengths are in sides of the picture. A path lies inside its
# bounds and is as long as an event's move: long enough to be seen at 64 px, short compared with the
# bounds, so that even the set of a clip's frames says little about the path.
_RADII = (0.13, 0.26)
_BOUNDS = np.array([(0.26, 0.74), (0.26, 0.74), np.log(_RADII), (0.0, 360.0)])
_EXTENTS = np.array([(0.25, 0.36), (0.25, 0.36), np.log((1.45, 1.75)), (180.0, 300.0)])

_EVENT_S = (1.5, 4.0)
_PAUSE_S = (0.5, 2.0)


@dataclasses.dataclass(frozen=True)
class State:
    """The position of a shape: centre and bounding radius in sides of the picture, angle clockwise from upright."""

    x: float
    y: float
    radius: float
    angle_deg: float


@dataclasses.dataclass(frozen=True)
class Event:
    """One shape with one motion from `start_s` to `end_s`; it is on screen only for that time."""

    start_s: float
    end_s: float
    motion: str
    shape: str
    colour: str
    begin: State
    end: State
    texture_seed: int

    def __post_init__(self) -> None:
        if not 0 <= self.start_s < self.end_s:
            raise DataError(f"event: needs 0 <= start_s < end_s, got {self.start_s=} {self.end_s=}")
        for word, accepted in (
            (self.motion, (*CLASSES, PAUSE)),
            (self.shape, SHAPES),
            (self.colour, COLOURS),
        ):
            if word not in accepted:
                raise DataError(f"event: there is no '{word}'; accepted: {', '.join(accepted)}")

    def state_at(self, time_s: float) -> State:
        """Returns the state at a moment of the video; outside the event, that of its first or last moment."""
        part = min(max((time_s - self.start_s) / (self.end_s - self.start_s), 0.0), 1.0)

        def between(begin: float, end: float) -> float:
            return begin + part * (end - begin)

        return State(
            x=between(self.begin.x, self.end.x),
            y=between(self.begin.y, self.end.y),
            # at a constant ratio, so that growing is shrinking played backwards
            radius=math.exp(between(math.log(self.begin.radius), math.log(self.end.radius))),
            angle_deg=between(self.begin.angle_deg, self.end.angle_deg),
        )


@dataclasses.dataclass(frozen=True)
class Script:
    """A whole video: events without gaps between them. Pixels, sound and every label derive from it.

    `seed` draws the background. Frame i shows the moment (i + 0.5) / fps, the middle of its time on screen.
    """

    seed: int
    duration_s: float
    fps: int
    size_px: int
    events: tuple[Event, ...]

    def __post_init__(self) -> None:
        ends = [0.0, *(event.end_s for event in self.events)]
        if [*(event.start_s for event in self.events), self.duration_s] != ends:
            raise DataError(
                f"script: events end at {ends} s; each must start where the last ends, to {self.duration_s} s"
            )

    @property
    def num_frames(self) -> int:
        return round(self.duration_s * self.fps)

    def frames(self) -> list[tuple[Event, State]]:
        """Yields for each frame its event and the state of the shape."""
        shown = []
        events = iter(self.events)
        event = next(events)
        for index in range(self.num_frames):
            time_s = (index + 0.5) / self.fps
            while time_s >= event.end_s:
                event = next(events)
            shown.append((event, event.state_at(time_s)))
        return shown

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Script:
        """Reads a script that `to_json` wrote.

        Raises:
            DataError: the text is not a script.
        """
        advice = "needs a line of scripts.jsonl"
        return checked(parse_json(text, where="script", advice=advice), cls, where="script", advice=advice)


def clip_script(rng: np.random.Generator, *, motion: str, num_frames: int, fps: int, size_px: int) -> Script:
    """Draws one event that fills the clip."""
    return _script(rng, [(motion, num_frames)], fps=fps, size_px=size_px)


def story_script(
    rng: np.random.Generator, *, motions: Sequence[str], num_frames: int, fps: int, size_px: int
) -> Script:
    """Draws two events of different motions in sequence; the first takes two to three fifths of the time."""
    first = int(rng.integers(len(motions)))
    second = (first + 1 + int(rng.integers(len(motions) - 1))) % len(motions)
    num_first = round(num_frames * rng.uniform(0.4, 0.6))
    timeline = [(motions[first], num_first), (motions[second], num_frames - num_first)]
    return _script(rng, timeline, fps=fps, size_px=size_px)


def untrimmed_script(
    rng: np.random.Generator, *, motions: Sequence[str], num_frames: int, fps: int, size_px: int
) -> Script:
    """Draws events of several classes, with pauses between them.

    A pause also shows a shape, which holds still, so its presence does not reveal an event. Shapes also change in the
    middle of some pauses, so a cut does not either. In less than 7 s there may be no room for an event.
    """
    timeline: list[tuple[str, int]] = []
    left = num_frames
    while True:
        pause, event = (max(round(rng.uniform(*bounds) * fps), 1) for bounds in (_PAUSE_S, _EVENT_S))
        if left <= pause + event + _PAUSE_S[0] * fps:
            break
        timeline += _pause(rng, pause)
        timeline.append((_pick(rng, motions), event))
        left -= pause + event
    return _script(rng, timeline + _pause(rng, left), fps=fps, size_px=size_px)


def _pause(rng: np.random.Generator, num_frames: int) -> list[tuple[str, int]]:
    cut = int(rng.integers(num_frames))  # 0: one shape for the whole pause
    if rng.random() < 0.5 or not cut:
        return [(PAUSE, num_frames)]
    return [(PAUSE, cut), (PAUSE, num_frames - cut)]


def _script(rng: np.random.Generator, timeline: list[tuple[str, int]], *, fps: int, size_px: int) -> Script:
    """Builds the script of (motion, number of frames) pairs, each with its own shape."""
    events, start = [], 0
    for motion, num_frames in timeline:
        events.append(_event(rng, motion, start_s=start / fps, end_s=(start + num_frames) / fps))
        start += num_frames
    seed = int(rng.integers(2**31))
    return Script(seed=seed, duration_s=start / fps, fps=fps, size_px=size_px, events=tuple(events))


def _event(rng: np.random.Generator, motion: str, *, start_s: float, end_s: float) -> Event:
    extent = rng.uniform(*_EXTENTS.T)
    first = rng.uniform(_BOUNDS[:, 0], _BOUNDS[:, 1] - extent)
    first[3] = rng.uniform(0, 360)  # angles have no bounds
    begin = first + extent * rng.uniform(size=4)
    end = begin.copy()
    if motion != PAUSE:
        path, direction = _RUNS[motion]
        low, high = first[path], first[path] + extent[path]
        begin[path], end[path] = (low, high) if direction > 0 else (high, low)
    return Event(
        start_s=start_s,
        end_s=end_s,
        motion=motion,
        shape=_pick(rng, tuple(SHAPES)),
        colour=_pick(rng, tuple(COLOURS)),
        begin=_state(begin),
        end=_state(end),
        texture_seed=int(rng.integers(2**31)),
    )


def _pick(rng: np.random.Generator, words: Sequence[str]) -> str:
    return words[int(rng.integers(len(words)))]


def _state(row: np.ndarray) -> State:
    x, y, log_radius, angle_deg = row.tolist()
    return State(x=x, y=y, radius=math.exp(log_radius), angle_deg=angle_deg)
