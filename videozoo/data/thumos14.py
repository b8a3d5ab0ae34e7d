"""THUMOS14: annotated segments of 20 sports in long videos, with stored features of each."""

from __future__ import annotations

from pathlib import Path

from videozoo.data.feature_dataset import Missing
from videozoo.data.labels import ClassNames
from videozoo.data.registry import register_dataset
from videozoo.data.segments import SegmentDataset, assemble_segments, read_annotations

__all__ = ["thumos14"]

TRAINING = ("train", "validation", "Validation", "val", "training")  # names of the 200 training videos in files
SUBSETS = {"train": TRAINING, "test": ("test", "Test", "testing")}


@register_dataset
def thumos14(
    path: str | Path,
    *,
    features: str | Path,
    subset: str = "train",
    class_names: ClassNames = None,
    stride_s: float | None = None,
    missing: Missing = "keep",
) -> SegmentDataset:
    """Reads the temporally annotated videos of THUMOS14; its validation set is used for training.

    Args:
        path: a JSON file of the form `{"database": {id: {"subset", "annotations"}}}`; durations may be missing.
        features: as for `activitynet`.
        subset: "train" (200 videos, called validation in some files) or "test" (about 210).
        class_names: as for `activitynet`.
        stride_s: seconds between rows for feature files that do not state it, e.g. 16 frames at 30 per second: 0.533.
        missing: as for `activitynet`.

    Raises:
        DataError: as for `activitynet`.
    """
    videos = read_annotations(path)
    wanted = SUBSETS.get(subset, (subset,))
    return assemble_segments(
        Path(path),
        videos,
        features=features,
        subset=wanted,
        class_names=class_names,
        stride_s=stride_s,
        missing=missing,
    )
