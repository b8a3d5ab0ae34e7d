"""Charades-STA: one sentence a line, with the moment that it describes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from videozoo.data.feature_dataset import Missing
from videozoo.data.queries import Query, QueryDataset, assemble_queries
from videozoo.data.registry import register_dataset
from videozoo.errors import DataError
from videozoo.structured import read_lines

__all__ = ["charades_sta"]


@register_dataset
def charades_sta(
    path: Path, *, features: Path, class_names: Sequence[str] | None = None, missing: Missing = "keep"
) -> QueryDataset:
    """Reads Charades-STA's files (arXiv:1705.02101, section 4.2), or synthetic ones: lines `video start end##sentence`.

    Args:
        path: charades_sta_train.txt, charades_sta_test.txt, or another of this form; times are seconds.
        features: a folder with one file a video, or a packed file; see `io.features.FeatureStore`.
        class_names: the vocabulary; None takes the words of these sentences.
        missing: "skip" leaves videos without features out; "keep" counts them as bad samples and as not scored.

    Raises:
        DataError: a line has a different form, no sentence is usable, or no video has features.
    """
    return assemble_queries(path, _queries(path), features=features, class_names=class_names, missing=missing)


def _queries(path: Path) -> Iterator[Query]:
    for where, line in read_lines(path, kind="list of sentences"):
        head, mark, sentence = line.partition("##")
        try:
            video, start, end = head.split()
            yield Query(where, video, sentence.strip(), float(start), float(end))
        except ValueError as error:
            raise DataError(f"{where}: is '{line[:60]}'; needs `video start end##sentence`") from error
        if not mark:
            raise DataError(f"{where}: has no ## before its sentence; needs `video start end##sentence`")
