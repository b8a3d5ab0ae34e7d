"""Shots and their boundaries from the scores of all frames."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np

from videozoo.contracts.answer import Answer, Boundary, Shots
from videozoo.contracts.backend import Decoder, Outputs, Run
from videozoo.contracts.input import Batch
from videozoo.contracts.video import Span
from videozoo.decoding.activations import sigmoid
from videozoo.decoding.registry import register_decoder
from videozoo.transforms.shots import Film

__all__ = ["ShotsDecoder", "shots_of"]


@register_decoder
@dataclasses.dataclass(frozen=True)
class ShotsDecoder(Decoder):
    """Reads `scores` `[n t 2]`, the logits of the windows of all films of the batch; the first of the two decides.

    Args:
        threshold: probability above which a frame belongs to a boundary.
    """

    answers: ClassVar[type[Answer]] = Shots

    class_names: tuple[str, ...]
    threshold: float = 0.5

    def __call__(self, outputs: Outputs, batch: Batch) -> list[Answer]:
        answers: list[Answer] = []
        first = 0
        for film in batch["film"]:
            windows = outputs["scores"][first : first + film.num_windows, :, 0]
            used = windows[:, film.overlap_frames : film.overlap_frames + film.step_frames].reshape(-1)[: len(film)]
            answers.append(shots_of(sigmoid(used), film.times_s, threshold=self.threshold))
            first += film.num_windows
        return answers

    def outputs(self, run: Run, batch: Batch, *, graph: str = "main") -> Outputs:
        """Returns the task's outputs; the stored graph takes windows `[k t 3 h w]`."""
        films: list[Film] = batch["film"]
        parts = [run(graph, {"video": clips})["scores"] for film in films for clips in film.clips()]
        return {"scores": np.concatenate(parts)}


def shots_of(scores: np.ndarray, times_s: np.ndarray, *, threshold: float) -> Shots:
    """Returns the shots of frames with boundary probabilities `[n]`.

    A run of frames above the threshold is a boundary: its first frame still belongs to the shot before it, the others
    belong to no shot. Frames above the threshold at the very beginning or end belong to no shot.

    Args:
        times_s: the start of each frame, and the end of the last one `[n+1]`.
    """
    is_shot = np.concatenate([[False], scores <= threshold, [False]])
    edges = np.flatnonzero(is_shot[1:] != is_shot[:-1])
    first, end = edges[::2], edges[1::2]  # runs of frames below the threshold
    if not len(first):
        first, end = np.array([0]), np.array([len(scores)])
    after = np.minimum(end + 1, len(scores))  # the frame after each shot
    spans = [
        Span(float(times_s[a]), float(times_s[b]), f"shot {number}")
        for number, (a, b) in enumerate(zip(first, after, strict=True), start=1)
    ]
    boundaries = [
        Boundary(float(times_s[a]), float(times_s[b]), float(scores[e:b].max()))
        for e, a, b in zip(end[:-1], after[:-1], first[1:], strict=True)
    ]
    return Shots(tuple(spans), boundaries=tuple(boundaries), scores=scores, times_s=tuple(times_s[:-1].tolist()))
