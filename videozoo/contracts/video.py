"""Facts about a video file, and stretches of its time."""

from __future__ import annotations

import dataclasses

from videozoo.errors import DataError

__all__ = ["Span", "VideoInfo"]


@dataclasses.dataclass(frozen=True)
class VideoInfo:
    """The properties that a video file states.

    Width and height are those of the upright picture (after rotation). `fps` is the average rate; a file with
    variable frame rate is sampled by time. `num_frames` is None when the container does not state it. `timecode` is
    that of the first frame, HH:MM:SS:FF, in files that carry one. `last_frame_s` is the display time of the last
    frame; None if unknown.
    """

    path: str
    duration_s: float
    fps: float
    num_frames: int | None
    width_px: int
    height_px: int
    rotation_deg: int
    codec: str
    pixel_format: str
    start_s: float
    size_bytes: int
    audio_rate_hz: int | None = None
    timecode: str | None = None
    last_frame_s: float | None = None

    @property
    def has_audio(self) -> bool:
        return self.audio_rate_hz is not None


@dataclasses.dataclass(frozen=True)
class Span:
    """A stretch of a video with a label and a score; times are seconds from the video's start."""

    start_s: float
    end_s: float
    label: str = ""
    score: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.start_s < self.end_s:
            raise DataError(f"span: needs 0 <= start_s < end_s, got {self.start_s=} {self.end_s=}")

    @property
    def length_s(self) -> float:
        return self.end_s - self.start_s

    @property
    def middle_s(self) -> float:
        return (self.start_s + self.end_s) / 2

    def iou(self, other: Span) -> float:
        """Returns the temporal intersection over union with another span."""
        shared_s = max(min(self.end_s, other.end_s) - max(self.start_s, other.start_s), 0.0)
        return shared_s / (max(self.end_s, other.end_s) - min(self.start_s, other.start_s)) if shared_s else 0.0

    def shifted(self, by_s: float) -> Span:
        """Returns the span moved by `by_s` seconds."""
        return dataclasses.replace(self, start_s=self.start_s + by_s, end_s=self.end_s + by_s)
