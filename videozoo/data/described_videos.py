"""Videos with sentences: MSR-VTT's JSON, or a CSV with a video and a sentence in each row."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import ClassVar, Literal

from videozoo.contracts.dataset import Dataset
from videozoo.contracts.record import DescribedRecord, Truth
from videozoo.data.files import find_stems, some_of
from videozoo.data.msrvtt import captions_by_video
from videozoo.data.registry import register_dataset
from videozoo.errors import DataError
from videozoo.structured import read_rows

__all__ = ["DescribedDataset", "described_videos"]

VIDEO_COLUMNS, SENTENCE_COLUMNS = ("video_id", "video"), ("sentence", "caption")

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class DescribedDataset(Dataset[DescribedRecord]):
    """Videos with one or more sentences each."""

    records: tuple[DescribedRecord, ...] = dataclasses.field(repr=False)
    source: str = "data set"
    notes: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()

    truth: ClassVar[frozenset[Truth]] = frozenset({"captions"})

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> DescribedRecord:
        return self.records[index]


@register_dataset
def described_videos(
    path: str | Path,
    *,
    videos: str | Path,
    split: str | None = None,
    missing: Literal["error", "skip"] = "error",
) -> DescribedDataset:
    """Reads MSR-VTT's JSON, or a CSV with the columns video_id and sentence (or video and caption).

    Args:
        path: MSRVTT_data.json, MSRVTT_JSFUSION_test.csv, or a file of the same form.
        videos: the folder of the videos, at any depth; their names without ending are the ids.
        split: of the JSON: "train", "validate" or "test"; None takes all videos.
        missing: "skip" leaves out videos that do not exist, with a warning; "error" refuses them.

    Raises:
        DataError: the file has a different form, or a video or its sentences are missing.
    """
    file = Path(path)
    described = _rows(file) if file.suffix == ".csv" else captions_by_video(file, split)
    stems = find_stems(Path(videos))
    absent = [id_ for id_ in described if id_ not in stems]
    if absent and (missing == "error" or len(absent) == len(described)):
        raise DataError(
            f"{file}: {len(absent)} of {len(described)} videos do not exist below {videos} ({some_of(absent)}); "
            "correct videos, or set missing=skip"
        )
    records = tuple(
        DescribedRecord(id_, stems[id_][0], captions=tuple(captions))
        for id_, captions in described.items()
        if id_ in stems and captions
    )
    if not records:
        raise DataError(f"{file}: no video has a sentence; a row needs a video and a sentence")
    silent = [id_ for id_, captions in described.items() if not captions]
    notes = [f"left out {len(silent)} videos without a sentence: {some_of(silent)}"] if silent else []
    notes += [f"left out {len(absent)} of {len(described)} missing videos: {some_of(absent)}"] if absent else []
    for note in notes:
        log.warning("%s: %s", file, note)
    return DescribedDataset(records, str(file), tuple(notes))


def _rows(file: Path) -> dict[str, list[str]]:
    described: dict[str, list[str]] = {}
    for where, row in read_rows(file, kind="list of sentences"):
        video = next((row[name].strip() for name in VIDEO_COLUMNS if name in row), "")
        sentence = next((row[name].strip() for name in SENTENCE_COLUMNS if name in row), "")
        if not video or not sentence:
            raise DataError(f"{where}: needs {' or '.join(VIDEO_COLUMNS)}, and {' or '.join(SENTENCE_COLUMNS)}")
        described.setdefault(Path(video).stem, []).append(sentence)
    return described
