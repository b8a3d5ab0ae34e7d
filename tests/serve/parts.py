"""Networks that numpy runs, and one whose preprocessing crashes, waits or fails for files of certain names."""

from __future__ import annotations

import dataclasses
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.slim.conftest import FPS, LEVELS, NAMES, SPEC, GrayBackend, MomentsBackend, network_of
from videozoo.contracts.input import Form
from videozoo.contracts.network import Network
from videozoo.decoding.classify import ClassifyDecoder
from videozoo.decoding.ground import GroundDecoder
from videozoo.io.encode import write_video
from videozoo.predict.extractor import Extractor
from videozoo.transforms.input import ClipInput, ClipPipeline
from videozoo.transforms.moments import MomentsInput


def gray_video(path: Path, classes: Sequence[int], *, size_px: tuple[int, int] = (32, 48)) -> Path:
    """Writes a video that shows each of `classes` for a second."""
    levels = LEVELS[list(classes)].astype(np.uint8).repeat(FPS)
    write_video(path, np.broadcast_to(levels[:, None, None, None], (len(levels), *size_px, 3)), fps=FPS)
    return path


@dataclasses.dataclass(frozen=True)
class OddPipeline:
    """A clip pipeline in which the name of a file says how it fails."""

    inner: ClipPipeline

    @property
    def spec(self) -> ClipInput:
        return self.inner.spec

    def __call__(self, record: Any, rng: Any = None, reader: Any = None) -> Any:
        name = Path(record.path).stem
        if name == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        if name == "wait":
            time.sleep(600)
        if name == "slow":
            time.sleep(5)
        if name == "exit":
            os._exit(3)
        if name == "fault":
            raise RuntimeError("a fault of the pipeline")
        if name == "memory":
            raise MemoryError
        return self.inner(record, rng, reader)


@dataclasses.dataclass(frozen=True)
class OddInput(ClipInput):
    """The input of `OddPipeline`."""

    def eval_pipeline(self, views: str | None = None, *, num_classes: int | None = None, form: Form = "tensors") -> Any:
        return OddPipeline(super().eval_pipeline(views, num_classes=num_classes, form=form))


@dataclasses.dataclass(frozen=True)
class FailingBackend(GrayBackend):
    """Fails in a way that is no error of this package."""

    def outputs(self, batch: Any, *, graph: str = "main") -> Any:
        raise RuntimeError("the accelerator is gone")


def networks() -> dict[str, Network]:
    grays = network_of(GrayBackend(SPEC), ClassifyDecoder(NAMES), SPEC)
    odd = OddInput(**{field.name: getattr(SPEC, field.name) for field in dataclasses.fields(SPEC)})
    recipe = Extractor(grays, window_s=0.5, stride_s=0.5).recipe.to_dict()
    moments = {"feature_recipe": recipe, "open_extractor": lambda: grays}
    windows = MomentsInput(window_s=(1.0,), overlap=0.5, context_s=1.0, feature_dim=len(NAMES))
    return {
        "grays": grays,
        "odd": network_of(GrayBackend(odd), ClassifyDecoder(NAMES), odd),
        "failing": network_of(FailingBackend(SPEC), ClassifyDecoder(NAMES), SPEC),
        "moments": network_of(MomentsBackend(), GroundDecoder(NAMES), windows, **moments),
    }
