"""Small videos whose brightness is their class, and a model that reads it: right answers are known."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from videozoo.contracts.answer import Answer, Segments
from videozoo.contracts.backend import Decoder, Outputs
from videozoo.contracts.video import Span
from videozoo.io.encode import write_video
from videozoo.models.model import VideoModel
from videozoo.models.registry import models
from videozoo.tasks.classify import Classify
from videozoo.tasks.registry import tasks
from videozoo.tasks.task import Batch, Task
from videozoo.transforms.input import ClipInput
from videozoo.weights import checkpoint

NAMES = ("dark", "dim", "light", "bright")
LEVELS = (20, 90, 160, 230)  # grey of each class
FPS = 10


class GreyMeter(VideoModel):
    """Scores four greys by how near the clip's mean is; no more to learn than one number."""

    def __init__(self, num_classes: int = 4):
        super().__init__()
        self.num_classes = self.num_features = num_classes
        self.sharpness = torch.nn.Parameter(torch.tensor(10.0))

    def forward_features(self, x: Tensor) -> Tensor:
        return self(x)

    def forward(self, x: Tensor) -> Tensor:
        levels = torch.tensor(LEVELS, device=x.device) / 255
        return -self.sharpness * (x.float().mean((1, 2, 3, 4))[:, None] - levels).abs()


class NameGrey(Classify):
    """Labels of a GreyMeter; keeps the batches that it sees for tests to look at."""

    recipe_name = "namegrey"

    def __init__(self, model: VideoModel, class_names: Sequence[str]):
        super().__init__(model, class_names)
        self.batches: list[Tensor] = []

    def outputs(self, batch: Batch) -> dict[str, Tensor]:
        self.batches.append(batch["video"])
        return super().outputs(batch)


class FindGrey(Task):
    """Finds what is not dark in videos of 4 s: each of the 4 frames that are looked at stands for a second."""

    def __init__(self, model: VideoModel, class_names: Sequence[str]):
        super().__init__(model, class_names)
        self.decoder = FindGreyDecoder(self.class_names)

    def outputs(self, batch: Batch) -> dict[str, Tensor]:
        return {"greys": batch["video"].mean((1, 3, 4, 5))}


@dataclasses.dataclass(frozen=True)
class FindGreyDecoder(Decoder):
    class_names: tuple[str, ...]

    def __call__(self, outputs: Outputs, batch: Batch) -> list[Answer]:
        levels = np.array(LEVELS) / 255
        return [self._runs(np.abs(row[:, None] - levels).argmin(1).tolist()) for row in outputs["greys"]]

    def _runs(self, classes: list[int]) -> Segments:
        spans, start = [], 0
        for label, run in itertools.groupby(classes):
            end = start + len(list(run))
            if label:
                spans.append(Span(start, end, self.class_names[label], score=0.9 / (1 + len(spans))))
            start = end
        return Segments(tuple(spans))


SPEC = ClipInput(num_frames=4, short_side_px=16, crop_px=16, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


@pytest.fixture
def run(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run directory with a trained GreyMeter, which can be built by name for as long as the test takes."""
    return _run(tmp_path_factory, monkeypatch, NameGrey)


@pytest.fixture
def finder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run directory whose answers are segments."""
    return _run(tmp_path_factory, monkeypatch, FindGrey)


def _run(folders: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, task: type[Task]) -> Path:
    monkeypatch.setitem(models._entries, "grey_meter", GreyMeter)
    monkeypatch.setitem(tasks._entries, task.__name__.lower(), task)
    folder = folders.mktemp("run")
    record: dict[str, Any] = {
        "model": {"name": "grey_meter"},
        "task": {"name": task.__name__.lower()},
        "input": SPEC.to_dict(),
    }
    state = GreyMeter().state_dict()
    checkpoint.write(folder / "best.pt", {"record": record, "class_names": NAMES, "model": state, "step": 1})
    return folder


@pytest.fixture
def grey_video(tmp_path: Path) -> Callable[..., Path]:
    """Writes a video that shows each of `classes` for a second."""

    def write(name: str, classes: Sequence[int], *, size: tuple[int, int] = (32, 48), **options: Any) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_video(path, grey_frames(classes, size=size), fps=FPS, **options)
        return path

    return write


def grey_frames(classes: Sequence[int], *, size: tuple[int, int] = (32, 48)) -> np.ndarray:
    """uint8 [t h w 3], a second of each class."""
    return np.concatenate([np.full((FPS, *size, 3), LEVELS[c], np.uint8) for c in classes])
