"""The shapes and colours of the motion world; no shape looks the same at two angles."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

__all__ = ["COLOURS", "SHAPES", "outline"]

COLOURS = {
    "red": (220, 50, 45),
    "orange": (240, 140, 30),
    "yellow": (235, 215, 60),
    "green": (60, 175, 75),
    "cyan": (60, 200, 210),
    "blue": (55, 95, 225),
    "purple": (155, 65, 200),
    "pink": (245, 130, 190),
}

# A shape gives the distance of points (u, v) from its edge, negative inside (v runs down, as in pictures).
# It lies in the disc of radius 1, so that it fits into the same circle at every angle. Distances far from
# the edge need not be exact: only the sign and the slope at the edge are used.


def _box(u: np.ndarray, v: np.ndarray, *, left: float, top: float, right: float, bottom: float) -> np.ndarray:
    across = np.abs(u - (left + right) / 2) - (right - left) / 2
    down = np.abs(v - (top + bottom) / 2) - (bottom - top) / 2
    return np.maximum(across, down)


def _square(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    whole = _box(u, v, left=-0.7, top=-0.7, right=0.7, bottom=0.7)
    distance: np.ndarray = np.maximum(whole, -_box(u, v, left=-0.22, top=-1.0, right=0.22, bottom=-0.2))
    return distance


def _disc(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    notch = np.abs(u) * 0.9 + (v + 0.15) * 0.44  # a wedge that opens upwards
    distance: np.ndarray = np.maximum(np.hypot(u, v) - 1, -notch)
    return distance


def _ring(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    whole = np.abs(np.hypot(u, v) - 0.74) - 0.26
    distance: np.ndarray = np.maximum(whole, -_box(u, v, left=-0.28, top=-1.1, right=0.28, bottom=0.0))
    return distance


def _triangle(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    side = np.abs(u) * 0.911 - (v + 1) * 0.413  # from (0, -1) to (0.75, 0.65)
    distance: np.ndarray = np.maximum(side, v - 0.65)
    return distance


def _cross(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    post = _box(u, v, left=-0.25, top=-0.95, right=0.25, bottom=0.95)
    distance: np.ndarray = np.minimum(post, _box(u, v, left=-0.8, top=-0.55, right=0.8, bottom=-0.05))
    return distance


def _crescent(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    distance: np.ndarray = np.maximum(np.hypot(u, v) - 1, 0.75 - np.hypot(u, v + 0.5))
    return distance


SHAPES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "square": _square,
    "disc": _disc,
    "ring": _ring,
    "triangle": _triangle,
    "cross": _cross,
    "crescent": _crescent,
}


@functools.lru_cache(maxsize=len(SHAPES))
def outline(shape: str) -> np.ndarray:
    """Returns the outermost points [n 2] of the upright shape in all directions; they bound it at any angle."""
    axis = np.linspace(-1, 1, 801)
    inside = SHAPES[shape](axis[None, :], axis[:, None]) <= 0
    rows = np.flatnonzero(inside.any(axis=1))
    first, last = inside[rows].argmax(axis=1), len(axis) - 1 - inside[rows, ::-1].argmax(axis=1)
    ends = np.stack([axis[np.concatenate([first, last])], axis[np.concatenate([rows, rows])]], axis=1)
    angles = np.linspace(0, 2 * np.pi, 180, endpoint=False)
    outermost = (ends @ np.stack([np.cos(angles), np.sin(angles)])).argmax(axis=0)
    corners: np.ndarray = ends[np.unique(outermost)]
    return corners
