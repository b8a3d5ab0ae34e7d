"""ClipShots: the transitions between the shots of videos, in JSON."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import NonNegativeInt
from typing_extensions import NotRequired, TypedDict

from videozoo.contracts.dataset import Dataset
from videozoo.contracts.record import ShotRecord, Truth
from videozoo.data.files import some_of
from videozoo.data.registry import register_dataset
from videozoo.errors import DataError
from videozoo.structured import checked, read_json

__all__ = ["ShotDataset", "clipshots"]

FORM = "needs {video: {'transitions': [[last frame, first frame], ...]}}"

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class ShotDataset(Dataset[ShotRecord]):
    """Videos with the transitions between their shots."""

    records: tuple[ShotRecord, ...] = dataclasses.field(repr=False)
    source: str = "data set"
    notes: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ("boundary",)

    truth: ClassVar[frozenset[Truth]] = frozenset({"shots"})

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> ShotRecord:
        return self.records[index]


class _Entry(TypedDict):
    transitions: list[tuple[NonNegativeInt, NonNegativeInt]]
    frame_num: NotRequired[NonNegativeInt | float]


@register_dataset
def clipshots(
    path: str | Path, *, root: str | Path | None = None, missing: Literal["error", "skip"] = "error"
) -> ShotDataset:
    """Reads annotations in the form of ClipShots: `{video: {"transitions": [[last, first], ...]}}`.

    A transition is given by the last frame of a shot and the first frame of the next one, counted from 0; at a cut they
    are neighbors.

    Args:
        root: the folder of the videos; by default the folder of the file.
        missing: "skip" leaves out videos that do not exist, with a warning; "error" refuses them.

    Raises:
        DataError: the file cannot be read, a transition does not run forwards, or a video is missing.
    """
    file = Path(path)
    folder = file.parent if root is None else Path(root)
    entries = checked(read_json(file, kind="annotation file"), dict[str, _Entry], where=file, advice=FORM)
    if not entries:
        raise DataError(f"{file}: names no videos; {FORM}")
    records, absent = [], []
    for name, entry in entries.items():
        place = folder / name
        if not place.is_file():
            absent.append(name)
            continue
        for last, first in entry["transitions"]:
            if last >= first:
                raise DataError(
                    f"{file}: {name}: the transition [{last}, {first}] does not run forwards; give the last frame of a "
                    "shot and the first frame of the next one"
                )
        records.append(ShotRecord(name, place, transitions=tuple(sorted(entry["transitions"]))))
    if absent and (missing == "error" or not records):
        raise DataError(
            f"{file}: {len(absent)} of {len(entries)} videos do not exist below {folder} ({some_of(absent)}); correct "
            "the root, or set missing=skip"
        )
    notes = (f"left out {len(absent)} of {len(entries)} videos that are missing: {some_of(absent)}",) if absent else ()
    for note in notes:
        log.warning("%s: %s", file, note)
    return ShotDataset(tuple(records), str(file), notes)
