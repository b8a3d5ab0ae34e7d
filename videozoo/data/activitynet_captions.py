"""ActivityNet Captions: every event of a video with its times and a sentence."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from videozoo.data.captions import CaptionDataset, Described, assemble_captions
from videozoo.data.files import read_text
from videozoo.data.registry import register_dataset
from videozoo.errors import DataError

__all__ = ["activitynet_captions", "read_json"]


@register_dataset
def activitynet_captions(
    path: Path, *, features: Path, class_names: Sequence[str] | None = None, min_count: int = 1
) -> CaptionDataset:
    """ActivityNet Captions (arXiv:1705.00754), and made captions: {video: {duration, timestamps, sentences}}.

    One sample a segment.

    Args:
        path: train.json, val_1.json, or another of this form; times are seconds.
        features: a folder with one file a video, or a packed file; see `io.features.FeatureStore`.
        class_names: the vocabulary; None makes one of these sentences.
        min_count: how often a word has to be said to be in a vocabulary made here; 3 was published.

    Raises:
        DataError: a file of another form, no usable sentence, or no features of its videos.
    """
    return assemble_captions(path, _segments(path), features=features, class_names=class_names, min_count=min_count)


def _segments(path: Path) -> Iterator[Described]:
    content = read_json(path)
    if not isinstance(content, dict):
        raise DataError(
            f"{path}: holds a {type(content).__name__}; needs {{video: {{duration, timestamps, sentences}}}}"
        )
    for video, told in content.items():
        where = f"{path}: {video}"
        try:
            duration_s, times, sentences = float(told["duration"]), told["timestamps"], told["sentences"]
            pairs = [(float(start), float(end)) for start, end in times]
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{where}: cannot be read ({error!r}); needs duration, timestamps and sentences") from error
        if len(pairs) != len(sentences):
            raise DataError(f"{where}: {len(pairs)} timestamps for {len(sentences)} sentences; needs one each")
        for number, ((start_s, end_s), sentence) in enumerate(zip(pairs, sentences, strict=True), 1):
            yield Described(f"{video}#{number}", video, (str(sentence),), start_s, end_s, duration_s)


def read_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return json.loads(read_text(path, what="file of captions"))
    except ValueError as error:
        raise DataError(f"{path}: is no JSON ({error}); fetch it again") from error
