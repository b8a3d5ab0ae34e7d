"""Labels for the videos of feature shards: millions of them, one after the other, and Kaggle's form for them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from videozoo.contracts.answer import Labels
from videozoo.contracts.ranking import best_first
from videozoo.errors import ConfigError, DataError
from videozoo.predict.predictor import Predictor

__all__ = ["KAGGLE_HEADER", "kaggle_line", "label_records"]

KAGGLE_HEADER = "VideoId,LabelConfidencePairs"
KAGGLE_TOP = 20


def label_records(
    predictor: Predictor, records: Iterable[Any], *, batch_size: int = 64
) -> Iterator[tuple[str, Labels | DataError]]:
    """(id, labels) of each record of a feature data set; of one that cannot be used, its own name and why.

    Raises:
        ConfigError: the model takes videos, or its answers are no labels.
    """
    if not predictor.takes_features:
        raise ConfigError("predict: these are features, and the model takes videos; give the videos")
    for id_, answer in predictor.of_records(records, batch_size=batch_size):
        if not isinstance(answer, Labels | DataError):
            raise ConfigError(f"predict: the run answers with {answer.kind}; shards need one that tags")
        yield id_, answer


def kaggle_line(id_: str, labels: Labels, *, top: int = KAGGLE_TOP) -> str:
    """A line of a YouTube-8M submission: the id, and class numbers each with its confidence, the best first."""
    order = best_first(labels.scores)[:top]
    return f"{id_}," + " ".join(f"{i} {labels.scores[i]:.6g}" for i in order)
