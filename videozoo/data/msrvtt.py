"""MSR-VTT: short clips with twenty sentences each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from typing_extensions import NotRequired, TypedDict

from videozoo.data.captions import CaptionDataset, Described, assemble_captions
from videozoo.data.feature_dataset import Missing
from videozoo.data.registry import register_dataset
from videozoo.errors import DataError
from videozoo.structured import checked, read_json

__all__ = ["captions_by_video", "msrvtt"]


@register_dataset
def msrvtt(
    path: Path,
    *,
    features: Path,
    split: str | None = None,
    class_names: Sequence[str] | None = None,
    min_count: int = 1,
    missing: Missing = "keep",
) -> CaptionDataset:
    """Reads MSR-VTT (Xu et al., CVPR 2016): {videos: [{video_id, split}], sentences: [{video_id, caption}]}.

    Each video is one sample with all its sentences. Training draws one of them each time; evaluation takes all as
    references. The times in the file refer to the film that a clip was cut from, and are ignored.

    Args:
        path: train_val_videodatainfo.json, test_videodatainfo.json, or another of this form.
        features: a folder with one file a video, or a packed file; see `io.features.FeatureStore`.
        split: "train", "validate" or "test"; None takes all videos of the file.
        class_names: the vocabulary; None builds one from these sentences.
        min_count: occurrences that a word needs to enter a vocabulary built here.
        missing: "skip" leaves videos without features out; "keep" counts them as bad samples and as not scored.

    Raises:
        DataError: the file has a different form, no such split or no usable sentence, or no video has features.
    """
    described = (Described(id_, id_, tuple(captions)) for id_, captions in captions_by_video(path, split).items())
    return assemble_captions(
        path, described, features=features, class_names=class_names, min_count=min_count, missing=missing
    )


def captions_by_video(path: Path, split: str | None) -> dict[str, list[str]]:
    """Returns the sentences of each video of a split, in the order of the file.

    Raises:
        DataError: the file has a different form, or no such split.
    """
    content = checked(
        read_json(path, kind="file of captions"),
        _Captions,
        where=path,
        advice="needs videos and sentences with video_id",
    )
    splits = {str(video["video_id"]): video.get("split", "") for video in content["videos"]}
    pairs = [(str(sentence["video_id"]), sentence["caption"]) for sentence in content["sentences"]]
    if split is not None and split not in splits.values():
        known = ", ".join(sorted(set(splits.values())))
        raise DataError(f"{path}: has no split '{split}'; it has {known}")
    captions: dict[str, list[str]] = {video: [] for video, of in splits.items() if split in (None, of)}
    for video, caption in pairs:
        if video not in splits:
            raise DataError(
                f"{path}: a sentence is about '{video}', which is not among its videos; fetch the file again"
            )
        if video in captions:
            captions[video].append(caption)
    return captions


class _Video(TypedDict):
    video_id: str | int
    split: NotRequired[str]


class _Sentence(TypedDict):
    video_id: str | int
    caption: str


class _Captions(TypedDict):
    videos: list[_Video]
    sentences: list[_Sentence]
