"""Data sets of sentences that describe moments of videos, with the checks that they share."""

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
from videozoo.data.feature_dataset import FeatureDataset, Missing, StoredRecord, with_features
from videozoo.data.files import some_of
from videozoo.errors import DataError, counted
from videozoo.io.features import FeatureStore
from videozoo.sentences.tokens import tokenize
from videozoo.sentences.vocabulary import vocabulary

__all__ = ["Query", "QueryDataset", "QueryVideo", "assemble_queries"]

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Query:
    """One sentence as it stands in an annotation file; `where` is its position, for messages."""

    where: str
    video: str
    sentence: str
    start_s: float
    end_s: float
    duration_s: float | None = None
    others: tuple[tuple[float, float], ...] = ()  # further moments that match the sentence


@dataclasses.dataclass(frozen=True, kw_only=True)
class QueryVideo(StoredRecord):
    """A sentence about moments of a video."""

    video: str
    sentence: str
    moments: tuple[tuple[float, float], ...]
    segments: tuple[Span, ...] = ()
    duration_s: float | None = None


class QueryDataset(FeatureDataset[QueryVideo]):
    """The sentences of a data set; its class names are the sorted words of the training sentences."""

    truth: ClassVar[frozenset[Truth]] = frozenset({"moments", "segments"})


def assemble_queries(
    path: Path,
    queries: Iterable[Query],
    *,
    features: str | Path,
    class_names: Sequence[str] | None = None,
    missing: Missing = "keep",
) -> QueryDataset:
    """Builds the data set of `queries` and logs its notes as warnings.

    Sentences without words and moments that end before they begin are left out. Videos without features stay: training
    replaces them and counts them as bad, evaluation lists them.

    Args:
        path: the annotation file, for messages.
        features: the path of a `FeatureStore`.
        class_names: the vocabulary; None takes the words of these sentences.
        missing: "skip" leaves videos without features out.

    Raises:
        DataError: no sentence is usable, or no video has features.
    """
    store = FeatureStore(features)
    usable, notes = _usable(queries)
    if not usable:
        raise DataError(f"{path}: holds no usable sentence{''.join('; ' + note for note in notes)}")
    videos = dict.fromkeys(query.video for query in usable)
    keys = {video: video if video in store else Path(video).stem for video in videos}
    usable, lost = with_features(usable, store, keys, path=path, missing=missing, noun="sentences")
    notes += lost
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


def _usable(queries: Iterable[Query]) -> tuple[list[Query], list[str]]:
    """Returns the usable queries, and notes on the others."""
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
    faults = {"without words": wordless, "whose moment ends before it begins": backwards}
    notes = [
        f"{counted(len(places), 'sentence')} {fault}, left out: {some_of(places)}"
        for fault, places in faults.items()
        if places
    ]
    return usable, notes
