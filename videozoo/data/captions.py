"""Data sets of sentences that describe videos or stretches of them, with the checks that they share."""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from videozoo.contracts.record import Truth
from videozoo.contracts.video import Span
from videozoo.data.feature_dataset import FeatureDataset, Missing, StoredRecord, key_in, with_features
from videozoo.data.files import some_of
from videozoo.errors import DataError, counted
from videozoo.io.features import FeatureStore
from videozoo.sentences.tokens import SPECIALS, UNKNOWN, frequent_words, tokenize

__all__ = ["CaptionDataset", "CaptionRecord", "Described", "assemble_captions"]

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Described:
    """A stretch of a video with its sentences, as they stand at `where` in an annotation file.

    Without `start_s` and `end_s` the sentences describe the whole video.
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

    `words` holds, for each caption, the indices of its words in the vocabulary, without start and end mark.
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
    """Builds the data set of `described` stretches and logs its notes as warnings.

    Sentences without words, and stretches that end before they begin or begin after the video's end, are left out; a
    stretch that ends after the video does is cut. Videos without features stay: training replaces them and counts them
    as bad, evaluation lists them.

    Args:
        path: the annotation file, for messages.
        features: the path of a `FeatureStore`. A video `v_abc` may be stored as `abc`, and the other way round.
        class_names: the vocabulary; None builds one from these sentences.
        min_count: occurrences that a word needs to enter a vocabulary built here; rarer words become `<unk>`.
        missing: "skip" leaves videos without features out.

    Raises:
        DataError: no sentence is usable, no video has features, or the vocabulary lacks the three marks.
    """
    if class_names is not None and tuple(class_names[: len(SPECIALS)]) != SPECIALS:
        raise DataError(
            f"{path}: the vocabulary begins with {', '.join(class_names[:3])}; it needs {', '.join(SPECIALS)} first"
        )
    store = FeatureStore(features)
    notes = _Notes()
    usable = [checked for one in described if (checked := _checked(one, notes)) is not None]
    if not usable:
        raise DataError(f"{path}: holds no usable sentence{''.join('; ' + note for note in notes.listed())}")
    keys = {video: key_in(store, video) for video in dict.fromkeys(one.video for one in usable)}
    usable, lost = with_features(usable, store, keys, path=path, missing=missing, noun="samples")
    words_of = [[tokenize(sentence) for sentence in one.sentences] for one in usable]
    sentences = [words for captions in words_of for words in captions]
    names = tuple(class_names) if class_names is not None else frequent_words(sentences, min_count=min_count)
    index = {name: i for i, name in enumerate(names)}
    listed = [*notes.listed(), *lost, *_unknown_words(sentences, index)]
    for note in listed:
        log.warning("%s: %s", path, note)
    if undescribed := sorted(set(store.ids) - set(keys.values())):  # usually those of the other splits
        listed.append(
            f"{len(undescribed)} of {len(store.ids)} videos with features are not in it: {some_of(undescribed)}"
        )
    records = _records(usable, words_of, index, store, keys)
    return CaptionDataset(names, records, store, str(path), tuple(listed))


def _unknown_words(sentences: Sequence[Sequence[str]], index: Mapping[str, int]) -> list[str]:
    unknown = Counter(word for words in sentences for word in words if word not in index)
    if not unknown:
        return []
    examples = [word for word, _ in unknown.most_common(5)]
    return [
        f"{unknown.total()} of {sum(map(len, sentences))} words are not in the vocabulary of {len(index)} and become "
        f"<unk>: {len(unknown)} different ones, such as {', '.join(examples)}"
    ]


def _records(
    described: Sequence[Described],
    words_of: Sequence[Sequence[Sequence[str]]],
    index: Mapping[str, int],
    store: FeatureStore,
    keys: Mapping[str, str],
) -> list[CaptionRecord]:
    count: Counter[str] = Counter()
    records = []
    for one, captions in zip(described, words_of, strict=True):
        count[one.video] += 1
        records.append(
            CaptionRecord(
                id=f"{one.video}#{count[one.video]}",
                video=one.video,
                segments=_segments(one),
                captions=one.sentences,
                words=tuple(tuple(index.get(word, UNKNOWN) for word in words) for words in captions),
                start_s=one.start_s,
                end_s=one.end_s,
                duration_s=one.duration_s,
                store=store,
                key=keys[one.video],
            )
        )
    return records


def _segments(one: Described) -> tuple[Span, ...]:
    if one.start_s is None or one.end_s is None:
        return ()
    return tuple(Span(one.start_s, one.end_s, sentence) for sentence in one.sentences)


class _Notes:
    """The faults of annotations with their positions in the file."""

    def __init__(self) -> None:
        self._positions: dict[tuple[str, str], list[str]] = {}

    def add(self, noun: str, fault: str, where: str) -> None:
        self._positions.setdefault((noun, fault), []).append(where)

    def listed(self) -> list[str]:
        return [f"{counted(len(at), noun)} {fault}: {some_of(at)}" for (noun, fault), at in self._positions.items()]


def _checked(one: Described, notes: _Notes) -> Described | None:
    """Returns the usable part of `one`, or None; notes its faults."""
    sentences = tuple(sentence.strip() for sentence in one.sentences if tokenize(sentence))
    if len(sentences) < len(one.sentences):
        notes.add("place", "with a sentence without words, left out", one.where)
    if not sentences:
        return None
    if one.start_s is None or one.end_s is None:
        return dataclasses.replace(one, sentences=sentences)
    end_s = one.end_s
    if one.duration_s is not None and one.start_s >= one.duration_s:
        notes.add("segment", "beginning after the video's end, left out", one.where)
        return None
    if one.duration_s is not None and end_s > one.duration_s:
        notes.add("segment", "ending after the video's end, cut", one.where)
        end_s = one.duration_s
    if not 0 <= one.start_s < end_s:
        notes.add("segment", "with an end that is not after its start, left out", one.where)
        return None
    return dataclasses.replace(one, sentences=sentences, end_s=end_s)
