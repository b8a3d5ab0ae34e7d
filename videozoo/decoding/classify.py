"""Labels of clips or features: soft-max or sigmoid, averaged over views."""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np

from videozoo.contracts.answer import Answer, Labels
from videozoo.contracts.backend import STREAM, Decoder, Outputs, Run
from videozoo.contracts.input import Batch
from videozoo.decoding.activations import sigmoid, softmax
from videozoo.decoding.registry import register_decoder

__all__ = ["ClassifyDecoder"]


@register_decoder
@dataclasses.dataclass(frozen=True)
class ClassifyDecoder(Decoder):
    """Reads `scores` `[b v k]`, the class scores of each view of each sample, before the activation.

    Args:
        multi_label: independent probabilities instead of a soft-max.
        average: views are averaged as probabilities ("prob") or before the activation ("score").
    """

    class_names: tuple[str, ...]
    multi_label: bool = False
    average: Literal["prob", "score"] = "score"

    def __call__(self, outputs: Outputs, batch: Batch) -> list[Answer]:
        return [Labels(scores=probs, names=self.class_names) for probs in self.probs(outputs["scores"])]

    def outputs(self, run: Run, batch: Batch, *, graph: str = "main") -> Outputs:
        """Returns `scores`, for the graph "features" also `features`; a stored graph of clips takes `[n t c h w]`.

        The graph "stream" takes frames `[n c h w]`, and its outputs include the state after them.
        """
        if "features" in batch:
            return run(graph, {name: batch[name] for name in ("features", "mask")})
        video = batch["video"]
        if graph == STREAM:
            found = run(STREAM, {**batch, "frame": video.reshape(-1, *video.shape[3:])})
            return {**found, "scores": found["scores"].reshape(*video.shape[:2], -1)}
        found = run("main", {"video": video.reshape(-1, *video.shape[2:])})
        names = ("features", "scores") if graph == "features" else ("scores",)
        return {name: found[name].reshape(*video.shape[:2], -1) for name in names}

    def probs(self, scores: np.ndarray) -> np.ndarray:
        """Returns probabilities `[b k]` of scores `[b v k]`."""
        activation = sigmoid if self.multi_label else softmax
        return activation(scores).mean(1) if self.average == "prob" else activation(scores.mean(1))
