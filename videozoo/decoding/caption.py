"""Captions from the symbols that a search found."""

from __future__ import annotations

import dataclasses

from videozoo.contracts.answer import Answer, Caption
from videozoo.contracts.backend import Decoder, Outputs
from videozoo.contracts.input import Batch
from videozoo.decoding.registry import register_decoder
from videozoo.sentences.tokens import join_words

__all__ = ["CaptionDecoder"]


@register_decoder
@dataclasses.dataclass(frozen=True)
class CaptionDecoder(Decoder):
    """Reads `words` `[b n]`, `lengths` `[b]`, `scores` `[b]` and `attention` `[b n t]`; `times_s` of the batch."""

    class_names: tuple[str, ...]

    def __call__(self, outputs: Outputs, batch: Batch) -> list[Answer]:
        answers: list[Answer] = []
        times = batch.get("times_s", [[None]] * len(outputs["words"]))
        for row, (length, (times_s,)) in enumerate(zip(outputs["lengths"].tolist(), times, strict=True)):
            words = tuple(self.class_names[word] for word in outputs["words"][row, :length].tolist())
            attention = None if times_s is None else outputs["attention"][row, :length, : len(times_s)]
            moments = () if times_s is None else tuple(times_s.tolist())
            answers.append(Caption(join_words(words), float(outputs["scores"][row]), words, attention, moments))
        return answers
