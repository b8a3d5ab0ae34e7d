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
    """Reads ActivityNet Captions (arXiv:1705.00754), or synthetic ones: {video: {duration, timestamps, sentences}}.

    Each segment is one sample.

    Args:
        path: train.json, val_1.json, or another of this form; times are seconds.
        features: a folder with one file a video, or a packed file; see `io.features.FeatureStore`.
        class_names: the vocabulary; None builds one from these sentences.
        min_count: occurrences that a word needs to enter a vocabulary built here; published: 3.
        missing: "skip" leaves videos without features out; "keep" counts them as bad samples and as not scored.

    Raises:
        DataError: the file has a different form or no usable sentence, or no video has features.
    """
    return assemble_captions(
        path, _segments(path), features=features, class_names=class_names, min_count=min_count, missing=missing
    )


def _segments(path: Path) -> Iterator[Described]:
    content = read_json(path, kind="file of captions")
    for video, entry in checked(content, dict[str, _Video], where=path, advice=FORM).items():
        where = f"{path}: {video}"
        times, sentences = entry["timestamps"], entry["sentences"]
        if len(times) != len(sentences):
            raise DataError(f"{where}: {len(times)} timestamps for {len(sentences)} sentences; give one for each")
        for number, ((start_s, end_s), sentence) in enumerate(zip(times, sentences, strict=True), 1):
            yield Described(f"{video}#{number}", video, (sentence,), start_s, end_s, entry["duration"])


class _Video(TypedDict):
    duration: FiniteFloat
    timestamps: list[tuple[FiniteFloat, FiniteFloat]]
    sentences: list[str]
