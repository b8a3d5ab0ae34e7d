"""Retrieval: videos and sentences as vectors, near each other where they belong together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from videozoo.contracts.input import InputSpec
from videozoo.decoding.retrieve import RetrieveDecoder
from videozoo.errors import ConfigError
from videozoo.layers.contrastive_loss import contrastive_loss
from videozoo.metrics.metric import Metric
from videozoo.metrics.retrieval import RetrievalScores
from videozoo.models.pe_core import PeCore
from videozoo.sentences.clip_bpe import encode
from videozoo.tasks.graph import Graph
from videozoo.tasks.registry import register_task
from videozoo.tasks.task import Batch, Task
from videozoo.transforms.input import ClipInput

__all__ = ["Retrieve"]

LARGEST_SCALE = 100.0  # of the scores, as in CLIP


@register_task
class Retrieve(Task):
    """Finds videos by sentences, and sentences by videos.

    Training batches hold `video` `[b t c h w]` and `description`, a list of text. In evaluation `video` is
    `[b v t c h w]`, and `captions` has any number of sentences for each video.

    The loss compares every video of a batch with every sentence, in both directions; equal sentences count as the same.

    Args:
        freeze: the part that keeps its weights: "image", "text" or "none".
    """

    needs = frozenset({"video", "description"})
    input_name = "captioned_clip"
    monitor = "r1"
    training_args = ("freeze",)
    model: PeCore

    def __init__(self, model: PeCore, class_names: Sequence[str], *, freeze: Literal["none", "image", "text"] = "none"):
        super().__init__(model, class_names)
        for name in ("image", "text"):
            getattr(model, name).requires_grad_(name != freeze)
        self._context = model.context

    @property
    def decoder(self) -> RetrieveDecoder:  # type: ignore[override]  # the scale changes in training
        scale = float(self.model.logit_scale.detach().exp().clamp(max=LARGEST_SCALE))
        return RetrieveDecoder(self.class_names, round(scale, 6), self._context)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        videos = self.model(batch["video"])
        texts = self.model.forward_text(self._tokens(batch["description"]))
        scale = self.model.logit_scale.exp().clamp(max=LARGEST_SCALE).squeeze()
        numbers = {sentence: number for number, sentence in enumerate(batch["description"])}
        same = torch.tensor([numbers[sentence] for sentence in batch["description"]], device=texts.device)
        return {"loss": contrastive_loss(scale * videos.float() @ texts.float().T, same), "scale": scale.detach()}

    def outputs(self, batch: Batch) -> dict[str, Tensor]:
        video = batch["video"]
        found = self.of_clips(video.flatten(0, 1))
        found = {"vectors": torch.unflatten(found["vectors"], 0, video.shape[:2])}
        if "captions" in batch:
            sentences = [caption for captions in batch["captions"] for caption in captions]
            found |= self.of_tokens(self._tokens(sentences))
        return found

    def graph(self, name: str, batch: Batch) -> dict[str, Tensor]:
        """Adds the graph "text": `sentences`, a list of text, to `texts` `[n d]`."""
        return self.of_tokens(self._tokens(batch["sentences"])) if name == "text" else super().graph(name, batch)

    def graphs(self, spec: InputSpec) -> dict[str, Graph]:
        if not isinstance(spec, ClipInput):
            raise ConfigError(f"input '{spec.recipe_name}': the export of '{self.recipe_name}' takes clips; use 'clip'")
        video = torch.zeros(2, *self.model.input_shape)
        tokens = torch.from_numpy(encode(["a video", "another video"], context=self._context))
        return {
            "main": Graph(self.of_clips, {"video": video}, {"video": {0: "clips"}}),
            "text": Graph(self.of_tokens, {"tokens": tokens}, {"tokens": {0: "sentences"}}),
        }

    def of_clips(self, video: Tensor) -> dict[str, Tensor]:
        return {"vectors": self.model(video)}

    def of_tokens(self, tokens: Tensor) -> dict[str, Tensor]:
        return {"texts": self.model.forward_text(tokens)}

    def metrics(self) -> list[Metric]:
        return [RetrievalScores()]

    def _tokens(self, sentences: Sequence[str]) -> Tensor:
        return torch.from_numpy(encode(sentences, context=self._context)).to(self.model.logit_scale.device)
