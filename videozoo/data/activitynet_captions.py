"""ActivityNet Captions: every event of a video with its times and a sentence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import FiniteFloat
from typing_extensions import TypedDict

from videozoo.data.captions import CaptionDataset, Described, assemble_captions
from videozoo.data.feature_dataset import Missing
from videozoo.data.registry import register_dataset
from videozoo.errors import DataError
from videozoo.structured import checked, read_json

__all__ = ["activitynet_captions"]

FORM = "needs {video: {duration, timestamps, sentences}}"


@register_dataset
def activitynet_captions(
    path: Path,
    *,
    features: Path,
    class_names: Sequence[str] | None = None,
    min_count: int = 1,
    missing: Missing = "keep",
) -> CaptionDataset:
    """ActivityNet Captions (arXiv:1705.00754), and made captions: {video: {duration, timestamps, sentences}}.

    One sample a segment.

    Args:
        path: train.json, val_1.json, or another of this form; times are seconds.
        features: a folder with one file a video, or a packed file; see `io.features.FeatureStore`.
        class_names: the vocabulary; None makes one of these sentences.
        min_count: how often a word has to be said to be in a vocabulary made here; 3 was published.
        missing: "skip" leaves videos without features out; "keep" counts them as bad samples, and as not scored.

    Raises:
        DataError: a file of another form, no usable sentence, or no features of its videos.
    """
    return assemble_captions(
        path, _segments(path), features=features, class_names=class_names, min_count=min_count, missing=missing
    )


def _segments(path: Path) -> Iterator[Described]:
    content = read_json(path, kind="file of captions")
    for video, told in checked(content, dict[str, _Video], where=path, advice=FORM).items():
        where = f"{path}: {video}"
        times, sentences = told["timestamps"], told["sentences"]
        if len(times) != len(sentences):
            raise DataError(f"{where}: {len(times)} timestamps for {len(sentences)} sentences; needs one each")
        for number, ((start_s, end_s), sentence) in enumerate(zip(times, sentences, strict=True), 1):
            yield Described(f"{video}#{number}", video, (sentence,), start_s, end_s, told["duration"])


class _Video(TypedDict):
    duration: FiniteFloat
    timestamps: list[tuple[FiniteFloat, FiniteFloat]]
    sentences: list[str]
