"""Caption metrics: BLEU, METEOR, ROUGE-L and CIDEr, for given segments and by the dense captioning protocol.

`sentences.tokens.tokenize` splits the sentences. BLEU is implemented here; pycocoevalcap provides ROUGE-L, CIDEr and
METEOR, which is a Java program. Metrics whose tools are missing are skipped with one warning.
"""

from __future__ import annotations

import functools
import logging
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from videozoo.contracts.answer import Caption
from videozoo.contracts.intervals import interval_iou
from videozoo.errors import DataError, MissingPackageError, require
from videozoo.metrics import meteor
from videozoo.metrics.interval import jackknife_intervals, left_out, proportions, score_intervals, unit_numbers
from videozoo.metrics.parts import Interval, Part, Table
from videozoo.sentences.tokens import tokenize

__all__ = ["CaptionScores", "Pair", "bleu", "caption_scores", "dense_scores"]

log = logging.getLogger(__name__)

NOTHING = "zqxj"  # reference of a caption without a matching segment; occurs in no sentence
TINY, SMALL = 1e-15, 1e-9
UNLIMITED = {"cider": math.inf, "dense_cider": math.inf}
INTERVAL_BLOCKS = 20  # each evaluation of CIDEr takes seconds on large data sets


class Pair(NamedTuple):
    """A caption and its references, as words joined by spaces."""

    caption: str
    references: tuple[str, ...]


Segment: TypeAlias = tuple[float, float]
Group: TypeAlias = Sequence[Pair]
Scorer: TypeAlias = Callable[[Sequence[Group]], Sequence[Mapping[str, float]]]


class _Sample(NamedTuple):
    video: str
    segment: Segment | None
    caption: str
    references: tuple[str, ...]
    unit: str


class CaptionScores:
    """Scores in percent over all captions: "bleu1" to "bleu4", "meteor", "rouge_l", "cider", and "exact".

    "exact" is the share of captions identical to one of their references. `dense_ious` adds the scores of ActivityNet's
    dense captioning protocol as "dense_..."; see `dense_scores`.

    Raises:
        DataError: a sample has no references, or occurs twice.
    """

    def __init__(self, *, dense_ious: Sequence[float] = (), meteor: bool = True):
        self.dense_ious, self.meteor = tuple(dense_ious), meteor
        self.samples: dict[str, _Sample] = {}

    def update(self, predictions: Sequence[Caption], batch: Mapping[str, Any]) -> None:
        ids = batch["id"]
        videos, segments = batch.get("video", ids), batch.get("segment", [None] * len(ids))
        units = batch.get("group", videos)
        rows = zip(ids, predictions, videos, segments, batch["references"], units, strict=True)
        for id_, caption, video, segment, references, unit in rows:
            if not references:
                raise DataError(f"{id_}: has no reference caption; evaluate on data with captions")
            self._add(id_, _Sample(video, segment, caption.text, tuple(references), unit))

    def merge(self, other: CaptionScores) -> None:
        for id_, sample in other.samples.items():
            self._add(id_, sample)

    def compute(self) -> dict[str, float]:
        if not self.samples:
            raise DataError("captions: no sample was scored; there is nothing to average")
        samples = self._sorted()
        pairs = [(sample.caption, sample.references) for sample in samples]
        scores = caption_scores(pairs, meteor=self.meteor)
        if self.dense_ious:
            scores |= {name: 100 * float(values.mean()) for name, values in self._dense()[1].items()}
        return scores

    def _dense(self) -> tuple[list[str], dict[str, np.ndarray]]:
        """Returns the videos and their dense captioning scores, 0..1, by name."""
        timed = [(s, s.segment) for s in self._sorted() if s.segment is not None]
        captions = [(s.video, segment, s.caption) for s, segment in timed]
        truth = [(s.video, segment, r) for s, segment in timed for r in s.references]
        videos, found = _dense_by_video(captions, truth, ious=self.dense_ious, meteor=self.meteor)
        return videos, {f"dense_{name}": values for name, values in found.items()}

    def intervals(self) -> list[Interval]:
        """Returns the intervals of all scores; METEOR's statistics are computed once and summed without each block."""
        samples = self._sorted()
        units = unit_numbers([sample.unit for sample in samples])
        masks = left_out(units, max_blocks=INTERVAL_BLOCKS)
        group = [_pair(sample.caption, sample.references) for sample in samples]
        groups = [group, *([pair for pair, keep in zip(group, mask, strict=True) if keep] for mask in masks)]
        found: list[dict[str, float]] = [{} for _ in groups]
        for scorer in _scorers(meteor=self.meteor):
            for scores, more in zip(found, scorer(groups), strict=True):
                scores |= {name: 100 * score for name, score in more.items()}
        exact = np.array([pair.caption in pair.references for pair in group])
        intervals = jackknife_intervals(found[0], found[1:], units, highest=UNLIMITED)
        intervals += proportions({"exact": exact}, units)
        return [*intervals, *self._dense_intervals()] if self.dense_ious else intervals

    def _dense_intervals(self) -> list[Interval]:
        videos, found = self._dense()
        unit_of = {sample.video: sample.unit for sample in self.samples.values()}

        def means(kept: np.ndarray) -> dict[str, float]:
            return {name: 100 * float(values[kept].mean()) for name, values in found.items()}

        return score_intervals(means, unit_numbers([unit_of[video] for video in videos]), highest=UNLIMITED)

    def report_parts(self) -> list[Part]:
        rows = [(id_, s.caption, s.references[0], len(s.references)) for id_, s in sorted(self.samples.items())]
        columns = ("sample", "said", "first reference", "references")
        return [Table("captions", "Captions", columns, rows, max_shown=50)]

    def _sorted(self) -> list[_Sample]:
        """Returns the samples in an order that is independent of the ranks."""
        return [self.samples[id_] for id_ in sorted(self.samples)]

    def _add(self, id_: str, sample: _Sample) -> None:
        if id_ in self.samples:
            raise DataError(f"{id_}: was scored twice; ids must be unique in a data set")
        self.samples[id_] = sample


def caption_scores(pairs: Iterable[tuple[str, Sequence[str]]], *, meteor: bool = True) -> dict[str, float]:
    """Returns the scores in percent over all pairs of (caption, its references)."""
    group = [_pair(caption, references) for caption, references in pairs]
    scores = {name: score for scorer in _scorers(meteor=meteor) for name, score in scorer([group])[0].items()}
    exact = sum(pair.caption in pair.references for pair in group) / len(group)
    return {**{name: 100 * score for name, score in scores.items()}, "exact": 100 * exact}


def dense_scores(
    captions: Iterable[tuple[str, Segment, str]],
    truth: Iterable[tuple[str, Segment, str]],
    *,
    ious: Sequence[float] = (0.3, 0.5, 0.7, 0.9),
    meteor: bool = True,
) -> dict[str, float]:
    """Returns the scores in percent of (video, segment, sentence) by ActivityNet's dense captioning protocol.

    Paper: Krishna et al., arXiv:1705.00754, section 5.1. At each IoU, a sentence is compared with every true sentence
    whose segment overlaps by at least the IoU, or with an
    empty reference. The pairs of a video are scored together; the scores are averaged over videos and IoUs. A video
    without predicted sentences scores 0.
    """
    by_video = _dense_by_video(captions, truth, ious=ious, meteor=meteor)[1]
    return {name: 100 * float(values.mean()) for name, values in by_video.items()}


def _dense_by_video(
    captions: Iterable[tuple[str, Segment, str]],
    truth: Iterable[tuple[str, Segment, str]],
    *,
    ious: Sequence[float],
    meteor: bool,
) -> tuple[list[str], dict[str, np.ndarray]]:
    """Returns the videos with a true sentence, and each video's scores, 0..1, averaged over IoUs."""
    by_video: dict[str, list[tuple[Segment, str]]] = {}
    for video, segment, sentence in truth:
        by_video.setdefault(video, []).append((segment, _clean(sentence)))
    found: dict[str, list[tuple[Segment, str]]] = {video: [] for video in by_video}
    for video, segment, sentence in captions:
        if video in found:
            found[video].append((segment, _clean(sentence)))
    groups = [
        [pair for segment, sentence in found[video] for pair in _matched(segment, sentence, by_video[video], iou)]
        for iou in ious
        for video in by_video
    ]
    full = [place for place, group in enumerate(groups) if group]
    values_of: dict[str, np.ndarray] = {}
    for scorer in _scorers(meteor=meteor) if full else ():
        for place, scores in zip(full, scorer([groups[place] for place in full]), strict=True):
            for name, score in scores.items():
                values_of.setdefault(name, np.zeros(len(groups)))[place] = score
    shape = len(ious), len(by_video)
    return list(by_video), {name: values.reshape(shape).mean(0) for name, values in values_of.items()}


def bleu(groups: Sequence[Group]) -> list[dict[str, float]]:
    """Returns BLEU-1 to BLEU-4 (Papineni et al., ACL 2002) of each group, 0..1, with the closest reference length."""
    return [_bleu(group) for group in groups]


def _bleu(group: Group) -> dict[str, float]:
    hits, guesses, length, wanted = [0] * 4, [0] * 4, 0, 0
    for caption, references in group:
        words, others = caption.split(), [reference.split() for reference in references]
        length += len(words)
        wanted += min((abs(len(other) - len(words)), len(other)) for other in others)[1]
        for n in range(1, 5):
            counts = _ngrams(words, n)
            most: Counter[tuple[str, ...]] = Counter()
            for other in others:
                most |= _ngrams(other, n)
            hits[n - 1] += (counts & most).total()
            guesses[n - 1] += max(len(words) - n + 1, 0)
    ratio = (length + TINY) / (wanted + SMALL)
    brevity = math.exp(1 - 1 / ratio) if ratio < 1 else 1.0
    scores, product = {}, 1.0
    for n in range(4):
        product *= (hits[n] + TINY) / (guesses[n] + SMALL)
        scores[f"bleu{n + 1}"] = float(product ** (1 / (n + 1)) * brevity)
    return scores


def _ngrams(words: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


def _scorers(*, meteor: bool) -> list[Scorer]:
    return [bleu, *_optional(meteor=meteor)]


@functools.cache
def _optional(*, meteor: bool) -> tuple[Scorer, ...]:
    """Returns the available scorers; warns once about missing ones."""
    try:
        rouge: Any = require("pycocoevalcap.rouge.rouge", extra="language", purpose="ROUGE-L, CIDEr and METEOR").Rouge()
        cider: Any = require("pycocoevalcap.cider.cider", extra="language", purpose="CIDEr").Cider()
    except MissingPackageError as error:
        log.warning("captions: only BLEU is reported; %s", error)
        return ()
    scorers = [functools.partial(_score_with, rouge, "rouge_l"), functools.partial(_score_with, cider, "cider")]
    return (*scorers, _meteor) if meteor and _has_java() else tuple(scorers)


def _has_java() -> bool:
    problem = meteor.problem()
    if problem:
        log.warning("captions: METEOR is skipped, the other scores are reported; %s", problem)
    return problem is None


def _score_with(scorer: Any, name: str, groups: Sequence[Group]) -> list[dict[str, float]]:
    found = []
    for group in groups:
        captions = {i: [pair.caption] for i, pair in enumerate(group)}
        references = {i: list(pair.references) for i, pair in enumerate(group)}
        found.append({name: float(scorer.compute_score(references, captions)[0])})
    return found


def _meteor(groups: Sequence[Group]) -> list[dict[str, float]]:
    return [{"meteor": score} for score in meteor.meteor(groups)]


def _matched(segment: Segment, sentence: str, truth: Sequence[tuple[Segment, str]], iou: float) -> list[Pair]:
    overlaps = interval_iou(np.array(segment), np.array([other for other, _ in truth]).reshape(-1, 2))
    pairs = [Pair(sentence, (true,)) for (_, true), overlap in zip(truth, overlaps, strict=True) if overlap >= iou]
    return pairs or [Pair(sentence, (NOTHING,))]


def _pair(caption: str, references: Sequence[str]) -> Pair:
    return Pair(_clean(caption), tuple(_clean(reference) for reference in references))


def _clean(sentence: str) -> str:
    return " ".join(tokenize(sentence))
