"""Networks that numpy runs, on windows or frame by frame, and videos whose gray is their class."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.slim.conftest import LEVELS, NAMES, GrayBackend, network_of
from videozoo.contracts.backend import Outputs, State
from videozoo.contracts.input import Batch
from videozoo.contracts.network import Network
from videozoo.decoding.classify import ClassifyDecoder
from videozoo.io.encode import write_video
from videozoo.stream.messages import Message, Summary
from videozoo.stream.session import Settings, StreamSession
from videozoo.stream.source import Source, open_source
from videozoo.transforms.input import ClipInput

FPS = 10
SPEC = ClipInput(
    num_frames=5,
    sampling="dense",
    fps=FPS,
    short_side_px=16,
    crop_px=16,
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
    resize="pillow",
)


@dataclasses.dataclass(frozen=True)
class CountingBackend(GrayBackend):
    """Also runs frame by frame; counts the frames of the stream in its state and in `seen`, and may be slow."""

    slow_s: float = 0.0
    seen: list[int] = dataclasses.field(default_factory=list)

    def start(self, num_streams: int = 1) -> State | None:
        return {"count": np.zeros((num_streams, 1))}

    def step(self, batch: Batch, state: Mapping[str, Any]) -> tuple[Outputs, State]:
        time.sleep(self.slow_s)
        count = state["count"] + 1
        self.seen.append(int(count[0, 0]))
        return self.outputs(batch), {"count": count}


@pytest.fixture
def windowed() -> Network:
    return network_of(GrayBackend(SPEC), ClassifyDecoder(NAMES), SPEC)


@pytest.fixture
def counting() -> Network:
    return counting_network()


def counting_network(slow_s: float = 0.0) -> Network:
    return network_of(CountingBackend(SPEC, slow_s=slow_s), ClassifyDecoder(NAMES), SPEC)


@pytest.fixture
def gray_video(tmp_path: Path) -> Callable[..., Path]:
    """Writes a video that shows each of `classes` for a second."""

    def write(name: str, classes: Sequence[int], **options: Any) -> Path:
        path = tmp_path / name
        levels = LEVELS[list(classes)].astype(np.uint8).repeat(FPS)
        frames = np.tile(levels[:, None, None, None], (1, 32, 48, 3))
        write_video(path, frames, fps=FPS, **options)
        return path

    return write


def streamed(network: Network, source: str | Path | Source, **settings: Any) -> tuple[list[Message], Summary]:
    """All messages of a stream, and its summary; files are read without waiting."""
    opened = source if isinstance(source, Source) else open_source(str(source), fast=True)
    messages: list[Message] = []
    summary = StreamSession(network, opened, Settings(**settings)).run(messages.append)
    assert messages[-1] is summary
    return messages, summary


def of_kind(messages: Sequence[Message], kind: type) -> list[Any]:
    return [message for message in messages if isinstance(message, kind)]
