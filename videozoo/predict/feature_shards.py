"""Shards of features as sources of prediction (YouTube-8M's TFRecords, PaddleVideo's pickles), and Kaggle's format."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from videozoo.contracts.answer import Labels
from videozoo.contracts.dataset import Dataset
from videozoo.contracts.ranking import best_first
from videozoo.contracts.record import FeatureRecord

__all__ = ["KAGGLE_HEADER", "kaggle_line", "open_shards"]

TFRECORDS = ("*.tfrecord", "*.tfrecord.gz")
PICKLES = ("*.pkl",)
KAGGLE_HEADER = "VideoId,LabelConfidencePairs"
KAGGLE_TOP = 20


def open_shards(source: str) -> Dataset[FeatureRecord] | None:
    """Opens the shards that a source names: a file, a folder, a pattern, or a list file whose first line is a shard.

    Returns None if the source names no shards.

    Raises:
        DataError: a shard is missing or damaged.
    """
    from videozoo.data.youtube8m import youtube8m  # imported for shards only
    from videozoo.data.youtube8m_pkl import youtube8m_pkl

    if _names(source, TFRECORDS):
        return youtube8m(source)
    return youtube8m_pkl(source) if _names(source, PICKLES) else None


def _names(source: str, patterns: Sequence[str]) -> bool:
    path = Path(source)
    if path.is_dir():
        return any(next(path.glob(pattern), None) is not None for pattern in patterns)
    name = path.name
    if path.is_file() and path.suffix in (".list", ".txt"):
        with path.open(encoding="utf-8", errors="replace") as file:
            name = file.readline().strip()
    return name.endswith(tuple(pattern.removeprefix("*") for pattern in patterns))


def kaggle_line(id_: str, labels: Labels, *, top: int = KAGGLE_TOP) -> str:
    """Returns a line of a YouTube-8M submission: the id, and pairs of class number and confidence, the best first."""
    order = best_first(labels.scores)[:top]
    return f"{id_}," + " ".join(f"{i} {labels.scores[i]:.6g}" for i in order)
