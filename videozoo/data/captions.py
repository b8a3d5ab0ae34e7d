"""Videos with sentences about them or about stretches of them: what every such data set gives, checked alike."""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar

from videozoo.contracts.record import Truth
from videozoo.contracts.video import Span
from videozoo.data.feature_dataset import FeatureDataset, Missing, StoredRecord, key_in, without_features
from videozoo.data.files import some_of
from videozoo.errors import DataError, counted
from videozoo.io.features import FeatureStore
from videozoo.sentences.tokens import SPECIALS, UNKNOWN, frequent_words, tokenize

__all__ = ["CaptionDataset", "CaptionRecord", "Described", "assemble_captions"]

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Described:
    """A stretch of a video and what is said of it, as it stands in an annotation file; `where` names the place.

    Without `start_s` and `end_s` the sentences are about the whole video.
    """

    where: str
    video: str
    sentences: tuple[str, ...]
    start_s: float | None = None
    end_s: float | None = None
    duration_s: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class CaptionRecord(StoredRecord):
    """A stretch of a video with its sentences.

    `words` holds, for each of the captions, the indices of its words among the class names, without start and end mark.
    """

    video: str
    segments: tuple[Span, ...] = ()
    captions: tuple[str, ...] = ()
    words: tuple[tuple[int, ...], ...] = dataclasses.field(default=(), repr=False)
    start_s: float | None = None
    end_s: float | None = None
    duration_s: float | None = None


class CaptionDataset(FeatureDataset[CaptionRecord]):
    """The described stretches of a data set.

    Its class names are the vocabulary: `<s>`, `<e>`, `<unk>`, then words, the most frequent first.
    """

    truth: ClassVar[frozenset[Truth]] = frozenset({"captions", "segments"})


def assemble_captions(
    path: Path,
    described: Iterable[Described],
    *,
    features: str | Path,
    class_names: Sequence[str] | None = None,
    min_count: int = 1,
    missing: Missing = "keep",
) -> CaptionDataset:
    """The data set of what is described; what was noted on the way is logged as warnings.

    Sentences without words, and stretches that end before they begin or begin after the video's end, are left out; a
    stretch that ends after the video does is cut. Videos without features stay: training replaces them and counts them
    as bad, evaluation names them.

    Args:
        path: the annotation file, for messages.
        features: what `FeatureStore` reads. A video `v_abc` is found as `abc`, too, and the other way round.
        class_names: the vocabulary; None makes one of these sentences.
        min_count: how often a word of the made vocabulary has to be said; rarer ones become `<unk>`.
        missing: "skip" leaves videos without features out.

    Raises:
        DataError: nothing that can be used, no features of any video, or a vocabulary without the three marks.
    """
    if class_names is not None and tuple(class_names[: len(SPECIALS)]) != SPECIALS:
        raise DataError(
            f"{path}: the vocabulary begins with {', '.join(class_names[:3])}; it needs {', '.join(SPECIALS)} first"
        )
    store = FeatureStore(features)
    notes = _Notes()
    usable = [found for one in described if (found := _checked(one, notes)) is not None]
    if not usable:
        raise DataError(f"{path}: holds no sentence that can be used{''.join('; ' + note for note in notes.told())}")
    keys = {video: key_in(store, video) for video in dict.fromkeys(one.video for one in usable)}
    if gone := without_features(store, keys, path=path):
        there = [one for one in usable if one.video not in set(gone)]
        lost = len(usable) - len(there)
        left_out = ", left out" if missing == "skip" else ""
        notes.add(
            f"{len(gone)} of {len(keys)} videos without features, with {lost} of {len(usable)} samples{left_out}: "
            f"{some_of(gone)}"
        )
        usable = there if missing == "skip" else usable
    spoken = [[tokenize(sentence) for sentence in one.sentences] for one in usable]
    said = [words for of_one in spoken for words in of_one]
    names = tuple(class_names) if class_names is not None else frequent_words(said, min_count=min_count)
    index = {name: i for i, name in enumerate(names)}
    unknown = Counter(word for words in said for word in words if word not in index)
    if unknown:
        rarest = [word for word, _ in unknown.most_common(5)]
        notes.add(
            f"{unknown.total()} of {sum(map(len, said))} words are not in the vocabulary of {len(names)} and become "
            f"<unk>: {len(unknown)} different ones, such as {', '.join(rarest)}"
        )
    count: Counter[str] = Counter()
    records = []
    for one, of_one in zip(usable, spoken, strict=True):
        count[one.video] += 1
        records.append(
            CaptionRecord(
                id=f"{one.video}#{count[one.video]}",
                video=one.video,
                segments=_segments(one),
                captions=one.sentences,
                words=tuple(tuple(index.get(word, UNKNOWN) for word in words) for words in of_one),
                start_s=one.start_s,
                end_s=one.end_s,
                duration_s=one.duration_s,
                store=store,
                key=keys[one.video],
            )
        )
    told = notes.told()
    for note in told:
        log.warning("%s: %s", path, note)
    if silent := sorted(set(store.ids) - set(keys.values())):  # usual: those of the other splits
        told = (*told, f"{len(silent)} of {len(store.ids)} videos with features are not in it: {some_of(silent)}")
    return CaptionDataset(names, records, store, str(path), told)


def _segments(one: Described) -> tuple[Span, ...]:
    if one.start_s is None or one.end_s is None:
        return ()
    return tuple(Span(one.start_s, one.end_s, sentence) for sentence in one.sentences)


class _Notes:
    """What happened to which places of a file."""

    def __init__(self) -> None:
        self._places: dict[tuple[str, str], list[str]] = {}
        self._others: list[str] = []

    def add_place(self, noun: str, fault: str, where: str) -> None:
        self._places.setdefault((noun, fault), []).append(where)

    def add(self, note: str) -> None:
        self._others.append(note)

    def told(self) -> tuple[str, ...]:
        places = (f"{counted(len(at), noun)} {fault}: {some_of(at)}" for (noun, fault), at in self._places.items())
        return (*places, *self._others)


def _checked(one: Described, notes: _Notes) -> Described | None:
    """What of `one` can be used, if anything."""
    sentences = tuple(sentence.strip() for sentence in one.sentences if tokenize(sentence))
    if len(sentences) < len(one.sentences):
        notes.add_place("place", "with a sentence without words, left out", one.where)
    if not sentences:
        return None
    if one.start_s is None or one.end_s is None:
        return dataclasses.replace(one, sentences=sentences)
    end_s = one.end_s
    if one.duration_s is not None and one.start_s >= one.duration_s:
        notes.add_place("segment", "beginning after the video's end, left out", one.where)
        return None
    if one.duration_s is not None and end_s > one.duration_s:
        notes.add_place("segment", "ending after the video's end, cut", one.where)
        end_s = one.duration_s
    if not 0 <= one.start_s < end_s:
        notes.add_place("segment", "with an end that is not after its start, left out", one.where)
        return None
    return dataclasses.replace(one, sentences=sentences, end_s=end_s)
