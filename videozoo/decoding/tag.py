"""Labels of videos from stored features: any number of them."""

from __future__ import annotations

import dataclasses

from videozoo.contracts.answer import Answer, Labels
from videozoo.contracts.backend import Decoder, Outputs
from videozoo.contracts.input import Batch
from videozoo.decoding.activations import sigmoid
from videozoo.decoding.registry import register_decoder

__all__ = ["TagDecoder"]


@register_decoder
@dataclasses.dataclass(frozen=True)
class TagDecoder(Decoder):
    """Reads `scores` `[b k]`, before the sigmoid."""

    class_names: tuple[str, ...]

    def __call__(self, outputs: Outputs, batch: Batch) -> list[Answer]:
        return [Labels(scores=probs, names=self.class_names) for probs in sigmoid(outputs["scores"])]
