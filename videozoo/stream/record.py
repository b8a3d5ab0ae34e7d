"""Cuts the events of a stream out as clips, while it runs."""

from __future__ import annotations

import dataclasses
import threading
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from videozoo.contracts.video import VideoInfo
from videozoo.errors import ConfigError, VideoZooError
from videozoo.io.cut import at_ticks, even, steady_fps
from videozoo.io.encode import write_video
from videozoo.predict.outputs import check_writable, slug
from videozoo.predict.windows import BYTES_PER_PIXEL
from videozoo.stream.events import OpenEvent
from videozoo.stream.source import Frame

__all__ = ["Clip", "Margins", "Recorder"]

MOST_BYTES = 1 << 29  # of decoded frames in memory


@dataclasses.dataclass(frozen=True)
class Margins:
    """How much of a stream a clip shows.

    Attributes:
        before_s, after_s: seconds before and after the event.
        longest_s: the clip of a longer event ends here.
    """

    before_s: float = 2.0
    after_s: float = 2.0
    longest_s: float = 300.0

    def __post_init__(self) -> None:
        for name, value in (("--before-s", self.before_s), ("--after-s", self.after_s)):
            if not 0 <= value < float("inf"):
                raise ConfigError(f"{name}: got {value:g}; needs seconds, 0 or more")
        if not 0 < self.longest_s < float("inf"):
            raise ConfigError(f"--longest-s: got {self.longest_s:g}; needs seconds above 0")


@dataclasses.dataclass
class Clip:
    """The clip of one event.

    Attributes:
        path: the file; it exists once it is complete.
        start_s: its start, in the time of the stream.
        taken_s: the time of the latest frame that the encoder took; frames after it are wanted.
        num_frames: frames of the stream in it.
        lost_frames: frames that are missing because encoding was too slow.
        problem: why it could not be written.
    """

    event: OpenEvent
    path: Path
    start_s: float
    margins: Margins
    taken_s: float
    num_frames: int = 0
    lost_frames: int = 0
    is_ended: bool = False
    problem: str | None = None

    @property
    def until_s(self) -> float:
        """The end of the clip as far as it is known."""
        return min(self.event.end_s + self.margins.after_s, self.start_s + self.margins.longest_s)

    @property
    def is_final(self) -> bool:
        """Whether `until_s` does not change any more."""
        return self.is_ended or self.event.end_s + self.margins.after_s >= self.start_s + self.margins.longest_s


class Recorder:
    """Keeps the latest frames of a stream, and writes the clips of its events in threads of their own.

    One thread adds frames, another one reports events.

    Args:
        info: the properties of the stream.
        waits: when the memory for frames is full, make the source wait for the encoder, instead of losing frames.

    Attributes:
        held_frames: the number of frames in memory.

    Raises:
        ConfigError: the folder cannot be written.
    """

    def __init__(self, folder: Path, info: VideoInfo, margins: Margins, *, waits: bool):
        check_writable(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._info, self._margins, self._waits = folder, info, margins, waits
        frame_bytes = max(info.width_px * info.height_px * BYTES_PER_PIXEL, 1.0)
        self._half_frame_s = 0.5 / info.fps
        self._most_frames = max(int(MOST_BYTES / frame_bytes), 1)
        self._frames: deque[Frame] = deque()
        self._needed_s = 0.0  # frames before it belong to no later event
        self._latest_s = self._seen_s = -1.0
        self._is_over = False
        self._clips: dict[str, Clip] = {}  # of events that have not ended, by label
        self._writing: list[tuple[Clip, threading.Thread]] = []
        self._changed = threading.Condition()

    @property
    def held_frames(self) -> int:
        return len(self._frames)

    def keep(self, frame: Frame) -> None:
        """Adds the next frame of the stream."""
        with self._changed:
            if self._waits:
                self._changed.wait_for(self._has_room)
            self._drop()
            if len(self._frames) >= self._most_frames:
                for clip in self._needing_oldest():
                    clip.lost_frames += 1
                self._frames.popleft()
            self._frames.append(frame)
            self._latest_s = frame.time_s
            self._changed.notify_all()

    def answered(self, until_s: float) -> None:
        """Notes that later events begin at `until_s` or later, and that events may have grown."""
        with self._changed:
            self._needed_s = until_s - self._margins.before_s
            self._changed.notify_all()

    def seen(self, time_s: float) -> None:
        """Notes that all answers up to the frame at `time_s` are known."""
        with self._changed:
            self._seen_s = time_s
            self._changed.notify_all()

    def begin(self, event: OpenEvent) -> None:
        """Begins the clip of an event."""
        with self._changed:
            start_s = max(event.start_s - self._margins.before_s, 0.0)
            clip = Clip(event, self._path(event), start_s, self._margins, taken_s=start_s - self._half_frame_s)
            self._clips[event.label] = clip
            thread = threading.Thread(target=self._write, args=(clip,), daemon=True)
            self._writing.append((clip, thread))
            thread.start()

    def end(self, event: OpenEvent) -> None:
        """Ends the clip of an event, some seconds later."""
        with self._changed:
            self._clips.pop(event.label).is_ended = True
            self._changed.notify_all()

    def finished(self) -> list[Clip]:
        """Returns the clips that were completed since the last call."""
        with self._changed:
            done = [clip for clip, thread in self._writing if not thread.is_alive()]
            self._writing = [item for item in self._writing if item[1].is_alive()]
            return done

    def close(self) -> list[Clip]:
        """Completes all clips with the frames that have come; returns them."""
        with self._changed:
            self._is_over = True
            self._changed.notify_all()
        for _, thread in self._writing:
            thread.join()
        return self.finished()

    def _path(self, event: OpenEvent) -> Path:
        stem = f"{event.start_s:09.2f}s-{slug(event.label)}"
        taken = {clip.path for clip, _ in self._writing}
        path, number = self._folder / f"{stem}.mp4", 1
        while path in taken or path.exists():
            number += 1
            path = self._folder / f"{stem}-{number}.mp4"
        return path

    def _needing_oldest(self) -> list[Clip]:
        """Returns the clips that have not taken the oldest frame yet."""
        if not self._frames:
            return []
        oldest_s = self._frames[0].time_s
        return [clip for clip, thread in self._writing if thread.is_alive() and self._is_wanted(clip, oldest_s)]

    def _is_wanted(self, clip: Clip, time_s: float) -> bool:
        return clip.taken_s < time_s and (not clip.is_final or time_s < clip.until_s - self._half_frame_s)

    def _has_room(self) -> bool:
        """Whether a frame can be added, or waiting for room is in vain."""
        self._drop()
        if self._is_over or len(self._frames) < self._most_frames:
            return True
        is_moving = any(thread.is_alive() and self._next(clip) is not None for clip, thread in self._writing)
        return self._seen_s >= self._latest_s and not is_moving

    def _drop(self) -> None:
        while self._frames and self._frames[0].time_s < self._needed_s and not self._needing_oldest():
            self._frames.popleft()

    def _write(self, clip: Clip) -> None:
        fps = steady_fps(self._info.fps)
        try:
            frames = self._taken(clip)
            first = next(frames, None)
            if first is None:
                clip.problem = f"{clip.path}: is not written, its frames are not in memory any more; shorten --before-s"
                return
            write_video(clip.path, self._pictures(first, frames, fps), fps=fps, preset="veryfast")
        except VideoZooError as error:
            clip.problem = str(error)
        finally:
            with self._changed:
                clip.taken_s = float("inf")
                self._changed.notify_all()

    @staticmethod
    def _pictures(first: Frame, rest: Iterator[Frame], fps: float) -> Iterator[np.ndarray]:
        def timed() -> Iterator[tuple[float, Frame]]:
            yield first.time_s, first
            yield from ((frame.time_s, frame) for frame in rest)

        return (even(frame.picture()) for _, frame in at_ticks(timed(), fps=fps, first_s=first.time_s))

    def _taken(self, clip: Clip) -> Iterator[Frame]:
        """Yields the frames of a clip as they come, until its end is known and reached."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._next(clip) is not None or self._is_complete(clip))
                frame = self._next(clip)
                if frame is None:
                    return
                clip.taken_s = frame.time_s
                clip.num_frames += 1
                self._changed.notify_all()
            yield frame

    def _next(self, clip: Clip) -> Frame | None:
        until_s = clip.until_s - self._half_frame_s
        return next((frame for frame in self._frames if clip.taken_s < frame.time_s < until_s), None)

    def _is_complete(self, clip: Clip) -> bool:
        return self._is_over or (clip.is_final and self._latest_s >= clip.until_s - self._half_frame_s)
