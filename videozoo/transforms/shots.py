"""The input of networks for shot boundaries: all frames of a video, made small, in overlapping windows."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np

from videozoo.contracts.input import Batch, Form, InputSpec
from videozoo.contracts.record import ClipRecord, ShotRecord
from videozoo.errors import ConfigError, DataError
from videozoo.io.decode import VideoReader, open_video
from videozoo.io.frame_folder import FrameFolder
from videozoo.transforms import arrays
from videozoo.transforms.registry import register_input

__all__ = ["Film", "ShotsInput", "ShotsPipeline"]

WINDOWS_AT_ONCE = 4
MOST = 100_000


@dataclasses.dataclass(frozen=True)
class Film:
    """All frames of a video, uint8 `[n h w 3]`, in a temporary file, so that a long video needs little memory.

    Attributes:
        times_s: the start of each frame, and the end of the last one `[n+1]`, in seconds.
        window_frames: length of the network's windows.
    """

    frames: np.ndarray = dataclasses.field(repr=False)
    times_s: np.ndarray = dataclasses.field(repr=False)
    window_frames: int = 100

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def overlap_frames(self) -> int:
        """The frames at each end of a window whose scores are not used: a quarter of them."""
        return self.window_frames // 4

    @property
    def step_frames(self) -> int:
        """The frames of a window whose scores are used."""
        return self.window_frames - 2 * self.overlap_frames

    @property
    def num_windows(self) -> int:
        return -(-len(self) // self.step_frames)

    def clips(self) -> Iterator[np.ndarray]:
        """Yields a few windows at a time, float32 `[k t 3 h w]` in 0..1; they overlap, and the ends are repeated."""
        starts = np.arange(0, len(self), self.step_frames) - self.overlap_frames
        for first in range(0, len(starts), WINDOWS_AT_ONCE):
            places = starts[first : first + WINDOWS_AT_ONCE, None] + np.arange(self.window_frames)
            yield scaled(self.frames[places.clip(0, len(self) - 1)])


def scaled(frames: np.ndarray) -> np.ndarray:
    """Returns frames uint8 `[... t h w 3]` as a network's clips, float32 `[... t 3 h w]` in 0..1."""
    clips: np.ndarray = np.ascontiguousarray(np.moveaxis(frames, -1, -3), np.float32)
    clips /= 255
    return clips


@register_input
@dataclasses.dataclass(frozen=True)
class ShotsInput(InputSpec):
    """Windows of consecutive small frames; an evaluation covers the whole video.

    Args:
        num_frames: frames of a window; the scores of its middle half count.
        height_px, width_px: size to which every frame is squashed.
        mirror: share of the training windows that are mirrored.
    """

    num_frames: int = 100
    height_px: int = 27
    width_px: int = 48
    mirror: float = 0.5

    learns_from: ClassVar = "shots"
    gives: ClassVar[frozenset[str]] = frozenset({"id", "video", "middle", "member"})

    def __post_init__(self) -> None:
        for name in ("num_frames", "height_px", "width_px"):
            if not 1 <= (size := getattr(self, name)) <= MOST:
                raise ConfigError(f"input.{name}: is {size}; it must be 1..{MOST}")
        if not 0 <= self.mirror <= 1:
            raise ConfigError(f"input.mirror: is {self.mirror}; it is a share, 0..1")

    def train_pipeline(self, *, num_classes: int | None = None) -> ShotsPipeline:
        return ShotsPipeline(self, is_training=True)

    def eval_pipeline(
        self, views: str | None = None, *, num_classes: int | None = None, form: Form = "tensors"
    ) -> ShotsPipeline:
        if views not in (None, "1x1"):
            raise ConfigError(f"input.views: is '{views}'; the input of shots has one view, 1x1")
        return ShotsPipeline(self, is_training=False)

    def to_arrays(self, batch: Batch) -> dict[str, Any]:
        return dict(batch)

    def to_device(self, batch: Batch, device: Any) -> dict[str, Any]:
        from videozoo.transforms import tensors

        return tensors.moved(batch, device)

    def model_sizes(self) -> dict[str, Any]:
        return {"num_frames": self.num_frames, "height_px": self.height_px, "width_px": self.width_px}

    def small(self, frames: np.ndarray) -> np.ndarray:
        """Returns frames uint8 `[t h w 3]` at the size of the input."""
        return arrays.resize(np.asarray(frames), (self.height_px, self.width_px), method="pillow")


@dataclasses.dataclass(frozen=True)
class ShotsPipeline:
    """Makes a sample of a record: a random window for training, or the whole video.

    Training samples have `video` `[t 3 h w]` and the targets `middle` and `member` `[t]`, 1 at the middle frame and at
    all frames of a transition. Evaluation samples have `film`, and `transitions` if they are known.
    """

    spec: ShotsInput
    is_training: bool

    def __call__(
        self, record: ClipRecord, rng: np.random.Generator | None = None, reader: VideoReader | None = None
    ) -> dict[str, Any]:
        """Returns the sample of a record.

        Raises:
            DecodeError: the video cannot be read.
            DataError: a folder of frames has no rate.
        """
        with contextlib.ExitStack() as stack:
            if reader is None:
                reader = stack.enter_context(_opened(record))
            if self.is_training:
                assert rng is not None and isinstance(record, ShotRecord)
                return self._window(record, reader, rng)
            film = self._film(record, reader)
            made = {"id": record.id, "film": film, "damaged_frames": reader.damaged_frames}
        return made | ({"transitions": record.transitions} if isinstance(record, ShotRecord) else {})

    def _window(self, record: ShotRecord, reader: VideoReader, rng: np.random.Generator) -> dict[str, Any]:
        length = self.spec.num_frames
        first = int(rng.integers(max(reader.num_frames - length, 0) + 1))
        places = np.minimum(np.arange(first, first + length), reader.num_frames - 1)
        frames = self.spec.small(reader.frames_by_index(np.unique(places).tolist()).data)[places - first]
        if rng.random() < self.spec.mirror:
            frames = arrays.flip(frames)
        middle, member = np.zeros((2, first + length), np.float32)
        for last, next_first in record.transitions:
            middle[(last + next_first) // 2 : (last + next_first) // 2 + 1] = 1
            member[last:next_first] = 1
        return {"id": record.id, "video": scaled(frames), "middle": middle[first:], "member": member[first:]}

    def _film(self, record: ClipRecord, reader: VideoReader) -> Film:
        info, start_s = reader.info, record.start_s or 0.0
        size = (self.spec.height_px, self.spec.width_px, 3)
        times_s: list[float] = []
        with tempfile.TemporaryFile() as file:
            for time_s, picture in reader.stream(start_s=start_s, end_s=record.end_s):
                file.write(self.spec.small(np.asarray(picture)[None]).tobytes())
                times_s.append(max(time_s - start_s, 0.0))
            if not times_s:
                raise DataError(f"{record.id}: no frame begins in this stretch; give a longer one")
            file.flush()
            frames = np.memmap(file, np.uint8, mode="r", shape=(len(times_s), *size))
        end_s = (info.duration_s if record.end_s is None else min(record.end_s, info.duration_s)) - start_s
        times_s.append(end_s if end_s > times_s[-1] else times_s[-1] + 1 / info.fps)
        return Film(frames, np.array(times_s), self.spec.num_frames)


def _opened(record: ClipRecord) -> VideoReader:
    if record.num_frames is None:
        return open_video(record.path)
    if "fps" not in record.extra:
        raise DataError(f"{record.path}: a folder of frames has no frame rate; give the record extra['fps']")
    return FrameFolder(record.path, num_frames=record.num_frames, fps=float(record.extra["fps"]))
