"""Clips with sentences, for dual encoders."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import numpy as np

from videozoo.contracts.input import Batch
from videozoo.contracts.record import ClipRecord, DescribedRecord
from videozoo.io.reader import VideoReader
from videozoo.transforms.forms import Form
from videozoo.transforms.input import ClipInput, ClipPipeline
from videozoo.transforms.registry import register_input

__all__ = ["CaptionedClipInput", "CaptionedClipPipeline"]


@register_input
@dataclasses.dataclass(frozen=True)
class CaptionedClipInput(ClipInput):
    """Clips as in `clip`, with sentences: in training a random one of the video, in evaluation all of them."""

    learns_from: ClassVar = "captions"
    gives: ClassVar[frozenset[str]] = frozenset({"id", "video", "description"})

    def train_pipeline(self, *, num_classes: int | None = None) -> CaptionedClipPipeline:  # type: ignore[override]
        return CaptionedClipPipeline(super().train_pipeline())

    def eval_pipeline(  # type: ignore[override]
        self, views: str | None = None, *, num_classes: int | None = None, form: Form = "tensors"
    ) -> CaptionedClipPipeline:
        return CaptionedClipPipeline(super().eval_pipeline(views, form=form))

    def to_device(self, batch: Batch, device: Any) -> dict[str, Any]:
        return super().to_device(batch, device) if "video" in batch else dict(batch)  # sentences alone

    def to_arrays(self, batch: Batch) -> dict[str, Any]:
        return super().to_arrays(batch) if "video" in batch else dict(batch)


@dataclasses.dataclass(frozen=True)
class CaptionedClipPipeline:
    """Adds sentences to the samples of `clips`: a `description` in training, all `captions` in evaluation."""

    clips: ClipPipeline

    @property
    def spec(self) -> ClipInput:
        return self.clips.spec

    def __call__(
        self, record: ClipRecord, rng: np.random.Generator | None = None, reader: VideoReader | None = None
    ) -> dict[str, Any]:
        made = self.clips(record, rng, reader)
        if not isinstance(record, DescribedRecord):
            return made
        if self.clips.views is not None:
            return {**made, "captions": record.captions}
        assert rng is not None
        return {**made, "description": record.captions[int(rng.integers(len(record.captions)))]}
