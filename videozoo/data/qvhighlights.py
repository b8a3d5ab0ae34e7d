"""QVHighlights: sentences about videos of 150 s, each with one true moment or several."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from videozoo.data.files import read_lines
from videozoo.data.queries import Query, QueryDataset, assemble_queries
from videozoo.data.registry import register_dataset
from videozoo.errors import DataError

__all__ = ["qvhighlights"]


@register_dataset
def qvhighlights(path: Path, *, features: Path, class_names: Sequence[str] | None = None) -> QueryDataset:
    """QVHighlights' files (arXiv:2107.09609): JSON lines with `vid`, `query`, `duration` and `relevant_windows`.

    Args:
        path: highlight_train_release.jsonl, highlight_val_release.jsonl, or another of this form; times are seconds.
        features: a folder with one file a video, or a packed file; see `io.features.FeatureStore`.
        class_names: the vocabulary; None takes the words of these sentences.

    Raises:
        DataError: a line of another form, no usable sentence, or no features of its videos.
    """
    return assemble_queries(path, _queries(path), features=features, class_names=class_names)


def _queries(path: Path) -> Iterator[Query]:
    needs = "needs JSON with vid, query, duration and relevant_windows [[start, end], ...]"
    for where, line in read_lines(path, what="list of sentences"):
        try:
            entry = json.loads(line)
            first, *others = [(float(start), float(end)) for start, end in entry["relevant_windows"]]
            video, sentence, duration_s = str(entry["vid"]), str(entry["query"]).strip(), float(entry["duration"])
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise DataError(f"{where}: is not a line of QVHighlights ({error}); {needs}") from error
        yield Query(where, video, sentence, *first, duration_s=duration_s, others=tuple(others))
