"""Parts outside of the package, with a kind of answer that it does not have: boxes on frames, followed over time.

`test_outside.py` copies this file into a folder of its own and names it in a recipe.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image
from torch import Tensor, nn
from typing_extensions import Self

from videozoo.contracts.answer import Answer, BoxMark, Lane
from videozoo.contracts.backend import Decoder, Outputs
from videozoo.contracts.dataset import Dataset
from videozoo.contracts.input import Batch, Form, InputSpec
from videozoo.contracts.record import Record
from videozoo.contracts.video import Span
from videozoo.data.registry import register_dataset
from videozoo.decoding.registry import register_decoder
from videozoo.io.decode import VideoReader, open_video
from videozoo.metrics.metric import Metric
from videozoo.metrics.parts import Note, Part, Table
from videozoo.models.model import VideoModel
from videozoo.models.registry import register_model
from videozoo.tasks.registry import register_task
from videozoo.tasks.task import Task
from videozoo.transforms.registry import register_input
from videozoo.transforms.tensors import moved

NUM_TRACKS = 2

# ---- the answer ------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Box:
    """One object on one frame, in pixels of the upright frame."""

    sides_px: tuple[float, float, float, float]  # left, top, right, bottom
    label: str
    score: float
    track: int


@dataclasses.dataclass(frozen=True)
class Boxes(Answer):
    """Boxes on frames: `frames` are (time in seconds, the boxes at that time), in order."""

    frames: tuple[tuple[float, tuple[Box, ...]], ...]
    step_s: float

    kind: ClassVar[str] = "boxes"
    noun: ClassVar[str] = "best object"
    is_timed: ClassVar[bool] = True

    def tracks(self) -> dict[int, list[tuple[float, Box]]]:
        found: dict[int, list[tuple[float, Box]]] = {}
        for time_s, boxes in self.frames:
            for box in boxes:
                found.setdefault(box.track, []).append((time_s, box))
        return found

    def to_dict(self, *, top: int | None = None) -> dict[str, Any]:
        frames = [
            {"time_s": round(time_s, 6), "boxes": [dataclasses.asdict(box) for box in boxes]}
            for time_s, boxes in self.frames
        ]
        return {"boxes": frames}

    def ranked(self, *, top: int | None = None) -> list[tuple[str, float]]:
        best: dict[str, float] = {}
        for _, boxes in self.frames:
            for box in boxes:
                best[box.label] = max(best.get(box.label, 0.0), box.score)
        return sorted(best.items(), key=lambda pair: -pair[1])[:top]

    def events(self, start_s: float, end_s: float, *, top: int = 1) -> tuple[Span, ...]:
        spans = []
        for seen in self.tracks().values():
            times_s, boxes = [time_s for time_s, _ in seen], [box for _, box in seen]
            best = max(boxes, key=lambda box: box.score)
            span = Span(max(times_s[0] - self.step_s / 2, 0.0), times_s[-1] + self.step_s / 2, best.label, best.score)
            spans.append(span)
        return tuple(sorted(spans, key=lambda span: -span.score))

    def shifted(self, by_s: float) -> Self:
        return dataclasses.replace(self, frames=tuple((time_s + by_s, boxes) for time_s, boxes in self.frames))

    def kept(self, *, top: int | None = None, min_score: float | None = 0.0, max_overlap: float = 1.0) -> Self:
        least = min_score or 0.0
        frames = tuple((time_s, tuple(box for box in boxes if box.score >= least)) for time_s, boxes in self.frames)
        return dataclasses.replace(self, frames=frames)

    def lanes(self) -> tuple[Lane, ...]:
        return tuple(
            Lane(f"track {track}", [time_s for time_s, _ in seen], np.array([box.score for _, box in seen]))
            for track, seen in self.tracks().items()
        )

    def marks_at(self, time_s: float) -> tuple[BoxMark, ...]:
        near = [boxes for at_s, boxes in self.frames if abs(at_s - time_s) <= self.step_s / 2]
        return tuple(
            BoxMark(*box.sides_px, text=f"{box.label} {box.track}", color_key=str(box.track))
            for box in (near[0] if near else ())
        )


# ---- data and input --------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class BoxRecord(Record):
    """A video with its true boxes: `[time, track, 4]` in shares of the frame, and the class of each track."""

    id: str
    path: Path
    boxes: tuple[Any, ...] = ()
    labels: tuple[int, ...] = ()
    start_s: float | None = None
    end_s: float | None = None


@register_dataset
class BoxFile(Dataset[BoxRecord]):
    """A JSON file with the classes, and videos with their boxes."""

    def __init__(self, path: str, *, class_names: Sequence[str] | None = None):
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        self.source, self.class_names = path, tuple(class_names or content["classes"])
        self._rows = [
            BoxRecord(row["video"], Path(path).parent / row["video"], row["boxes"], tuple(row["labels"]))
            for row in content["videos"]
        ]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> BoxRecord:
        return self._rows[index]


@register_input
@dataclasses.dataclass(frozen=True)
class GreyFramesInput(InputSpec):
    """Grey frames, evenly over the video.

    Args:
        num_frames: how many.
        side_px: height and width.
    """

    num_frames: int = 4
    side_px: int = 16
    views: str = "1x1"

    gives: ClassVar[frozenset[str]] = frozenset({"id", "frames", "boxes", "classes"})

    def train_pipeline(self, *, num_classes: int | None = None) -> GreyFrames:
        return GreyFrames(self)

    def eval_pipeline(
        self, views: str | None = None, *, num_classes: int | None = None, form: Form = "tensors"
    ) -> GreyFrames:
        self.check_single_view(views)
        return GreyFrames(self)

    def to_arrays(self, batch: Batch) -> dict[str, Any]:
        return {**batch, "frames": batch["frames"] / np.float32(255)}

    def to_device(self, batch: Batch, device: Any) -> dict[str, Any]:
        on_device = moved(batch, device)
        return {**on_device, "frames": on_device["frames"] / 255}


@dataclasses.dataclass(frozen=True)
class GreyFrames:
    """From a record to its frames `[t h w]` in 0..255, their times and the size of the video."""

    spec: GreyFramesInput

    def __call__(
        self, record: Any, rng: np.random.Generator | None = None, reader: VideoReader | None = None
    ) -> dict[str, Any]:
        with contextlib.ExitStack() as stack:
            if reader is None:
                reader = stack.enter_context(open_video(record.path, num_threads=1))
            start_s = record.start_s or 0.0
            step_s = ((record.end_s or reader.info.duration_s) - start_s) / self.spec.num_frames
            times_s = (np.arange(self.spec.num_frames) + 0.5) * step_s  # from the start of the stretch
            frames = reader.frames_at((start_s + times_s).tolist()).data
        size = (self.spec.side_px, self.spec.side_px)
        grey = [np.asarray(Image.fromarray(frame).convert("L").resize(size)) for frame in np.asarray(frames)]
        sample = {
            "id": record.id,
            "frames": np.stack(grey).astype(np.float32),
            "times_s": times_s,
            "size_px": np.array([reader.info.width_px, reader.info.height_px]),
        }
        if isinstance(record, BoxRecord):
            sample["boxes"] = np.array(record.boxes, np.float32)
            sample["classes"] = np.array(record.labels, np.int64)
        return sample


# ---- model and task --------------------------------------------------------------------------------------


@register_model
class TwoBoxes(VideoModel):
    """Two boxes and their classes on every frame, by two linear layers."""

    is_classifier = False

    def __init__(self, *, num_classes: int = 2, side_px: int = 16, width: int = 64):
        super().__init__()
        self.num_classes, self.num_features, self.input_shape = num_classes, width, (4, side_px, side_px)
        self.body = nn.Linear(side_px * side_px, width)
        self.boxes = nn.Linear(width, NUM_TRACKS * 4)
        self.classes = nn.Linear(width, NUM_TRACKS * num_classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Frames `[b t h w]` to boxes `[b t n 4]` in 0..1 and class scores `[b t n k]`."""
        features = self.body(x.flatten(2)).relu()
        boxes, classes = self.boxes(features).sigmoid(), self.classes(features)
        return boxes.unflatten(-1, (NUM_TRACKS, 4)), classes.unflatten(-1, (NUM_TRACKS, self.num_classes))


@register_decoder
@dataclasses.dataclass(frozen=True)
class FollowDecoder(Decoder):
    """Reads `boxes` `[b t n 4]` in shares of the frame and `scores` `[b t n k]`.

    Args:
        min_score: class probability below which a box is left out.
    """

    answers: ClassVar[type[Answer]] = Boxes

    class_names: tuple[str, ...]
    min_score: float = 0.0

    def __call__(self, outputs: Outputs, batch: Batch) -> list[Answer]:
        times, sizes = np.asarray(batch["times_s"]), np.asarray(batch["size_px"])
        return [self._answer(*rows) for rows in zip(outputs["boxes"], outputs["scores"], times, sizes, strict=True)]

    def _answer(self, boxes: np.ndarray, scores: np.ndarray, times_s: np.ndarray, size_px: np.ndarray) -> Boxes:
        probs = np.exp(scores - scores.max(-1, keepdims=True))
        probs /= probs.sum(-1, keepdims=True)
        frames = []
        for time_s, row, row_probs in zip(times_s.tolist(), boxes, probs, strict=True):
            found = []
            for track, (sides, of_class) in enumerate(zip(row, row_probs, strict=True), start=1):
                best = int(of_class.argmax())
                left, top, right, bottom = (sides * np.tile(size_px, 2)).tolist()
                sides_px = (min(left, right), min(top, bottom), max(left, right), max(top, bottom))
                if of_class[best] >= self.min_score:
                    found.append(Box(sides_px, self.class_names[best], float(of_class[best]), track))
            frames.append((time_s, tuple(found)))
        return Boxes(tuple(frames), step_s=float(times_s[1] - times_s[0]))


class MeanIou:
    """The mean overlap of the boxes with the true ones, over all frames."""

    def __init__(self) -> None:
        self.ious: list[float] = []

    def update(self, predictions: Sequence[Any], batch: Mapping[str, Any]) -> None:
        for answer, truth, size in zip(predictions, batch["boxes"], batch["size_px"], strict=True):
            scale = np.tile(np.asarray(size), 2)
            for (_, boxes), row in zip(answer.frames, np.asarray(truth), strict=True):
                self.ious += [_iou(np.array(box.sides_px), row[box.track - 1] * scale) for box in boxes]

    def merge(self, other: MeanIou) -> None:
        self.ious += other.ious

    def compute(self) -> dict[str, float]:
        return {"mean_iou": 100 * float(np.mean(self.ious))}

    def report_parts(self) -> list[Part]:
        rows = [(f"{low} to {low + 25}", sum(low <= 100 * iou < low + 25 for iou in self.ious)) for low in (0, 25, 50)]
        return [Table("overlaps", "Boxes by their overlap", ("overlap", "boxes"), rows), Note("toy boxes were scored")]


def _iou(ours: np.ndarray, theirs: np.ndarray) -> float:
    sides = np.minimum(ours[2:], theirs[2:]) - np.maximum(ours[:2], theirs[:2])
    shared = float(np.prod(np.maximum(sides, 0)))
    areas = sum(float(np.prod(np.maximum(box[2:] - box[:2], 0))) for box in (ours, theirs))
    return shared / max(areas - shared, 1e-9)


@register_task
class Follow(Task):
    """Follows two objects through a video.

    Args:
        min_score: class probability below which a box is left out.
    """

    needs = frozenset({"frames", "boxes", "classes"})
    input_name = "grey_frames"
    monitor = "mean_iou"

    def __init__(self, model: VideoModel, class_names: Sequence[str], *, min_score: float = 0.0):
        super().__init__(model, class_names)
        self.decoder = FollowDecoder(self.class_names, min_score)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        boxes, scores = self.model(batch["frames"])
        classes = batch["classes"][:, None].expand(scores.shape[:-1])
        box_loss = (boxes - batch["boxes"]).abs().mean()
        class_loss = nn.functional.cross_entropy(scores.flatten(0, 2), classes.flatten())
        return {"loss": 5 * box_loss + class_loss, "box_loss": box_loss, "class_loss": class_loss}

    def outputs(self, batch: Batch) -> dict[str, Tensor]:
        boxes, scores = self.model(batch["frames"])
        return {"boxes": boxes, "scores": scores}

    def metrics(self) -> list[Metric]:
        return [MeanIou()]
