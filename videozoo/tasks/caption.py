"""Captioning: a sentence that describes a video or a stretch of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from videozoo.contracts.input import InputSpec
from videozoo.decoding.caption import CaptionDecoder
from videozoo.errors import ConfigError
from videozoo.metrics.captions import CaptionScores
from videozoo.metrics.metric import Metric
from videozoo.models.ets import ETS, Seen
from videozoo.sentences.tokens import END, SPECIALS, START
from videozoo.tasks.graph import Graph
from videozoo.tasks.registry import register_task
from videozoo.tasks.task import Batch, Task

__all__ = ["Caption", "word_loss"]


@register_task
class Caption(Task):
    """Describes a video in words of the training captions.

    Batches hold `features` `[b t d]` and `mask` `[b t]`; for training `words` `[b n]`, a sentence's indices in the
    vocabulary without marks, -1 on padding; for evaluation `references` and `times_s`, lists. The class names are
    the vocabulary: start mark, end mark, unknown word, then words.

    Args:
        beam_size, max_words, length_penalty, unknown: see `decoding.caption.CaptionDecoder`.
        label_smoothing: share of the target spread over the vocabulary.
        dense_ious: overlaps at which ActivityNet's dense caption scores are also reported. A caption is compared with
            every true segment of its video that overlaps its segment by at least this, and the scores are averaged
            over all overlaps (published: 0.3, 0.5, 0.7, 0.9).
        meteor: report METEOR, which needs Java; without Java it is skipped with a warning.
    """

    needs = frozenset({"features", "mask", "words"})
    calls = ("encode", "step", "write")
    input_name = "captions"
    monitor = "bleu4"
    training_args = ("label_smoothing",)
    model: ETS

    def __init__(
        self,
        model: ETS,
        class_names: Sequence[str],
        *,
        beam_size: int = 3,
        max_words: int = 80,
        length_penalty: float = 0.0,
        unknown: bool = False,
        label_smoothing: float = 0.0,
        dense_ious: tuple[float, ...] = (),
        meteor: bool = True,
    ):
        super().__init__(model, class_names)
        for name, value in (("beam_size", beam_size), ("max_words", max_words)):
            if value < 1:
                raise ConfigError(f"task.{name}: is {value}; it must be at least 1")
        if tuple(class_names[: len(SPECIALS)]) != SPECIALS or len(class_names) == len(SPECIALS):
            first = ", ".join(class_names[:4])
            raise ConfigError(f"task: the vocabulary begins with {first}; it needs {', '.join(SPECIALS)}, then words")
        self.label_smoothing = label_smoothing
        self.dense_ious, self.meteor = dense_ious, meteor
        self.decoder = CaptionDecoder(self.class_names, beam_size, max_words, length_penalty, unknown)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        words = batch["words"]
        marks = words.new_full((len(words), 1), START)
        before = torch.cat([marks, words], dim=1)
        after = torch.cat([words, torch.full_like(marks, -1)], dim=1)
        after[torch.arange(len(words)), (words >= 0).sum(1)] = END
        scores = self.model(batch["features"], batch["mask"], before).float()
        right = (scores.argmax(-1) == after)[after >= 0].float().mean()
        return {"loss": word_loss(scores, after, label_smoothing=self.label_smoothing), "words_right": right}

    def outputs(self, batch: Batch) -> dict[str, Tensor]:
        found = self.decoder.outputs(self._run, batch)
        return {name: torch.from_numpy(array) for name, array in found.items()}

    def graph(self, name: str, batch: Batch) -> dict[str, Tensor]:
        """Adds the graphs "encode" and "step"; see `decoding.caption.CaptionDecoder`."""
        if name == "encode":
            return self.encode(batch["features"], batch["mask"])
        if name == "step":
            return self.step(**{key: batch[key] for key in ("word", "state", "states", "keys", "mask")})
        return super().graph(name, batch)

    def encode(self, features: Tensor, mask: Tensor) -> dict[str, Tensor]:
        seen = self.model.encode(features, mask)
        return {"states": seen.states, "keys": seen.keys, "first": seen.first}

    def step(self, word: Tensor, state: Tensor, states: Tensor, keys: Tensor, mask: Tensor) -> dict[str, Tensor]:
        scores, following, attention = self.model.step(word, state, Seen(states, keys, mask, state))
        return {"scores": scores, "next_state": following, "attention": attention}

    def graphs(self, spec: InputSpec) -> dict[str, Graph]:
        given = {"features": torch.zeros(2, 3, self.model.feature_dim), "mask": torch.ones(2, 3, dtype=torch.bool)}
        with torch.no_grad():
            seen = {**self.encode(**given), "mask": given["mask"]}
        first = seen.pop("first")
        step = {"word": torch.zeros(2, dtype=torch.int64), "state": first, **seen}
        rows = {0: "batch", 1: "rows"}
        return {
            "encode": Graph(self.encode, given, dict.fromkeys(given, rows)),
            "step": Graph(self.step, step, {"word": {0: "batch"}, "state": {0: "batch"}, **dict.fromkeys(seen, rows)}),
        }

    def metrics(self) -> list[Metric]:
        return [CaptionScores(dense_ious=self.dense_ious, meteor=self.meteor)]

    def _run(self, name: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Computes a graph for the search: states stay on the device; scores are copied from it."""
        device = self.model.head.weight.device
        given = {key: torch.from_numpy(x).to(device) if isinstance(x, np.ndarray) else x for key, x in inputs.items()}
        found: dict[str, Any] = self.graph(name, given)
        for key in found.keys() & {"scores", "attention"}:
            found[key] = found[key].detach().float().cpu().numpy()
        return found


def word_loss(scores: Tensor, words: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Returns the mean cross-entropy of scores `[b n v]` over all words `[b n]` of the batch; -1 is padding."""
    return F.cross_entropy(scores.flatten(0, 1), words.flatten(), ignore_index=-1, label_smoothing=label_smoothing)
