"""QVHighlights: sentences about videos of 150 s, each with one or more matching moments."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

from annotated_types import MinLen
from pydantic import FiniteFloat
from typing_extensions import TypedDict

from videozoo.data.queries import Query, QueryDataset, assemble_queries
from videozoo.data.registry import register_dataset
from videozoo.structured import checked, parse_json, read_lines

__all__ = ["qvhighlights"]

NEEDS = "needs JSON with vid, query, duration and relevant_windows [[start, end], ...]"


@register_dataset
def qvhighlights(path: Path, *, features: Path, class_names: Sequence[str] | None = None) -> QueryDataset:
    """Reads QVHighlights' files (arXiv:2107.09609): JSON lines with `vid`, `query`, `duration` and `relevant_windows`.

    Args:
        path: highlight_train_release.jsonl, highlight_val_release.jsonl, or another of this form; times are seconds.
        features: a folder with one file a video, or a packed file; see `io.features.FeatureStore`.
        class_names: the vocabulary; None takes the words of these sentences.

    Raises:
        DataError: a line has a different form, no sentence is usable, or no video has features.
    """
    return assemble_queries(path, _queries(path), features=features, class_names=class_names)


def _queries(path: Path) -> Iterator[Query]:
    for where, line in read_lines(path, kind="list of sentences"):
        entry = checked(parse_json(line, where=where, advice=NEEDS), _Line, where=where, advice=NEEDS)
        first, *others = entry["relevant_windows"]
        sentence = entry["query"].strip()
        yield Query(where, str(entry["vid"]), sentence, *first, duration_s=entry["duration"], others=tuple(others))


class _Line(TypedDict):
    vid: str | int
    query: str
    duration: FiniteFloat
    relevant_windows: Annotated[list[tuple[FiniteFloat, FiniteFloat]], MinLen(1)]
