"""From frames to answers: frame by frame with a state, or in sliding windows that share their frames."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Iterator

import numpy as np

from videozoo.contracts.answer import Answer
from videozoo.contracts.backend import State, StreamBackend
from videozoo.contracts.input import Pipeline, Sample
from videozoo.contracts.network import Network
from videozoo.contracts.video import VideoInfo
from videozoo.errors import ConfigError
from videozoo.io.reader import TIME_SLACK_S
from videozoo.predict.frames import FrameArray, HeldFrames
from videozoo.predict.inference import FrameContent, answers, checked
from videozoo.predict.prediction import Place
from videozoo.predict.windows import HELD_BYTES, held_bytes, scaling
from videozoo.stream.source import Frame
from videozoo.transforms.input import ClipInput

__all__ = ["Answerer", "Moment", "OnlineAnswerer", "Timing", "WindowAnswerer", "answerer_for"]


@dataclasses.dataclass(frozen=True)
class Timing:
    """The stretches of time that the network answers for.

    Attributes:
        window_s: length of a clip; None takes that of the network's input, if it has one.
        stride_s: from one window to the next; None takes half a window.
        every_s: the least time from one answer to the next.
    """

    window_s: float | None = None
    stride_s: float | None = None
    every_s: float = 0.0

    def __post_init__(self) -> None:
        for name, value in (("--window", self.window_s), ("--stride", self.stride_s)):
            if value is not None and not 0 < value < float("inf"):
                raise ConfigError(f"{name}: got {value:g}; needs seconds above 0")
        if not 0 <= self.every_s < float("inf"):
            raise ConfigError(f"--every-s: got {self.every_s:g}; needs seconds, 0 or more")


@dataclasses.dataclass(frozen=True)
class Moment:
    """The answer at one moment of a stream.

    Attributes:
        frame: the frame that completed the answer's input.
        holds: (start_s, end_s) of the time that the answer stands for; those of consecutive answers touch.
        window: the stretch that the network read; None if it read all frames up to `frame`.
    """

    frame: Frame
    answer: Answer
    holds: tuple[float, float]
    window: Place | None = None


class Answerer(abc.ABC):
    """Answers for a stream.

    Attributes:
        mode: "frames" or "windows".
    """

    mode: str
    _network: Network
    _pipeline: Pipeline

    def warm_up(self, info: VideoInfo) -> None:
        """Answers for a black frame: a runtime's first call is slow, and would delay the first frames."""
        black = np.zeros((1, info.height_px or 64, info.width_px or 64, 3), np.uint8)
        reader = FrameArray(black, fps=info.fps)
        sample = FrameContent(info.path, reader.info, reader, self._network, self._pipeline).sample(None)
        self._compute(sample)

    @abc.abstractmethod
    def _compute(self, sample: Sample) -> Answer:
        """Returns the network's answer for a sample."""

    @abc.abstractmethod
    def add(self, frame: Frame) -> Iterator[Moment]:
        """Takes the next frame; yields the answers that it completes."""

    @abc.abstractmethod
    def reset(self) -> None:
        """Forgets all frames: the next one does not follow them."""


def answerer_for(network: Network, info: VideoInfo, timing: Timing, *, skips: bool) -> Answerer:
    """Returns the answerer of a network: frame by frame if it reads no later frames, else in windows.

    Args:
        info: the properties of the source.
        skips: whether windows may be left out when the network is too slow.

    Raises:
        ConfigError: the network takes features, or the length of its clips is not known.
    """
    spec = network.spec
    if not isinstance(spec, ClipInput):
        raise ConfigError(
            f"{network.source}: takes {spec.takes}, not frames; give a run on clips, e.g. of motion/tsm_causal"
        )
    window_s = _window_s(network, spec, info, timing)
    backend = network.backend
    if isinstance(backend, StreamBackend) and (state := backend.start()) is not None:
        if timing.stride_s is not None:
            raise ConfigError(
                f"--stride: {network.source} answers after every frame, not in windows; leave it out, or use --every-s"
            )
        interval_s = window_s / spec.num_frames
        return OnlineAnswerer(network, backend, spec, info, state, interval_s=interval_s, every_s=timing.every_s)
    stride_s = window_s / 2 if timing.stride_s is None else timing.stride_s
    return WindowAnswerer(network, info, window_s, stride_s, every_s=timing.every_s, skips=skips)


def _window_s(network: Network, spec: ClipInput, info: VideoInfo, timing: Timing) -> float:
    if timing.window_s is not None:
        return timing.window_s
    if not spec.sampling.startswith("dense"):
        raise ConfigError(
            f"--window: is missing; the clips of {network.source} were whole videos (sampling '{spec.sampling}'); "
            "give their usual length in seconds"
        )
    return spec.num_frames * spec.frame_stride / (spec.fps or info.fps)


class OnlineAnswerer(Answerer):
    """Steps a network through the frames at the distance that it was trained for, and answers after each.

    Args:
        start: the state before the first frame.
        interval_s: distance of the frames; those between are not made pictures.
        every_s: the least time from one answer to the next; the network still takes the frames between.
    """

    mode = "frames"

    def __init__(
        self,
        network: Network,
        backend: StreamBackend,
        spec: ClipInput,
        info: VideoInfo,
        start: State,
        *,
        interval_s: float,
        every_s: float,
    ):
        self._network, self._backend = network, backend
        self._start, self._state = start, start
        interval_s = max(interval_s, 1 / info.fps)
        self._every_s = max(every_s, interval_s)
        self._steps, self._answers = (_Beat(beat_s, 0.5 / info.fps) for beat_s in (interval_s, self._every_s))
        single = dataclasses.replace(
            spec, num_frames=1, segment_frames=1, sampling="dense", frame_stride=1, fps=None, views="1x1"
        )
        self._pipeline = single.eval_pipeline(form=backend.form)
        one_frame = dataclasses.replace(info, duration_s=1 / info.fps)
        self._held = HeldFrames(one_frame, Frame.picture)
        self._content = FrameContent(info.path, one_frame, self._held, network, self._pipeline)

    def warm_up(self, info: VideoInfo) -> None:
        super().warm_up(info)
        self.reset()

    def add(self, frame: Frame) -> Iterator[Moment]:
        if not self._steps.is_due(frame.time_s):
            return
        self._held.close()
        self._held.add(frame.time_s, frame)
        answer = self._compute(self._content.sample(None))
        if self._answers.is_due(frame.time_s):
            yield Moment(frame, answer, (frame.time_s, frame.time_s + self._every_s))

    def _compute(self, sample: Sample) -> Answer:
        batch = self._backend.collate([sample])
        outputs, self._state = self._backend.step(batch, self._state)
        (answer,) = self._network.decoder(checked(outputs, where=self._content.name), batch)
        return answer

    def reset(self) -> None:
        self._state = self._start
        self._steps.reset()
        self._answers.reset()


class _Beat:
    """Chooses frames at a distance of `beat_s`: those nearest to its beats, by at most `slack_s`."""

    def __init__(self, beat_s: float, slack_s: float):
        self._beat_s, self._slack_s = beat_s, slack_s
        self.reset()

    def reset(self) -> None:
        self._due_s = -float("inf")

    def is_due(self, time_s: float) -> bool:
        if time_s > self._due_s + self._beat_s:  # the first frame, or the first after missing ones
            self._due_s = time_s
        if time_s < self._due_s - self._slack_s:
            return False
        self._due_s += self._beat_s
        return True


class WindowAnswerer(Answerer):
    """Answers for windows of time, as soon as their last frame has come; each frame is decoded and scaled once.

    The windows, and the frames that the network reads of each, are those of `Predictor`.

    Args:
        every_s: windows that end sooner after the previous answer are left out.
        skips: of several complete windows, answer for the last only.
    """

    mode = "windows"

    def __init__(
        self, network: Network, info: VideoInfo, window_s: float, stride_s: float, *, every_s: float, skips: bool
    ):
        self._network = network
        self._window_s, self._stride_s, self._every_s, self._skips = window_s, stride_s, every_s, skips
        self._frame_s = 1 / info.fps
        scaled = scaling(network)
        # Decoded frames become pictures when a window needs them; where they are too large, they are scaled at once.
        self._scaled_at_once = scaled if held_bytes(info, window_s) > HELD_BYTES else None
        picture, later = (_same, None) if self._scaled_at_once is not None else (Frame.picture, scaled)
        endless = dataclasses.replace(info, duration_s=float("inf"))
        self._held = HeldFrames(endless, picture, scaled=later)
        self._pipeline = network.spec.eval_pipeline(form=network.backend.form)
        self._content = FrameContent(info.path, endless, self._held, network, self._pipeline)
        self._origin_s: float | None = None
        self._next = 0  # the number of the next window
        self._answered_s = -float("inf")  # the end of the latest one

    def add(self, frame: Frame) -> Iterator[Moment]:
        if self._origin_s is None:
            self._origin_s = frame.time_s
        held = frame if self._scaled_at_once is None else self._scaled_at_once(frame.picture()[None])[0]
        self._held.add(frame.time_s, held)
        for number in self._complete(frame.time_s + self._frame_s):
            yield self._answered(number, frame)
        self._held.drop_before(self._start_s(self._next))

    def reset(self) -> None:
        self._held.close()
        self._origin_s, self._next, self._answered_s = None, 0, -float("inf")

    def _start_s(self, number: int) -> float:
        assert self._origin_s is not None
        return self._origin_s + number * self._stride_s

    def _complete(self, until_s: float) -> list[int]:
        """Returns the numbers of the windows that end by `until_s` and are to be answered; later ones come next."""
        wanted = []
        while (end_s := self._start_s(self._next) + self._window_s) <= until_s + TIME_SLACK_S:
            if end_s - self._answered_s >= self._every_s - TIME_SLACK_S:
                wanted.append(self._next)
                self._answered_s = end_s
            self._next += 1
        return wanted[-1:] if self._skips else wanted

    def _answered(self, number: int, frame: Frame) -> Moment:
        start_s = self._start_s(number)
        place = Place(start_s, start_s + self._window_s)
        answer = self._compute(self._content.sample(place))
        middle_s = start_s + self._window_s / 2
        step_s = max(self._stride_s, self._every_s)
        holds = (middle_s - step_s / 2 if number else start_s, middle_s + step_s / 2)
        return Moment(frame, answer.shifted(start_s), holds, place)

    def _compute(self, sample: Sample) -> Answer:
        ((_, answer),) = answers(self._network, [(None, sample)], batch_size=1)
        return answer


def _same(picture: object) -> object:
    return picture
