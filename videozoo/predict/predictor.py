"""From a checkpoint and a video to a typed answer: the only inference path."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import torch
from torch.utils.data import default_collate

from videozoo.errors import ConfigError
from videozoo.io.decode import VideoReader
from videozoo.predict.frames import SlidingReader, Video, name_of, open_source
from videozoo.predict.prediction import Prediction, Window
from videozoo.tasks.build import task_from_checkpoint
from videozoo.tasks.task import Task
from videozoo.types import ClipRecord, VideoInfo
from videozoo.weights import checkpoint

__all__ = ["Precision", "Predictor", "load", "window_times"]

Precision = Literal["fp32", "bf16", "fp16"]
T = TypeVar("T")

# Windows that overlap are decoded in one pass as long as the frames of one window stay within this; else by
# seeking.
HELD_BYTES = 1 << 30
BYTES_PER_PIXEL = 1.5  # of decoded frames, before they become RGB


def load(
    path: str | os.PathLike[str],
    *,
    device: str = "auto",
    precision: Precision = "fp32",
    views: str | None = None,
) -> Predictor:
    """The predictor of a run directory or a weight file (.pt, .safetensors); see `Predictor`.

    Raises:
        WeightsError: there is no such file, it is damaged, or does not fit its own record.
        ConfigError: an option that this machine or the model's input does not take.
    """
    task, spec = task_from_checkpoint(checkpoint.read(path))
    return Predictor(task, spec, device=device, precision=precision, views=views)


class Predictor:
    """Answers for whole videos and over time: a model with its task and the preprocessing it was trained
    with.

        predictor = load("runs/tsm")
        predictor("a.mp4").labels.top(3)
        predictor("a.mp4", window_s=2.0, stride_s=1.0).windows

    Args:
        device: "cpu", "cuda", "cuda:1" ...; "auto" takes the accelerator that is there, else the CPU.
        precision: "bf16" and "fp16" compute in mixed precision.
        views: the protocol, "clips x crops" as in "10x3"; None is the one that the weights carry.

    Attributes:
        task: the model and what its outputs mean, in evaluation mode.
        spec: the input spec; it builds the preprocessing.
        class_names: what the outputs are called, in order.
    """

    def __init__(
        self,
        task: Task,
        spec: Any,
        *,
        device: str = "auto",
        precision: Precision = "fp32",
        views: str | None = None,
    ):
        if precision not in get_args(Precision):
            raise ConfigError(f"precision: there is no '{precision}'; it is {', '.join(get_args(Precision))}")
        self.device = _device(device)
        self.precision = precision
        self.task = task.to(self.device).eval()
        self.spec = spec
        self.class_names = task.class_names
        self._pipeline = spec.eval_pipeline(views)

    def __call__(
        self,
        video: Video,
        *,
        window_s: float | None = None,
        stride_s: float | None = None,
        fps: float | None = None,
        batch_size: int = 8,
    ) -> Prediction:
        """The answer for a whole video and, with `window_s`, for each window of it.

        The whole video is seen by the evaluation protocol; a window is seen by the same protocol as if it
        were a video of its own. The memory needed does not grow with the video's length.

        Args:
            video: a file, a folder of frames, or RGB frames uint8 `[t h w 3]` or `[t 3 h w]`.
            window_s: length of the windows; a shorter video gives one window.
            stride_s: from one window's start to the next; by default half a window.
            fps: rate of a folder's or an array's frames.
            batch_size: windows that go through the model together.

        Raises:
            DecodeError: the file cannot be read.
            DataError: frames of a wrong form or without a rate.
            ConfigError: a window, a stride or a batch size that is not above 0.
        """
        window_s, stride_s = _check_windows(window_s, stride_s)
        if batch_size < 1:
            raise ConfigError(f"batch_size: got {batch_size}; needs at least 1")
        name = name_of(video)
        with open_source(video, fps=fps) as reader:
            (answer,) = self._answers([ClipRecord(id=name, path=Path(name))], reader, batch_size=1)
            windows: tuple[Window, ...] = ()
            if window_s is not None and stride_s is not None:
                windows = self._windows(name, reader, window_s, stride_s, batch_size)
            return Prediction(name, answer, reader.info, windows)

    def _windows(
        self, name: str, reader: VideoReader, window_s: float, stride_s: float, batch_size: int
    ) -> tuple[Window, ...]:
        times = window_times(reader.info, window_s, stride_s)
        records = (
            ClipRecord(id=f"{name}@{start_s:.3f}", path=Path(name), start_s=start_s, end_s=end_s)
            for start_s, end_s in times
        )
        held_bytes = window_s * reader.info.fps * _frame_bytes(reader.info)
        if len(times) > 1 and stride_s <= window_s and held_bytes <= HELD_BYTES:
            reader = SlidingReader(reader)
        answers = self._answers(records, reader, batch_size=batch_size)
        return tuple(Window(*span, answer) for span, answer in zip(times, answers, strict=True))

    def _answers(self, records: Iterable[ClipRecord], reader: VideoReader, *, batch_size: int) -> Iterator[Any]:
        for chunk in _chunks(records, batch_size):
            samples = [self._pipeline(record, reader=reader) for record in chunk]
            yield from self._predict(default_collate(samples))

    @torch.inference_mode()
    def _predict(self, batch: dict[str, Any]) -> Sequence[Any]:
        batch = self.spec.to_device(batch, self.device)
        dtype = torch.float16 if self.precision == "fp16" else torch.bfloat16
        with torch.autocast(self.device.type, dtype=dtype, enabled=self.precision != "fp32"):
            return self.task.predict(batch)


def window_times(info: VideoInfo, window_s: float, stride_s: float) -> list[tuple[float, float]]:
    """(start_s, end_s) of the windows that cover a video, each `window_s` long.

    They begin every `stride_s`; where the end of the video would be left out, a last one is laid against it.
    A video that is shorter than a window is one window.
    """
    duration_s = info.duration_s
    slack_s = min(0.5 / info.fps, duration_s / 2)  # less than a frame is nothing to look at
    if duration_s <= window_s + slack_s:
        return [(0.0, duration_s)]
    count = int((duration_s - window_s + slack_s) / stride_s) + 1
    times = [(k * stride_s, min(k * stride_s + window_s, duration_s)) for k in range(count)]
    if duration_s - times[-1][1] > slack_s:
        times.append((duration_s - window_s, duration_s))
    return times


def _check_windows(window_s: float | None, stride_s: float | None) -> tuple[float | None, float | None]:
    if window_s is None:
        if stride_s is not None:
            raise ConfigError(f"stride_s: got {stride_s} without a window; give window_s (--window), too")
        return None, None
    stride_s = window_s / 2 if stride_s is None else stride_s
    for name, value in (("window_s", window_s), ("stride_s", stride_s)):
        if not 0 < value < float("inf"):
            raise ConfigError(f"{name}: got {value}; needs seconds above 0")
    return window_s, stride_s


def _frame_bytes(info: VideoInfo) -> float:
    return info.width_px * info.height_px * BYTES_PER_PIXEL


def _chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while chunk := list(itertools.islice(iterator, size)):
        yield chunk


def _device(name: str) -> torch.device:
    if name == "auto":
        found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        return found or torch.device("cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"device: '{name}' cannot be used here ({reason}); use auto, cpu or cuda") from error
    return device
