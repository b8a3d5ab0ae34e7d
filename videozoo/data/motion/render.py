"""The pixels and the sound of a script."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from videozoo.data.motion.script import CLASSES, Event, Script, State
from videozoo.data.motion.shapes import COLOURS, SHAPES

__all__ = ["render", "sound"]

_TONE_S = 0.2
_LOWEST_HZ = 330.0


def render(script: Script) -> Iterator[np.ndarray]:
    """Draws the frames, uint8 [h w 3] RGB: textured shapes with soft edges over a textured, still background.

    Each frame is a sharp picture of one moment, since motion blur would reveal the axis of a motion.
    """
    background = _background(np.random.default_rng(script.seed), script.size_px)
    last_event, texture = None, _Texture(np.random.default_rng(0))
    for event, state in script.frames():
        if event is not last_event:
            last_event, texture = event, _Texture(np.random.default_rng(event.texture_seed))
        frame = background.copy()
        _draw(frame, event, state, texture)
        yield (frame + 0.5).astype(np.uint8)


def sound(script: Script, *, rate_hz: int = 16_000) -> np.ndarray:
    """Returns mono sound, float32 [samples] in -1..1: a short tone at the start of each event, its pitch by class."""
    samples = np.zeros(round(script.duration_s * rate_hz), np.float32)
    for event in script.events:
        if event.motion in CLASSES:
            first = round(event.start_s * rate_hz)
            length = min(round(_TONE_S * rate_hz), len(samples) - first)
            pitch_hz = _LOWEST_HZ * 2 ** (CLASSES.index(event.motion) / 4)
            tone = np.sin(2 * np.pi * pitch_hz / rate_hz * np.arange(length))
            samples[first : first + length] = 0.4 * np.hanning(length) * tone
    return samples


class _Texture:
    """A smooth pattern of values in -1..1 over the plane: a few random plane waves."""

    def __init__(self, rng: np.random.Generator, *, waves: int = 3, cycles: tuple[float, float] = (0.3, 1.1)):
        angle = rng.uniform(0, 2 * np.pi, waves)
        turns = 2 * np.pi * rng.uniform(*cycles, waves)
        self._across = (turns * np.cos(angle)).astype(np.float32)
        self._down = (turns * np.sin(angle)).astype(np.float32)
        self._phase = rng.uniform(0, 2 * np.pi, waves).astype(np.float32)

    def __call__(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        waves = np.sin(u[..., None] * self._across + v[..., None] * self._down + self._phase)
        pattern: np.ndarray = waves.mean(axis=-1)
        return pattern


def _background(rng: np.random.Generator, size_px: int) -> np.ndarray:
    """Draws float32 [h w 3] in 0..255, nearly grey, so that the shapes' colours stand out."""
    place = (np.arange(size_px, dtype=np.float32) + 0.5) / size_px
    u, v = place[None, :], place[:, None]
    light = _Texture(rng, waves=4, cycles=(0.5, 3))(u, v)
    tint = np.stack([_Texture(rng, cycles=(0.5, 2))(u, v) for _ in range(3)], axis=-1)
    picture = rng.uniform(60, 120) + 30 * light[..., None] + 15 * tint
    clipped: np.ndarray = picture.clip(0, 255).astype(np.float32)
    return clipped


def _draw(frame: np.ndarray, event: Event, state: State, texture: _Texture) -> None:
    """Puts the event's shape into `frame`, touching only the square around it."""
    size_px = len(frame)
    x_px, y_px, radius_px = state.x * size_px, state.y * size_px, state.radius * size_px
    left, top = max(int(x_px - radius_px) - 1, 0), max(int(y_px - radius_px) - 1, 0)
    window = frame[top : int(y_px + radius_px) + 2, left : int(x_px + radius_px) + 2]
    height, width = window.shape[:2]
    across = (np.arange(width, dtype=np.float32)[None, :] + (left + 0.5 - x_px)) / radius_px
    down = (np.arange(height, dtype=np.float32)[:, None] + (top + 0.5 - y_px)) / radius_px
    angle = math.radians(state.angle_deg)
    u = across * math.cos(angle) + down * math.sin(angle)
    v = down * math.cos(angle) - across * math.sin(angle)
    cover = np.clip(0.5 - SHAPES[event.shape](u, v) * radius_px, 0, 1)[..., None]
    # white at its head, black at its tail for every shape, so that a small network can see it turn
    light = (0.15 * texture(u, v) - 0.85 * v)[..., None]
    colour = np.array(COLOURS[event.colour], np.float32)
    paint = np.clip(colour + np.where(light > 0, light * (255 - colour), light * colour), 0, 255)
    window += cover * (paint - window)
