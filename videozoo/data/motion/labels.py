"""The labels of a script for each task; all are true by construction, none is measured from pixels."""

from __future__ import annotations

import numpy as np

from videozoo.contracts.video import Span
from videozoo.data.motion.script import CLASSES, Event, Script
from videozoo.data.motion.shapes import COLOURS, SHAPES, outline

__all__ = ["TAGS", "boxes", "caption", "segments", "tags"]

TAGS = (*CLASSES, *SHAPES, *COLOURS)


def segments(script: Script) -> list[Span]:
    """Returns the events without the pauses, in order, with their class as the label."""
    return [Span(e.start_s, e.end_s, e.motion) for e in script.events if e.motion in CLASSES]


def tags(script: Script) -> tuple[str, ...]:
    """Returns the motions, shapes and colours of the events (not of pauses), each once, in the order of `TAGS`."""
    words = {word for e in script.events if e.motion in CLASSES for word in (e.motion, e.shape, e.colour)}
    return tuple(tag for tag in TAGS if tag in words)


def caption(script: Script, *events: Event) -> str:
    """Describes all events or the given ones: `a red ring grows, then an orange square moves left`."""
    sentences = [
        f"{'an' if e.colour[0] in 'aeiou' else 'a'} {e.colour} {e.shape} {e.motion}"
        for e in events or script.events
        if e.motion in CLASSES
    ]
    return ", then ".join(sentences) or "nothing moves"


def boxes(script: Script) -> np.ndarray:
    """Returns the tight box of the shape on each frame: float32 [num_frames 4], left top right bottom in pixels."""
    found = np.empty((script.num_frames, 4), np.float32)
    for box, (event, state) in zip(found, script.frames(), strict=True):
        angle = np.radians(state.angle_deg)
        turn = np.array([(np.cos(angle), np.sin(angle)), (-np.sin(angle), np.cos(angle))])
        points = (outline(event.shape) @ turn) * state.radius + (state.x, state.y)
        box[:2], box[2:] = points.min(axis=0), points.max(axis=0)
    return found * script.size_px
