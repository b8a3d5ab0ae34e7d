"""Measures the seconds spent on each kind of work."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import torch

__all__ = ["Stopwatch"]


class Stopwatch:
    """Sums the seconds of each kind of work; kinds do not overlap.

    Args:
        device: device to synchronize with at the end of each piece of work, so that the work it started is included.
            None does not synchronize; GPU work then counts where its result is used.
    """

    def __init__(self, *, device: torch.device | None = None):
        self.seconds: dict[str, float] = {}
        self._waits = device is not None and device.type == "cuda"

    @contextlib.contextmanager
    def __call__(self, kind: str) -> Iterator[None]:
        began_s = time.perf_counter()
        try:
            yield
        finally:
            if self._waits:
                torch.cuda.synchronize()
            self.seconds[kind] = self.seconds.get(kind, 0.0) + time.perf_counter() - began_s

    def take(self) -> dict[str, float]:
        """Returns the seconds so far, and resets them."""
        taken, self.seconds = self.seconds, {}
        return taken
