"""A stream from its source to its messages: one thread receives the frames, the calling one answers."""

from __future__ import annotations

import dataclasses
import datetime
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from videozoo.contracts.network import Network
from videozoo.errors import ConfigError, VideoZooError
from videozoo.io.pyav import decoding
from videozoo.stream.answering import Answerer, Moment, Timing, answerer_for
from videozoo.stream.events import Hysteresis, OpenEvent, Tracker
from videozoo.stream.messages import (
    Answered,
    Began,
    ClipWritten,
    EventBegan,
    EventEnded,
    Message,
    Reconnected,
    Summary,
)
from videozoo.stream.queue import FrameQueue
from videozoo.stream.record import Clip, Margins, Recorder
from videozoo.stream.source import Frame, Source

__all__ = ["Settings", "StreamSession"]

KEPT_LATENCIES = 100_000
LOOK_S = 0.2  # how often a silent stream looks at its limit and its clips
END_S = 2.0  # to wait for the thread that receives frames, which may wait for the network

Sink = Callable[[Message], None]


@dataclasses.dataclass(frozen=True)
class Settings:
    """How a stream is answered.

    Attributes:
        none_below: score below which the answer is "nothing".
        top: labels of each answer.
        queue_frames: the largest number of frames that wait for the network.
        limit_s: seconds of the stream after which it ends; None: at the end of the source.
        record: a folder for the clips of events.
    """

    timing: Timing = dataclasses.field(default_factory=Timing)
    hysteresis: Hysteresis = dataclasses.field(default_factory=Hysteresis)
    none_below: float = 0.0
    top: int = 5
    queue_frames: int = 16
    limit_s: float | None = None
    record: Path | None = None
    margins: Margins = dataclasses.field(default_factory=Margins)

    def __post_init__(self) -> None:
        if not 0 <= self.none_below <= 1:
            raise ConfigError(f"--none-below: got {self.none_below:g}; needs a score, 0 to 1")
        if self.limit_s is not None and not self.limit_s > 0:
            raise ConfigError(f"--for-s: got {self.limit_s:g}; needs seconds above 0")
        if self.queue_frames < 1:
            raise ConfigError(f"--queue: got {self.queue_frames}; needs 1 frame or more")


class StreamSession:
    """Answers for one source.

        session = StreamSession(open_network("runs/tsm_causal"), open_source("webcam:0"), Settings())
        summary = session.run(print)

    Args:
        network: the network, in any backend.
        source: closed at the end.

    Raises:
        ConfigError: the network or a setting does not fit.
    """

    def __init__(self, network: Network, source: Source, settings: Settings):
        self._network, self._source, self._settings = network, source, settings
        self._answerer: Answerer = answerer_for(network, source.info, settings.timing, skips=source.drops)
        self._tracker = Tracker(settings.hysteresis)
        self._queue = FrameQueue(settings.queue_frames, drops=source.drops)
        self._recorder: Recorder | None = None
        if settings.record is not None:
            self._recorder = Recorder(settings.record, source.info, settings.margins, waits=not source.drops)
        self._stop = threading.Event()
        self._latencies_s: deque[float] = deque(maxlen=KEPT_LATENCIES)
        self._num_frames = self._num_answers = self._num_events = self._num_reconnects = 0
        self._num_clips = self._num_failed_clips = 0
        self._latest: Frame | None = None
        self._latest_s = 0.0

    def stop(self) -> None:
        """Ends the stream soon, from any thread or a signal handler; `run` then returns as at the end of the source."""
        self._stop.set()

    def run(self, sink: Sink) -> Summary:
        """Answers until the source ends; every message goes to `sink`, the summary last.

        Raises:
            DecodeError: the source broke off; open events, clips and the summary are complete.
            DataError: the network cannot answer.
        """
        self._answerer.warm_up(self._source.info)
        utc = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")
        fps = self._source.info.fps
        sink(Began(self._source.name, self._network.source, self._answerer.mode, fps, utc))
        thread = threading.Thread(target=self._receive, name="stream source", daemon=True)
        thread.start()
        try:
            for message in self._messages():
                sink(message)
        finally:
            self._stop.set()
            self._queue.close()
            for message in self._ending():
                sink(message)
            thread.join(END_S)
            summary = self._summary()
            if not thread.is_alive():  # else it still reads the source
                self._source.close()
            sink(summary)
        return summary

    def _receive(self) -> None:
        """Takes the frames of the source, in a thread of its own."""
        error: VideoZooError | None = None
        try:
            with decoding(self._source.name):
                for frame in self._source.frames(self._stop):
                    self._num_frames += 1
                    self._latest_s = frame.time_s
                    if self._recorder is not None:
                        self._recorder.keep(frame)
                    self._queue.put(frame)
        except VideoZooError as problem:
            error = problem
        finally:
            self._queue.close(error)

    def _messages(self) -> Iterator[Message]:
        started_s = time.monotonic()
        limit_s = float("inf") if self._settings.limit_s is None else self._settings.limit_s
        while not self._stop.is_set():
            frame = self._queue.get(timeout_s=LOOK_S)
            if frame is None and self._queue.is_done:
                return
            yield from self._clips_of(self._recorder.finished() if self._recorder is not None else [])
            is_late = self._source.drops and time.monotonic() - started_s >= limit_s
            if is_late or (frame is not None and frame.time_s >= limit_s):
                return
            if frame is not None:
                yield from self._after(frame)

    def _after(self, frame: Frame) -> Iterator[Message]:
        latest = self._latest
        if latest is not None and frame.connection != latest.connection:
            yield from self._ended(self._tracker.finish())
            self._answerer.reset()
            self._num_reconnects += 1
            yield Reconnected(frame.time_s, frame.time_s - latest.time_s)
        self._latest = frame
        for moment in self._answerer.add(frame):
            latency_s = time.monotonic() - moment.frame.arrived_s
            self._latencies_s.append(latency_s)
            self._num_answers += 1
            yield from self._answered(moment, latency_s)
        if self._recorder is not None:
            self._recorder.seen(frame.time_s)

    def _answered(self, moment: Moment, latency_s: float) -> Iterator[Message]:
        scores = dict(moment.answer.ranked())
        best = next(iter(scores.items()), None)
        is_none = best is None or best[1] < self._settings.none_below
        yield Answered(
            time_s=moment.frame.time_s,
            label=None if best is None or is_none else best[0],
            score=None if best is None else best[1],
            latency_s=latency_s,
            dropped_frames=self._queue.dropped_frames,
            answer=moment.answer.to_dict(top=self._settings.top),
            window=None if moment.window is None else (moment.window.start_s, moment.window.end_s),
        )
        begun, ended = self._tracker.add({} if is_none else scores, *moment.holds)
        for event in begun:
            self._num_events += 1
            if self._recorder is not None:
                self._recorder.begin(event)
            yield EventBegan(event.label, event.start_s, event.best)
        yield from self._ended(ended)
        if self._recorder is not None:
            self._recorder.answered(moment.holds[1])

    def _ended(self, events: Iterable[OpenEvent]) -> Iterator[Message]:
        for event in events:
            if self._recorder is not None:
                self._recorder.end(event)
            yield EventEnded.of(event.span())

    def _ending(self) -> Iterator[Message]:
        yield from self._ended(self._tracker.finish())
        if self._recorder is not None:
            yield from self._clips_of(self._recorder.close())

    def _clips_of(self, clips: Iterable[Clip]) -> Iterator[Message]:
        for clip in clips:
            self._num_clips += 1
            self._num_failed_clips += clip.problem is not None
            yield ClipWritten(
                path=str(clip.path),
                label=clip.event.label,
                start_s=clip.start_s,
                end_s=min(clip.until_s, self._latest_s + 1 / self._source.info.fps),
                num_frames=clip.num_frames,
                lost_frames=clip.lost_frames,
                problem=clip.problem,
            )

    def _summary(self) -> Summary:
        median_s = p95_s = None
        if self._latencies_s:
            median_s, p95_s = (float(x) for x in np.percentile(np.array(self._latencies_s), (50, 95)))
        return Summary(
            num_frames=self._num_frames,
            num_answers=self._num_answers,
            dropped_frames=self._queue.dropped_frames,
            damaged_frames=self._source.damaged_frames,
            num_events=self._num_events,
            num_clips=self._num_clips,
            num_failed_clips=self._num_failed_clips,
            num_reconnects=self._num_reconnects,
            duration_s=self._latest_s,
            latency_median_s=median_s,
            latency_p95_s=p95_s,
        )
