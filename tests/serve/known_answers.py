"""Networks whose answers are known, one for each kind of answer that the page shows."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np

from tests.slim.conftest import NAMES, SPEC, GrayBackend, MomentsBackend, network_of
from videozoo.contracts.answer import Answer, BoxMark, Caption, Segments
from videozoo.contracts.backend import Decoder, Outputs
from videozoo.contracts.input import Batch
from videozoo.contracts.network import Network
from videozoo.contracts.video import Span
from videozoo.decoding.classify import ClassifyDecoder
from videozoo.decoding.ground import GroundDecoder
from videozoo.predict.extractor import Extractor
from videozoo.transforms.moments import MomentsInput

HOSTILE = "<img src=x onerror=\"document.title='owned'\"> & <b>"
SENTENCE = "the picture turns <i>bright</i> & then dim"
SPANS = (Span(1.03, 2.0, "bright", 0.9), Span(2.5, 3.9, HOSTILE, 0.6), Span(3.2, 5.0, "dim", 0.5))


@dataclasses.dataclass(frozen=True)
class SegmentsDecoder(Decoder):
    class_names: tuple[str, ...]

    recipe_name: ClassVar[str] = "segments"
    answers: ClassVar[type[Answer]] = Segments

    def __call__(self, outputs: Outputs, batch: Batch) -> list[Answer]:
        return [Segments(SPANS) for _ in outputs["scores"]]


@dataclasses.dataclass(frozen=True)
class SentenceDecoder(Decoder):
    class_names: tuple[str, ...]

    recipe_name: ClassVar[str] = "sentence"
    answers: ClassVar[type[Answer]] = Caption

    def __call__(self, outputs: Outputs, batch: Batch) -> list[Answer]:
        words = tuple(SENTENCE.split())
        attention = np.full((len(words), 3), 1 / 3)
        return [Caption(SENTENCE, 0.8, words, attention, (1.0, 3.0, 5.0)) for _ in outputs["scores"]]


class Boxes(Segments):
    """A box that moves by 2 px each second; there is none in the first second."""

    def marks_at(self, time_s: float) -> tuple[BoxMark, ...]:
        left_px = 4.0 + 2 * int(time_s)
        return (BoxMark(left_px, 8, left_px + 12, 24, HOSTILE, "1"),) if time_s >= 1 else ()


@dataclasses.dataclass(frozen=True)
class BoxesDecoder(Decoder):
    class_names: tuple[str, ...]

    recipe_name: ClassVar[str] = "boxes"
    answers: ClassVar[type[Answer]] = Boxes

    def __call__(self, outputs: Outputs, batch: Batch) -> list[Answer]:
        return [Boxes(SPANS[:1]) for _ in outputs["scores"]]


def networks() -> dict[str, Network]:
    """Returns the networks by name; `labels` names the gray of a picture."""
    names = ("dark", "dim", HOSTILE, "bright")
    grays = network_of(GrayBackend(SPEC), ClassifyDecoder(names), SPEC)
    recipe = Extractor(grays, window_s=0.5, stride_s=0.5).recipe.to_dict()
    moments = MomentsInput(window_s=(1.0,), overlap=0.5, context_s=1.0, feature_dim=len(NAMES))
    decoder = GroundDecoder(NAMES)
    return {
        "labels": grays,
        "segments": network_of(GrayBackend(SPEC), SegmentsDecoder(names), SPEC),
        "sentence": network_of(GrayBackend(SPEC), SentenceDecoder(names), SPEC),
        "boxes": network_of(GrayBackend(SPEC), BoxesDecoder(names), SPEC),
        "search": network_of(MomentsBackend(), decoder, moments, feature_recipe=recipe, open_extractor=lambda: grays),
    }
