"""Vectors of videos, and labels by comparison with the vectors of sentences."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from videozoo.contracts.answer import Answer, Embedding, Labels
from videozoo.contracts.backend import Decoder, Outputs, Run
from videozoo.contracts.input import Batch
from videozoo.decoding.activations import softmax
from videozoo.decoding.registry import register_decoder
from videozoo.errors import ConfigError
from videozoo.sentences.clip_bpe import encode

__all__ = ["TEMPLATES", "RetrieveDecoder", "SentenceLabels"]

TEMPLATES = ("{}", "a video of {}.", "a video of a person who {}.", "a clip in which someone {}.", "a photo of {}.")


@register_decoder
@dataclasses.dataclass(frozen=True)
class RetrieveDecoder(Decoder):
    """Reads `vectors` `[b v d]` of the views of videos, and `texts` `[n d]` of their sentences if the data has any.

    Args:
        scale: factor of the products before the soft-max over labels.
        context: most tokens of a sentence.
    """

    answers: ClassVar[type[Answer]] = Embedding

    class_names: tuple[str, ...]
    scale: float = 100.0
    context: int = 32

    def __call__(self, outputs: Outputs, batch: Batch) -> list[Answer]:
        vectors = outputs["vectors"].mean(1)
        if "captions" not in batch:
            return [Embedding(vector) for vector in vectors]
        ends = np.cumsum([len(captions) for captions in batch["captions"]])
        texts = np.split(outputs["texts"], ends[:-1])
        return [Embedding(vector, rows) for vector, rows in zip(vectors, texts, strict=True)]

    def outputs(self, run: Run, batch: Batch, *, graph: str = "main") -> Outputs:
        """Returns `vectors`; for the graph "text" the vectors of `sentences`."""
        if graph == "text":
            return run("text", {"tokens": encode(batch["sentences"], context=self.context)})
        video = batch["video"]
        vectors = run("main", {"video": video.reshape(-1, *video.shape[2:])})["vectors"]
        found = {"vectors": vectors.reshape(*video.shape[:2], -1)}
        if "captions" not in batch:
            return found
        sentences = [caption for captions in batch["captions"] for caption in captions]
        return {**found, "texts": self.outputs(run, {"sentences": sentences}, graph="text")["texts"]}

    def for_labels(self, labels: Sequence[str], run: Run) -> SentenceLabels:
        names = tuple(" ".join(label.split()) for label in labels)
        if len(names) < 2 or not all(names) or len(set(names)) < len(names):
            raise ConfigError(f"labels: got {', '.join(names) or 'none'}; give two or more, each once")
        sentences = [template.format(name) for name in names for template in TEMPLATES]
        found = run("text", {"sentences": sentences})["texts"].reshape(len(names), len(TEMPLATES), -1).mean(1)
        vectors = found / np.linalg.norm(found, axis=1, keepdims=True).clip(1e-12)
        return SentenceLabels(names, vectors, self.scale)


@dataclasses.dataclass(frozen=True)
class SentenceLabels(Decoder):
    """Compares videos with the vectors of labels `[k d]`: a soft-max over the labels."""

    class_names: tuple[str, ...]
    vectors: np.ndarray = dataclasses.field(repr=False)
    scale: float

    def __call__(self, outputs: Outputs, batch: Batch) -> list[Answer]:
        probs = softmax(self.scale * outputs["vectors"].mean(1) @ self.vectors.T)
        return [Labels(scores=row, names=self.class_names) for row in probs]
