"""Captions from the symbols of a beam search."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from videozoo.contracts.answer import Answer, Caption
from videozoo.contracts.backend import Decoder, Outputs, Run
from videozoo.contracts.input import Batch
from videozoo.decoding.activations import log_softmax
from videozoo.decoding.beam_search import beam_search
from videozoo.decoding.registry import register_decoder
from videozoo.sentences.tokens import END, START, UNKNOWN, join_words

__all__ = ["CaptionDecoder"]


@register_decoder
@dataclasses.dataclass(frozen=True)
class CaptionDecoder(Decoder):
    """Reads `words` `[b n]`, `lengths` `[b]`, `scores` `[b]` and `attention` `[b n t]`; `times_s` of the batch.

    The decoder also searches for the words, with two graphs. "encode" takes `features` `[b t d]` and `mask` `[b t]`
    and gives `first` `[b h]`, the state before the first word, and arrays for "step". "step" takes these, `mask`,
    `word` `[b]` and `state` `[b h]`, and gives `scores` `[b v]` of the next word, `next_state` and `attention` `[b t]`.

    Args:
        beam_size: number of hypotheses kept at each step; 1 is greedy search.
        max_words: largest number of words of a sentence; longer sentences are cut.
        length_penalty: see `decoding.beam_search`; 0 prefers short sentences.
        unknown: whether a caption may contain `<unk>`.
    """

    answers: ClassVar[type[Answer]] = Caption

    class_names: tuple[str, ...]
    beam_size: int = 3
    max_words: int = 80
    length_penalty: float = 0.0
    unknown: bool = False

    def outputs(self, run: Run, batch: Batch, *, graph: str = "main") -> Outputs:
        """Returns the likeliest words of each sample; `scores` are the mean probabilities of a word."""
        if graph != "main":
            return run(graph, batch)
        given = {name: batch[name] for name in ("features", "mask")}
        seen = {**run("encode", given), "mask": given["mask"]}
        first = seen.pop("first")
        never = [START] if self.unknown else [START, UNKNOWN]
        beam_size = min(self.beam_size, len(self.class_names) - len(never))
        rows = np.repeat(np.arange(len(first)), beam_size)
        beams = {name: array[rows] for name, array in seen.items()}

        def step(word: np.ndarray, state: Any) -> tuple[np.ndarray, Any]:
            found = run("step", {"word": word, "state": state, **beams})
            scores = found["scores"].copy()
            scores[:, never] = -np.inf
            return log_softmax(scores), found["next_state"]

        best = beam_search(
            step,
            first,
            batch_size=len(first),
            start=START,
            end=END,
            beam_size=beam_size,
            max_length=self.max_words,
            min_length=1,
            length_penalty=self.length_penalty,
        )
        words, lengths = best.symbols[:, 0], best.lengths[:, 0]
        num_rated = (lengths + best.is_finished[:, 0]).clip(min=1)
        return {
            "words": words,
            "lengths": lengths,
            "scores": np.exp(best.log_probs[:, 0] / num_rated).astype(np.float32),
            "attention": _attention(run, words, first, seen),
        }

    def __call__(self, outputs: Outputs, batch: Batch) -> list[Answer]:
        answers: list[Answer] = []
        times = batch.get("times_s", [[None]] * len(outputs["words"]))
        for row, (length, (times_s,)) in enumerate(zip(outputs["lengths"].tolist(), times, strict=True)):
            words = tuple(self.class_names[word] for word in outputs["words"][row, :length].tolist())
            attention = None if times_s is None else outputs["attention"][row, :length, : len(times_s)]
            moments = () if times_s is None else tuple(times_s.tolist())
            answers.append(Caption(join_words(words), float(outputs["scores"][row]), words, attention, moments))
        return answers


def _attention(run: Run, words: np.ndarray, state: Any, seen: Mapping[str, Any]) -> np.ndarray:
    """Returns the attention `[b n t]` for the words `[b n]`."""
    rows = []
    for before in np.concatenate([np.full_like(words[:, :1], START), words[:, :-1]], axis=1).T:
        found = run("step", {"word": np.ascontiguousarray(before), "state": state, **seen})
        state = found["next_state"]
        rows.append(found["attention"])
    return np.stack(rows, axis=1)
