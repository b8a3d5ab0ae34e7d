"""Data sets of videos with annotated segments and stored features, with the checks that they share."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

from pydantic import FiniteFloat
from typing_extensions import TypedDict

from videozoo.contracts.features import Features
from videozoo.contracts.record import Truth
from videozoo.contracts.video import Span
from videozoo.data.feature_dataset import FeatureDataset, Missing, StoredRecord, key_in, without_features
from videozoo.data.files import some_of
from videozoo.data.labels import ClassNames, given_names
from videozoo.errors import DataError, counted
from videozoo.io.features import FeatureStore
from videozoo.structured import checked, read_json, read_rows

FORM = "needs {'database': {id: {'subset', 'annotations': [{'segment': [start, end], 'label'}]}}} or BMN's form"

__all__ = ["AnnotatedVideo", "SegmentDataset", "SegmentVideo", "assemble_segments", "read_annotations"]

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class AnnotatedVideo:
    """One video as it stands in an annotation file.

    `covered_s` is the length of video that the features cover, if the file states it.
    """

    id: str
    subset: str
    duration_s: float | None
    covered_s: float | None
    segments: tuple[tuple[float, float, str], ...]  # start, end, label


@dataclasses.dataclass(frozen=True, kw_only=True)
class SegmentVideo(StoredRecord):
    """A video with its segments; `stride_s` is the distance between feature rows, for features that do not state it."""

    duration_s: float | None = None
    segments: tuple[Span, ...] = ()
    covered_s: float | None = None
    stride_s: float | None = None

    def features(self) -> Features:
        found = super().features()
        if found.stride_s is None and self.stride_s is not None:
            return dataclasses.replace(found, stride_s=self.stride_s, offset_s=self.stride_s / 2)
        return found


class SegmentDataset(FeatureDataset[SegmentVideo]):
    """The videos of a data set of segments; its class names are the labels of segments."""

    truth: ClassVar[frozenset[Truth]] = frozenset({"segments"})


def assemble_segments(
    path: Path,
    videos: Sequence[AnnotatedVideo],
    *,
    features: str | Path,
    subset: str | Sequence[str],
    class_names: ClassNames = None,
    stride_s: float | None = None,
    missing: Missing = "keep",
) -> SegmentDataset:
    """Builds the data set of the `videos` in `subset` and logs its notes as warnings.

    Segments are cut at the ends of their video; segments without length or of unknown classes are left out.

    Args:
        path: the annotation file, for messages.
        features: the path of a `FeatureStore`.
        class_names: the classes in order, or a file with one a line; None takes the labels of all videos, sorted.
        stride_s: seconds between rows for features that do not state it.
        missing: "keep" leaves videos without features in the data set: training counts them as bad samples, evaluation
            lists them as not scored. "skip" leaves them out.

    Raises:
        DataError: no such subset, no video with features, no segment of a known class, or neither segments nor names.
    """
    wanted = (subset,) if isinstance(subset, str) else tuple(subset)
    chosen = _in_subset(videos, wanted, path=path)
    given = given_names(class_names)
    names = given.names if given is not None else tuple(sorted({s[2] for video in videos for s in video.segments}))
    store = FeatureStore(features)
    keys = {video.id: key_in(store, video.id) for video in chosen}
    lost = without_features(store, keys, path=path)
    if given is None:
        _check_annotated(chosen, wanted, path=path)
    if missing == "skip":
        chosen = [video for video in chosen if keys[video.id] in store]
    faults = _Faults(frozenset(names))
    records = [
        SegmentVideo(
            id=video.id,
            duration_s=video.duration_s,
            segments=tuple(faults.usable(video)),
            store=store,
            key=keys[video.id],
            covered_s=video.covered_s,
            stride_s=stride_s,
        )
        for video in chosen
    ]
    num_given = sum(len(video.segments) for video in chosen)
    if num_given and not any(record.segments for record in records):
        raise DataError(f"{path}: none of {counted(num_given, 'segment')} can be used: {'; '.join(faults.notes())}")
    notes = faults.notes()
    notes += _incomplete(records, path=path, with_times=stride_s is not None or store.recipe is not None)
    if lost:
        left_out = ", left out" if missing == "skip" else ""
        notes.append(f"{len(lost)} of {len(keys)} videos without features{left_out}: {some_of(lost)}")
    for note in notes:
        log.warning("%s: %s", path, note)
    return SegmentDataset(names, records, store, str(path), tuple(notes))


def _in_subset(videos: Sequence[AnnotatedVideo], wanted: Sequence[str], *, path: Path) -> list[AnnotatedVideo]:
    chosen = [video for video in videos if video.subset in wanted]
    if not chosen:
        known = ", ".join(sorted({video.subset or "none" for video in videos}))
        raise DataError(
            f"{path}: no video is in subset {' or '.join(wanted)}; it has {counted(len(videos), 'video')} in {known}"
        )
    return chosen


def _check_annotated(chosen: Sequence[AnnotatedVideo], wanted: Sequence[str], *, path: Path) -> None:
    if not any(video.segments for video in chosen):
        raise DataError(
            f"{path}: has no segment in {counted(len(chosen), 'video')} of subset {' or '.join(wanted)} "
            f"({some_of([video.id for video in chosen])}); write them as 'annotations': [{{'segment', 'label'}}]"
        )


def _incomplete(records: Sequence[SegmentVideo], *, path: Path, with_times: bool) -> list[str]:
    """Returns notes on videos without segments, and on videos without a duration if the features have no times."""
    notes = []
    if empty := [record.id for record in records if not record.segments]:
        notes.append(f"{len(empty)} of {len(records)} videos without a segment: {some_of(empty)}")
    untimed = [record.id for record in records if record.duration_s is None]
    if untimed and not with_times:
        notes.append(
            f"{len(untimed)} of {len(records)} videos without a duration, which features without times need "
            f"(write it into {path.name}, or set stride_s): {some_of(untimed)}"
        )
    return notes


class _Faults:
    """The faults of segments, collected by kind."""

    def __init__(self, class_names: frozenset[str]):
        self.class_names = class_names
        self.cut: list[str] = []
        self.without_length: list[str] = []
        self.unknown: list[tuple[str, str]] = []  # label, video

    def usable(self, video: AnnotatedVideo) -> Iterator[Span]:
        """Yields the usable segments of a video, cut at its ends."""
        last_s = math.inf if video.duration_s is None else video.duration_s
        for start_s, end_s, label in video.segments:
            start, end = max(start_s, 0.0), min(end_s, last_s)
            if end <= start:
                self.without_length.append(video.id)
            elif label not in self.class_names:
                self.unknown.append((label, video.id))
            else:
                if (start, end) != (start_s, end_s):
                    self.cut.append(video.id)
                yield Span(start, end, label)

    def notes(self) -> list[str]:
        found = []
        if self.cut:
            found.append(f"{counted(len(self.cut), 'segment')} reaching beyond the video, cut: {_some_ids(self.cut)}")
        if self.without_length:
            ids = _some_ids(self.without_length)
            count = counted(len(self.without_length), "segment")
            found.append(f"{count} without length inside the video, left out: {ids}")
        if self.unknown:
            labels = some_of(sorted({f"'{label}'" for label, _ in self.unknown}))
            ids = _some_ids([id_ for _, id_ in self.unknown])
            found.append(f"{counted(len(self.unknown), 'segment')} of unknown classes ({labels}), left out: {ids}")
        return found


def _some_ids(ids: Sequence[str]) -> str:
    return some_of(list(dict.fromkeys(ids)))


# ---- annotation files ------------------------------------------------------------------------------------


def read_annotations(path: str | Path, *, video_info: str | Path | None = None) -> list[AnnotatedVideo]:
    """Reads the videos of an annotation file in ActivityNet's official format or in that of BSN and BMN.

    Official: `{"database": {id: {"duration", "subset", "annotations": [{"segment", "label"}]}}}`; THUMOS14's files
    lack durations. BSN and BMN: `{id: {"duration_second", "duration_frame", "feature_frame", "annotations"}}`,
    with `subset` in it or in `video_info`.

    Args:
        video_info: a CSV with the columns video and, as far as they are known, subset, seconds, numFrame, featureFrame.

    Raises:
        DataError: no such file, not JSON, or neither format.
    """
    path = Path(path)
    found = read_json(path, kind="annotation file")
    entries = checked(
        found.get("database", found) if isinstance(found, dict) else found, dict[str, _Entry], where=path, advice=FORM
    )
    if not entries:
        raise DataError(f"{path}: names no videos; {FORM}")
    info = _read_info(Path(video_info)) if video_info is not None else {}
    return [_video(path, id_, {**info.get(id_, {}), **entry}) for id_, entry in entries.items()]


class _Annotation(TypedDict):
    segment: tuple[FiniteFloat, FiniteFloat]
    label: str | int | float


class _Entry(TypedDict, total=False):
    """A video's entry in annotations and video_info."""

    subset: str
    duration: FiniteFloat | None
    duration_second: FiniteFloat | None
    duration_frame: FiniteFloat | None
    feature_frame: FiniteFloat | None
    annotations: list[_Annotation]


def _video(path: Path, id_: str, entry: _Entry) -> AnnotatedVideo:
    duration_s = entry.get("duration", entry.get("duration_second"))
    if duration_s is not None and duration_s <= 0:
        raise DataError(f"{path}: {id_}: its duration is {duration_s:g}; give seconds above 0")
    frames, covered_frames = entry.get("duration_frame"), entry.get("feature_frame")
    covered_s = duration_s * covered_frames / frames if duration_s is not None and frames and covered_frames else None
    segments = tuple((*found["segment"], str(found["label"])) for found in entry.get("annotations", ()))
    return AnnotatedVideo(id_, entry.get("subset", ""), duration_s, covered_s, segments)


def _read_info(path: Path) -> dict[str, _Entry]:
    """Reads the entries of BSN's video_info.csv, under the keys of BMN's annotations."""
    known = {
        "subset": "subset",
        "seconds": "duration_second",
        "numFrame": "duration_frame",
        "featureFrame": "feature_frame",
    }
    found = {}
    for where, row in read_rows(path, kind="video_info file", columns=("video",)):
        entry = {name: row[column] for column, name in known.items() if row.get(column)}
        found[row["video"]] = checked(entry, _Entry, where=where, advice="needs video, subset and seconds")
    return found
