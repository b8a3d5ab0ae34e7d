"""Captioning: a sentence about a video, or about a stretch of it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from videozoo.decoding.caption import CaptionDecoder
from videozoo.errors import ConfigError
from videozoo.layers.beam_search import Found, beam_search
from videozoo.metrics.captions import CaptionScores
from videozoo.metrics.metric import Metric
from videozoo.models.ets import ETS, Seen
from videozoo.sentences.tokens import END, SPECIALS, START, UNKNOWN
from videozoo.tasks.registry import register_task
from videozoo.tasks.task import Batch, Task

__all__ = ["Caption", "word_loss"]


@register_task
class Caption(Task):
    """Says what happens, in words of the training captions.

    Batches hold `features` `[b t d]` and `mask` `[b t]`; for training `words` `[b n]`, a sentence's indices among the
    class names without marks, -1 behind the last; for evaluation `references` and `times_s`, lists. The class names are
    the vocabulary: start mark, end mark, unknown word, then words.

    Args:
        beam_size: hypotheses that are followed at a time; 1 is greedy.
        max_words: of a sentence; one that is longer is cut there.
        length_penalty: see `layers.beam_search`; 0 prefers short sentences.
        unknown: whether `<unk>` may be said.
        label_smoothing: share of the target spread over the vocabulary.
        dense_ious: with some, the scores of ActivityNet's dense captions are reported too: what is said of a segment is
            judged by every true segment of its video that overlaps it so much, averaged over these (published: 0.3,
            0.5, 0.7, 0.9).
        meteor: report METEOR, which needs Java; without Java it is left out, and said so.
    """

    needs = frozenset({"features", "mask", "words"})
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
            raise ConfigError(f"task: the vocabulary begins with {first}; it needs {', '.join(SPECIALS)}, and words")
        self.beam_size, self.max_words, self.length_penalty = beam_size, max_words, length_penalty
        self.unknown, self.label_smoothing = unknown, label_smoothing
        self.dense_ious, self.meteor = dense_ious, meteor
        self.decoder = CaptionDecoder(self.class_names)

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
        seen = self.model.encode(batch["features"], batch["mask"])
        found = self._search(seen)
        lengths, finished = found.lengths[:, 0], found.is_finished[:, 0]
        words = found.symbols[:, 0]
        started = torch.cat([torch.full_like(words[:, :1], START), words], dim=1)[:, :-1]
        _, attention = self.model.write(seen, started)
        scores = (found.log_probs[:, 0] / (lengths + finished).clamp(min=1)).exp()  # a word's probability, on average
        return {"words": words, "lengths": lengths, "scores": scores, "attention": attention}

    def metrics(self) -> list[Metric]:
        return [CaptionScores(dense_ious=self.dense_ious, meteor=self.meteor)]

    def _search(self, seen: Seen) -> Found:
        never = [START] if self.unknown else [START, UNKNOWN]
        beam_size = min(self.beam_size, len(self.class_names) - len(never))
        beams = Seen(*(x.repeat_interleave(beam_size, dim=0) for x in seen))

        def step(word: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
            scores, state, _ = self.model.step(word, state, beams)
            scores[:, never] = -torch.inf
            return scores.float().log_softmax(-1), state

        return beam_search(
            step,
            seen.first,
            batch_size=len(seen.first),
            start=START,
            end=END,
            beam_size=beam_size,
            max_length=self.max_words,
            min_length=1,
            length_penalty=self.length_penalty,
            device=seen.first.device,
        )


def word_loss(scores: Tensor, words: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Mean cross-entropy of scores `[b n v]` over all words `[b n]` of the batch; -1 is padding."""
    return F.cross_entropy(scores.flatten(0, 1), words.flatten(), ignore_index=-1, label_smoothing=label_smoothing)
