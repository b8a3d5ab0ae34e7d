"""TACoS: cooking videos, each with many sentences and their moments in frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

from annotated_types import Gt
from pydantic import FiniteFloat
from typing_extensions import NotRequired, TypedDict

from videozoo.data.feature_dataset import Missing
from videozoo.data.queries import Query, QueryDataset, assemble_queries
from videozoo.data.registry import register_dataset
from videozoo.errors import DataError
from videozoo.structured import checked, read_json

__all__ = ["tacos"]

FORM = "needs as many timestamps [first, last] as sentences, and fps"


@register_dataset
def tacos(
    path: Path, *, features: Path, class_names: Sequence[str] | None = None, missing: Missing = "keep"
) -> QueryDataset:
    """Reads TACoS: `{video: {"timestamps": [[first, last]], "sentences": [...], "fps": ..., "num_frames": ...}}`.

    Args:
        path: train.json, val.json or test.json; timestamps are frames at `fps`.
        features: a folder with one file a video, or a packed file; see `io.features.FeatureStore`. Ids may lack the
            videos' ending `.avi`.
        class_names: the vocabulary; None takes the words of these sentences.
        missing: "skip" leaves videos without features out; "keep" counts them as bad samples and as not scored.

    Raises:
        DataError: the file has a different form or no usable sentence, or no video has features.
    """
    return assemble_queries(path, _queries(path), features=features, class_names=class_names, missing=missing)


def _queries(path: Path) -> Iterator[Query]:
    found = checked(read_json(path, kind="annotation file"), dict[str, _Video], where=path, advice=FORM)
    if not found:
        raise DataError(f"{path}: names no videos; needs {{video: {{timestamps, sentences, fps}}}}")
    for video, entry in found.items():
        moments, sentences, fps = entry["timestamps"], entry["sentences"], entry["fps"]
        if len(moments) != len(sentences):
            raise DataError(f"{path}: {video}: has {len(moments)} timestamps for {len(sentences)} sentences; {FORM}")
        num_frames = entry.get("num_frames")
        duration_s = num_frames / fps if num_frames else None
        for number, ((first, last), sentence) in enumerate(zip(moments, sentences, strict=True)):
            where = f"{path}: {video}, sentence {number}"
            yield Query(where, video, sentence.strip(), first / fps, last / fps, duration_s)


class _Video(TypedDict):
    timestamps: list[tuple[FiniteFloat, FiniteFloat]]
    sentences: list[str]
    fps: Annotated[FiniteFloat, Gt(0)]
    num_frames: NotRequired[FiniteFloat | None]
