"""TACoS: cooking videos, each with many sentences and their moments in frames."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from videozoo.data.files import read_text
from videozoo.data.queries import Query, QueryDataset, assemble_queries
from videozoo.data.registry import register_dataset
from videozoo.errors import DataError

__all__ = ["tacos"]


@register_dataset
def tacos(path: Path, *, features: Path, class_names: Sequence[str] | None = None) -> QueryDataset:
    """TACoS as JSON: `{video: {"timestamps": [[first, last]], "sentences": [...], "fps": ..., "num_frames": ...}}`.

    Args:
        path: train.json, val.json or test.json; timestamps are frames at `fps`.
        features: a folder with one file a video, or a packed file; see `io.features.FeatureStore`. Ids may lack the
            videos' ending `.avi`.
        class_names: the vocabulary; None takes the words of these sentences.

    Raises:
        DataError: not of this form, no usable sentence, or no features of its videos.
    """
    return assemble_queries(path, _queries(path), features=features, class_names=class_names)


def _queries(path: Path) -> Iterator[Query]:
    try:
        found = json.loads(read_text(path, what="annotation file"))
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{error.lineno}: is not JSON ({error.msg}); fetch the file again") from error
    if not isinstance(found, dict) or not found:
        raise DataError(f"{path}: names no videos; needs {{video: {{timestamps, sentences, fps}}}}")
    for video, entry in found.items():
        try:
            fps, num_frames = float(entry["fps"]), entry.get("num_frames")
            pairs = list(zip(entry["timestamps"], entry["sentences"], strict=True))
            duration_s = float(num_frames) / fps if num_frames else None
            for number, ((first, last), sentence) in enumerate(pairs):
                where = f"{path}: {video}, sentence {number}"
                yield Query(where, video, str(sentence).strip(), float(first) / fps, float(last) / fps, duration_s)
        except (KeyError, TypeError, ValueError, AttributeError, ZeroDivisionError) as error:
            raise DataError(
                f"{path}: {video}: is not of TACoS's form ({error}); needs as many timestamps [first, last] as "
                "sentences, and fps"
            ) from error
