"""Sentences that tell of moments of videos: what every such data set gives, checked alike."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar

from videozoo.contracts.record import Truth
from videozoo.contracts.video import Span
from videozoo.data.feature_dataset import FeatureDataset, Missing, StoredRecord, without_features
from videozoo.data.files import some_of
from videozoo.errors import DataError, counted
from videozoo.io.features import FeatureStore
from videozoo.sentences.tokens import tokenize
from videozoo.sentences.vocabulary import vocabulary

__all__ = ["Query", "QueryDataset", "QueryVideo", "assemble_queries"]

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Query:
    """One sentence of an annotation file, as it stands there; `where` names the place."""

    where: str
    video: str
    sentence: str
    start_s: float
    end_s: float
    duration_s: float | None = None
    others: tuple[tuple[float, float], ...] = ()  # further moments that the sentence is true of


@dataclasses.dataclass(frozen=True, kw_only=True)
class QueryVideo(StoredRecord):
    """A sentence about moments of a video."""

    video: str
    sentence: str
    moments: tuple[tuple[float, float], ...]
    segments: tuple[Span, ...] = ()
    duration_s: float | None = None


class QueryDataset(FeatureDataset[QueryVideo]):
    """The sentences of a data set; its class names are the words of the training ones, sorted: what encoders know."""

    truth: ClassVar[frozenset[Truth]] = frozenset({"moments", "segments"})


def assemble_queries(
    path: Path,
    queries: Iterable[Query],
    *,
    features: str | Path,
    class_names: Sequence[str] | None = None,
    missing: Missing = "keep",
) -> QueryDataset:
    """The data set of `queries`; what was noted on the way is logged as warnings.

    Sentences without words and moments that end before they begin are left out. Videos without features stay: training
    replaces them and counts them as bad, evaluation names them.

    Args:
        path: the annotation file, for messages.
        features: what `FeatureStore` reads.
        class_names: the vocabulary; None takes the words of these sentences.
        missing: "skip" leaves videos without features out.

    Raises:
        DataError: no sentence that can be used, or no features of any video.
    """
    store = FeatureStore(features)
    notes: list[str] = []
    usable: list[Query] = []
    wordless: list[str] = []
    backwards: list[str] = []
    for query in queries:
        if not tokenize(query.sentence):
            wordless.append(query.where)
        elif not all(0 <= start < end < math.inf for start, end in ((query.start_s, query.end_s), *query.others)):
            backwards.append(query.where)
        else:
            usable.append(query)
    for faults, problem in (
        (wordless, "without words"),
        (backwards, "whose moment ends before it begins"),
    ):
        if faults:
            notes.append(f"{counted(len(faults), 'sentence')} {problem}, left out: {some_of(faults)}")
    if not usable:
        raise DataError(f"{path}: holds no sentence that can be used{''.join('; ' + note for note in notes)}")
    videos = dict.fromkeys(query.video for query in usable)
    keys = {video: video if video in store else Path(video).stem for video in videos}
    if gone := without_features(store, keys, path=path):
        there = [query for query in usable if query.video not in set(gone)]
        lost = len(usable) - len(there)
        left_out = ", left out" if missing == "skip" else ""
        notes.append(
            f"{len(gone)} of {len(keys)} videos without features, with {lost} of {len(usable)} sentences{left_out}: "
            f"{some_of(gone)}"
        )
        usable = there if missing == "skip" else usable
    count: Counter[str] = Counter()
    records = []
    for query in usable:
        count[query.video] += 1
        moments = ((query.start_s, query.end_s), *query.others)
        records.append(
            QueryVideo(
                id=f"{query.video}#{count[query.video]}",
                video=query.video,
                sentence=query.sentence,
                moments=moments,
                segments=tuple(Span(*moment, label=query.sentence) for moment in moments),
                duration_s=query.duration_s,
                store=store,
                key=keys[query.video],
            )
        )
    for note in notes:
        log.warning("%s: %s", path, note)
    names = tuple(class_names) if class_names is not None else vocabulary(query.sentence for query in usable)
    return QueryDataset(names, records, store, str(path), tuple(notes))
