"""Networks that numpy runs: videos whose brightness is their class, and sentences that name a brightness."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from videozoo.contracts.backend import Outputs
from videozoo.contracts.input import Batch, Form, InputSpec
from videozoo.contracts.network import Network
from videozoo.decoding.classify import ClassifyDecoder
from videozoo.decoding.ground import GroundDecoder
from videozoo.io.encode import write_video
from videozoo.predict.extractor import Extractor
from videozoo.transforms.collate import collate
from videozoo.transforms.input import ClipInput
from videozoo.transforms.moments import MomentsInput

NAMES = ("dark", "dim", "light", "bright")
LEVELS = np.array([20, 90, 160, 230], np.float32)  # gray of each class
FPS = 10
SPEC = ClipInput(num_frames=4, short_side_px=16, crop_px=16, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


@dataclasses.dataclass(frozen=True)
class GrayBackend:
    """Scores four grays by how near the mean of a view is; its features are the distances."""

    spec: InputSpec
    form: Form = "arrays"

    def collate(self, samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        return collate(samples)

    def outputs(self, batch: Batch, *, graph: str = "main") -> Outputs:
        video = self.spec.to_arrays(batch)["video"]
        distances = np.abs(video.mean((2, 3, 4, 5))[..., None] - LEVELS / 255)
        return {"scores": -30 * distances} | ({"features": distances} if graph == "features" else {})


@dataclasses.dataclass(frozen=True)
class MomentsBackend:
    """Matches a sentence, of which one word names a gray, to the windows whose own features are nearest to it."""

    form: Form = "arrays"

    def collate(self, samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        return collate(samples)

    def outputs(self, batch: Batch, *, graph: str = "main") -> Outputs:
        if graph == "windows":
            return {"embedded": np.split(batch["features"], 3, axis=1)[1]}
        if graph == "sentence":
            return {"vector": np.array([name in batch["sentence"].split() for name in NAMES], np.float32)}
        near = 5 - 50 * batch["embedded"] @ batch["vector"]
        return {"fits": np.stack([near, 0 * near, 0 * near], axis=1)}


def network_of(backend: Any, decoder: Any, spec: InputSpec, **more: Any) -> Network:
    return Network(
        source="stub",
        name="stub",
        task=decoder.recipe_name,
        backend=backend,
        decoder=decoder,
        spec=spec,
        num_features=len(NAMES),
        fingerprint=lambda: "0" * 64,
        write=lambda path, arrays: None,
        **more,
    )


@pytest.fixture
def grays() -> Network:
    return network_of(GrayBackend(SPEC), ClassifyDecoder(NAMES), SPEC)


@pytest.fixture
def moments(grays: Network) -> Network:
    recipe = Extractor(grays, window_s=0.5, stride_s=0.5).recipe
    spec = MomentsInput(window_s=(1.0,), overlap=0.5, context_s=1.0, feature_dim=len(NAMES))
    return network_of(
        MomentsBackend(), GroundDecoder(NAMES), spec, feature_recipe=recipe.to_dict(), open_extractor=lambda: grays
    )


@pytest.fixture
def gray_video(tmp_path: Path) -> Callable[[str, Sequence[int]], Path]:
    """Writes a video that shows each of `classes` for a second."""

    def write(name: str, classes: Sequence[int]) -> Path:
        path = tmp_path / name
        levels = LEVELS[list(classes)].astype(np.uint8).repeat(FPS)
        write_video(path, np.broadcast_to(levels[:, None, None, None], (len(levels), 32, 48, 3)), fps=FPS)
        return path

    return write
