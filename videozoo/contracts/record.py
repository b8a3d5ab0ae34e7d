"""Records: the samples of a data set before anything is decoded. Cheap values, which travel to loader workers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

__all__ = ["ClipRecord", "Holds", "Record"]

Holds = Literal["clips", "features"]


class Record:
    """One sample of a data set.

    Attributes:
        id: unique in its data set: reports, error messages and the check that each sample is scored once use it.
        labels: class indices: one for single-label data, any number for multi-label data, none without truth.
    """

    id: str
    labels: tuple[int, ...] | None = None

    @property
    def location(self) -> str:
        """The file that error messages name."""
        return self.id


@dataclasses.dataclass(frozen=True)
class ClipRecord(Record):
    """One sample of a clip data set: `path` is a video file, or a folder of frames when `num_frames` is given."""

    id: str
    path: Path
    labels: tuple[int, ...] = ()
    num_frames: int | None = None
    start_s: float | None = None
    end_s: float | None = None
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def location(self) -> str:
        return str(self.path)
