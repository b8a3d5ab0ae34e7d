"""Kinetics' annotation files: one CSV row a clip of a YouTube video."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from videozoo.contracts.record import ClipRecord
from videozoo.data.dataset import ClipDataset, assemble
from videozoo.data.files import check_missing, find_stems
from videozoo.data.labels import ClassNames, class_index
from videozoo.data.registry import register_dataset
from videozoo.errors import DataError, did_you_mean
from videozoo.structured import read_rows, shown

__all__ = ["kinetics_csv"]

COLUMNS = ("youtube_id", "time_start", "time_end")


@register_dataset
def kinetics_csv(
    path: str | Path,
    video_dir: str | Path,
    *,
    split: str | None = None,
    class_names: ClassNames = None,
    num_classes: int | None = None,
    missing: Literal["error", "skip"] = "error",
    whole_videos: bool = False,
) -> ClipDataset:
    """Reads Kinetics-400/600/700: a CSV with the columns label, youtube_id, time_start, time_end, split.

    A row's video is `<youtube_id>_<start>_<end>.mp4` (six digits each) or `<youtube_id>.mp4`, with any video
    ending, anywhere below `video_dir`: flat, by class or by split. A file without a label column (the test
    set's) gives samples without labels.

    Args:
        split: takes only the rows with this value in the column split.
        class_names: the classes in order, or a file with one a line; by default a classes.txt or labels.txt
            in the CSV's folder, else all labels of the CSV, sorted.
        missing: "skip" counts and lists the missing videos (many have been removed from YouTube).
        whole_videos: `<youtube_id>.mp4` is the full video; the clip is time_start..time_end of it.

    Raises:
        DataError: no such file, a missing column, a malformed row, an unknown label, or a missing video.
    """
    file = Path(path)
    rows = _read_rows(file)
    classes = class_index(
        class_names,
        num_classes=num_classes,
        folder=file.parent,
        samples=[(row.where, (row.label,)) for row in rows if row.label],
    )
    chosen = [row for row in rows if split is None or row.split == split]
    if not chosen:
        raise DataError(f"{file}: no row has the split '{split}'{did_you_mean(str(split), {r.split for r in rows})}")
    stems = find_stems(Path(video_dir))
    absent: list[tuple[str, str]] = []
    records: list[ClipRecord] = []
    for row in chosen:
        labels = (classes.index(row.label, where=row.where),) if row.label else ()
        video = _nearest(stems.get(row.name) or stems.get(row.youtube_id) or [], row.label)
        if video is None:
            absent.append((row.where, f"no video '{row.name}' or '{row.youtube_id}'"))
            continue
        is_whole = whole_videos and video.stem == row.youtube_id
        start_s, end_s = (row.start_s, row.end_s) if is_whole else (None, None)
        records.append(ClipRecord(row.name, video, labels, start_s=start_s, end_s=end_s))
    notes = check_missing(
        absent,
        len(chosen),
        searched=f"below {video_dir}",
        advice="fetch the videos or correct video_dir",
        skip=missing == "skip",
    )
    return assemble(records, classes.names, source=str(file), notes=notes)


class _Row(NamedTuple):
    where: str
    label: str
    youtube_id: str
    start_s: float
    end_s: float
    split: str

    @property
    def name(self) -> str:
        return f"{self.youtube_id}_{int(self.start_s):06d}_{int(self.end_s):06d}"


def _read_rows(file: Path) -> list[_Row]:
    rows = []
    for where, row in read_rows(file, kind="annotation file", columns=COLUMNS):
        try:
            start_s, end_s = float(row["time_start"]), float(row["time_end"])
        except ValueError:
            times = f"{shown(row['time_start'])} and {shown(row['time_end'])}"
            raise DataError(f"{where}: the times {times} are not numbers; give seconds") from None
        label, youtube_id = row.get("label", "").strip(), row["youtube_id"].strip()
        if not youtube_id or not 0 <= start_s < end_s < math.inf or ("label" in row and not label):
            raise DataError(
                f"{where}: {label=} {youtube_id=} {start_s=} {end_s=} is not a valid clip; "
                "a row needs a label, an id and 0 <= time_start < time_end"
            )
        rows.append(_Row(where, label, youtube_id, start_s, end_s, row.get("split", "").strip()))
    if not rows:
        raise DataError(f"{file}: holds no rows below its header; fetch it again")
    return rows


def _nearest(videos: Sequence[Path], label: str) -> Path | None:
    """Returns the video in the folder of its class, or else the first one."""
    folders = {label, label.replace(" ", "_")}
    return next((video for video in videos if video.parent.name in folders), videos[0] if videos else None)
