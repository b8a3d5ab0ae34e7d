"""Where the time goes: seconds by what was done in them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import torch

__all__ = ["Stopwatch"]


class Stopwatch:
    """Adds up the seconds of each kind of work; kinds do not overlap.

    Args:
        device: waited for at the end of each piece of work, which then is charged with what it began there; None does
            not wait, and what a GPU does is charged to whoever asks for its result.
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
        """The seconds so far; it starts anew."""
        taken, self.seconds = self.seconds, {}
        return taken
