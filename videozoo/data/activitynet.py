"""ActivityNet-1.3: annotated segments in JSON, with stored features of each video."""

from __future__ import annotations

from pathlib import Path

from videozoo.data.feature_dataset import Missing
from videozoo.data.labels import ClassNames
from videozoo.data.registry import register_dataset
from videozoo.data.segments import SegmentDataset, assemble_segments, read_annotations

__all__ = ["activitynet"]


@register_dataset
def activitynet(
    path: str | Path,
    *,
    features: str | Path,
    subset: str | tuple[str, ...] = "training",
    class_names: ClassNames = None,
    video_info: str | Path | None = None,
    stride_s: float | None = None,
    missing: Missing = "keep",
) -> SegmentDataset:
    """Reads the videos of one subset of ActivityNet, or of a data set in the same format.

    Bad annotations are counted and named in the data set's notes: segments beyond the end of their video are cut;
    segments without length or of unknown classes are left out.

    Args:
        path: the JSON file, in the official form or in that of BSN and BMN; see `data.segments.read_annotations`.
        features: a folder with one file a video, or a packed file; see `io.features.FeatureStore`. Ids may have `v_`
            before them or not.
        subset: "training", "validation", "testing", or several.
        class_names: the classes in order, or a file with one a line; None takes the labels of the file, sorted.
        video_info: BSN's video_info.csv, which gives the subsets if the annotations do not.
        stride_s: seconds between rows for feature files that do not state it; None spreads the rows evenly.
        missing: "keep" leaves videos without features in the data set: training counts them as bad samples, evaluation
            lists them as not scored. "skip" leaves them out.

    Raises:
        DataError: a file cannot be read, there is no such subset, or no video has features.
    """
    videos = read_annotations(path, video_info=video_info)
    return assemble_segments(
        Path(path),
        videos,
        features=features,
        subset=subset,
        class_names=class_names,
        stride_s=stride_s,
        missing=missing,
    )
