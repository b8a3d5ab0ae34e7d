"""The frames between the thread that receives them and the one that answers."""

from __future__ import annotations

import threading
from collections import deque

from videozoo.errors import VideoZooError
from videozoo.stream.source import Frame

__all__ = ["FrameQueue"]


class FrameQueue:
    """A bounded queue between two threads.

    Args:
        size: the largest number of frames that wait.
        drops: whether a full queue loses its oldest frame; otherwise the thread that adds frames waits.

    Attributes:
        dropped_frames: the number of lost frames.
    """

    def __init__(self, size: int, *, drops: bool):
        self._size, self._drops = size, drops
        self._frames: deque[Frame] = deque()
        self._changed = threading.Condition()
        self._is_closed = False
        self._error: VideoZooError | None = None
        self.dropped_frames = 0

    def put(self, frame: Frame) -> None:
        """Adds a frame; a closed queue takes none."""
        with self._changed:
            while len(self._frames) >= self._size and not self._drops and not self._is_closed:
                self._changed.wait()
            if self._is_closed:
                return
            if len(self._frames) >= self._size:
                self._frames.popleft()
                self.dropped_frames += 1
            self._frames.append(frame)
            self._changed.notify_all()

    def get(self, *, timeout_s: float | None = None) -> Frame | None:
        """Returns the oldest frame; None at the end, or if none comes in time (then `is_done` is False).

        Raises:
            VideoZooError: the error that the queue was closed with, after its last frame.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._frames or self._is_closed, timeout_s)
            if self._frames:
                frame = self._frames.popleft()
                self._changed.notify_all()
                return frame
            if self._error is not None:
                raise self._error
            return None

    @property
    def is_done(self) -> bool:
        """Whether no frame waits and none will come."""
        with self._changed:
            return self._is_closed and not self._frames

    def close(self, error: VideoZooError | None = None) -> None:
        """Ends the queue after the frames that wait; with an error, `get` then raises it."""
        with self._changed:
            self._is_closed = True
            self._error = self._error or error
            self._changed.notify_all()
