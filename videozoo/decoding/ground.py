"""Moments from the scores and offsets of windows for a sentence."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np

from videozoo.contracts.answer import Answer, Segments
from videozoo.contracts.backend import Decoder, Outputs, Run
from videozoo.contracts.input import Batch
from videozoo.decoding.localize import spans_of
from videozoo.decoding.registry import register_decoder

__all__ = ["GroundDecoder"]

SHORTEST_S = 1e-3


@register_decoder
@dataclasses.dataclass(frozen=True)
class GroundDecoder(Decoder):
    """Reads `fits` `[n 3]`: score (a logit) and offsets of start and end, of the windows of all samples of the batch.

    Args:
        offset_unit_s: the unit of the offsets, in seconds.
    """

    answers: ClassVar[type[Answer]] = Segments

    class_names: tuple[str, ...]
    offset_unit_s: float = 1.0

    def __call__(self, outputs: Outputs, batch: Batch) -> list[Answer]:
        answers: list[Answer] = []
        first = 0
        for candidates, sentence in zip(batch["candidates"], batch["sentence"], strict=True):
            fits = outputs["fits"][first : first + len(candidates.times_s)]
            moments, scores = self.moments(fits, candidates.times_s, candidates.duration_s)
            answers.append(Segments(spans_of(moments, [sentence] * len(scores), scores)))
            first += len(fits)
        return answers

    def outputs(self, run: Run, batch: Batch, *, graph: str = "main") -> Outputs:
        """Returns the task's outputs from the graphs "sentence" (texts to `vectors` `[n d]`), "windows" and "fits"."""
        if graph == "sentence":
            return {"vector": run("sentence", {"sentence": [batch["sentence"]]})["vectors"][0]}
        if graph != "main":
            return run(graph, batch)
        vectors = run("sentence", {"sentence": batch["sentence"]})["vectors"]
        embedded = [run("windows", {"features": candidates.features}) for candidates in batch["candidates"]]
        pairs = zip(embedded, vectors, strict=True)
        fits = [run("fits", {**windows, "vector": vector})["fits"] for windows, vector in pairs]
        return {"fits": np.concatenate(fits)}

    def moments(
        self, fits: np.ndarray, times_s: np.ndarray, duration_s: float | np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns (start and end `[n 2]` in seconds, probabilities `[n]`) of windows at `times_s` `[n 2]`.

        The offsets move both ends, but not outside the video; offsets that put the end before the start are dropped.
        """
        moved = times_s + fits[:, 1:].astype(np.float64) * self.offset_unit_s
        moved = np.clip(moved, 0.0, np.broadcast_to(np.asarray(duration_s, np.float64), len(moved))[:, None])
        is_sound = moved[:, 1] - moved[:, 0] > SHORTEST_S
        scores = 1 / (1 + np.exp(-fits[:, 0].astype(np.float64).clip(-700, 700)))
        return np.where(is_sound[:, None], moved, times_s), scores
