"""Grounding: the moment of a video that a sentence describes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from videozoo.contracts.dataset import Dataset
from videozoo.contracts.input import InputSpec
from videozoo.contracts.intervals import interval_iou
from videozoo.decoding.ground import GroundDecoder
from videozoo.errors import ConfigError
from videozoo.layers.grounding_loss import alignment_loss, offset_loss
from videozoo.metrics.grounding import MomentRecall
from videozoo.metrics.metric import Metric
from videozoo.models.tall import Tall
from videozoo.sentences.encoder import build_encoder
from videozoo.tasks.graph import Graph
from videozoo.tasks.registry import register_task
from videozoo.tasks.task import Batch, Task

__all__ = ["Ground"]


@register_task
class Ground(Task):
    """Finds the moments of a video that match a sentence.

    Training batches hold `windows` `[b 3d]`, `window` and `moment` `[b 2]` in seconds, `sentence` and `video`, lists of
    text; evaluation batches `candidates`, a list of `transforms.moments.Windows`, and `sentence`.

    The loss compares every sentence of a batch with every window. Two kinds of pairs from different samples are not
    negatives: equal sentences, and a window that overlaps the moment of the other sentence in the same video by 0.5 or
    more. They are ignored, and `ignored` is their share of all pairs.

    Args:
        encoder: the sentence encoder, e.g. {name: minilm}; its `dim` is the model's `sentence_dim`.
        encoder_sha256: SHA-256 of the encoder in training; filled in when training starts.
        offset_weight: weight of the loss of the moments' ends.
        offset_unit_s: the unit of the model's offsets, in seconds; TALL's unit is a frame.
    """

    needs = frozenset({"windows", "window", "moment", "sentence", "video"})
    calls = ("answer", "embed_windows", "pairs")
    input_name = "moments"
    monitor = "r1_iou0.5"
    training_args = ("offset_weight",)
    learned_args = ("encoder_sha256", "offset_unit_s")
    model: Tall

    def __init__(
        self,
        model: Tall,
        class_names: Sequence[str],
        *,
        encoder: dict[str, Any],
        encoder_sha256: str | None = None,
        offset_weight: float = 0.01,
        offset_unit_s: float = 1.0,
    ):
        super().__init__(model, class_names)
        self.encoder = build_encoder(encoder, vocabulary=class_names, sha256=encoder_sha256, where="task.encoder")
        if self.encoder.dim != model.sentence_dim:
            raise ConfigError(
                f"model.sentence_dim: is {model.sentence_dim}; the encoder '{encoder['name']}' gives {self.encoder.dim}"
            )
        if not offset_unit_s > 0:
            raise ConfigError(f"task.offset_unit_s: is {offset_unit_s}; give seconds above 0")
        self.offset_weight, self.offset_unit_s = offset_weight, offset_unit_s
        self.decoder = GroundDecoder(self.class_names, offset_unit_s)

    @classmethod
    def fill_in(cls, args: Mapping[str, Any], records: Dataset[Any]) -> dict[str, Any]:
        encoder = build_encoder(args["encoder"], vocabulary=records.class_names, where="task.encoder")
        return {**args, "encoder_sha256": encoder.sha256}

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        windows = batch["windows"]
        scores, *offsets = self.model.pairs(windows, self.encode(batch["sentence"])).float()
        ignore = self._belong_together(batch).to(windows.device)
        alignment = alignment_loss(scores, ignore=ignore)
        own = torch.stack([offset.diagonal() for offset in offsets], dim=1)
        offset = offset_loss(own, ((batch["moment"] - batch["window"]) / self.offset_unit_s).float())
        loss = alignment + self.offset_weight * offset
        return {"loss": loss, "alignment": alignment, "offset": offset, "ignored": ignore.float().mean()}

    def outputs(self, batch: Batch) -> dict[str, Tensor]:
        """Returns `fits` `[n 3]`: scores and offsets of all windows of all samples for their sentences."""
        vectors = self.encode(batch["sentence"])
        features = [torch.from_numpy(candidates.features).to(vectors.device) for candidates in batch["candidates"]]
        embedded = torch.split(self.model.embed_windows(torch.cat(features)), [len(rows) for rows in features])
        return {"fits": torch.cat([self.model.answer(*pair) for pair in zip(embedded, vectors, strict=True)])}

    def graph(self, name: str, batch: Batch) -> dict[str, Tensor]:
        """Adds three graphs for search.

        "windows": `features` `[n 3d]` of windows to `embedded` `[n e]`; "sentence": text to `vector` `[d]`;
        "fits": `embedded` and `vector` to `fits` `[n 3]`.
        """
        if name == "windows":
            return self.windows(batch["features"])
        if name == "sentence":
            return {"vector": self.encode([batch["sentence"]])[0]}
        if name == "fits":
            return self.fits(batch["embedded"], batch["vector"])
        return super().graph(name, batch)

    def windows(self, features: Tensor) -> dict[str, Tensor]:
        return {"embedded": self.model.embed_windows(features)}

    def fits(self, embedded: Tensor, vector: Tensor) -> dict[str, Tensor]:
        return {"fits": self.model.answer(embedded, vector)}

    def graphs(self, spec: InputSpec) -> dict[str, Graph]:
        features = torch.zeros(2, 3 * self.model.feature_dim)
        fits = {"embedded": torch.zeros(2, self.model.num_features), "vector": torch.zeros(self.model.sentence_dim)}
        found = {
            "windows": Graph(self.windows, {"features": features}, {"features": {0: "windows"}}),
            "fits": Graph(self.fits, fits, {"embedded": {0: "windows"}}),
        }
        if self.encoder.module is not None:
            tokens = {"ids": torch.ones(2, 3, dtype=torch.int64), "mask": torch.ones(2, 3, dtype=torch.bool)}
            axes = {0: "sentences", 1: "tokens"}
            found["tokens"] = Graph(self._of_tokens, tokens, dict.fromkeys(tokens, axes))
        return found

    def _of_tokens(self, ids: Tensor, mask: Tensor) -> dict[str, Tensor]:
        return {"vectors": self.encoder.module(ids, mask)}

    def metrics(self) -> list[Metric]:
        return [MomentRecall()]

    def encode(self, sentences: Sequence[str]) -> Tensor:
        """Returns vectors of sentences on the model's device; each sentence is encoded once.

        Raises:
            DataError: a sentence is empty, or has no words that the encoder knows.
        """
        weight = self.model.sentence.weight
        return torch.from_numpy(self.encoder(sentences)).to(weight.device, weight.dtype)

    def _belong_together(self, batch: Batch) -> Tensor:
        """Returns `[b b]`, sentences by windows: True off the diagonal where a pair is not a negative."""
        of_sentence, of_video = _numbers(batch["sentence"]), _numbers(batch["video"])
        same_words, same_video = of_sentence[:, None] == of_sentence, of_video[:, None] == of_video
        iou = interval_iou(batch["moment"].cpu().numpy()[:, None], batch["window"].cpu().numpy())
        together = same_words | (same_video & torch.from_numpy(iou >= 0.5))
        return together & ~torch.eye(len(of_sentence), dtype=torch.bool)


def _numbers(texts: Sequence[str]) -> Tensor:
    """Returns one number for each text, equal for equal texts."""
    return torch.from_numpy(np.unique(np.array(texts, dtype=object).astype(str), return_inverse=True)[1])
