"""Class probabilities of whole videos, which label the proposals of localizers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from typing_extensions import TypedDict

from videozoo.errors import DataError
from videozoo.structured import checked, read_json

__all__ = ["VideoScores"]


_Scores = TypedDict("_Scores", {"class": list[str], "results": dict[str, list[float]]})


class VideoScores:
    """Class probabilities of whole videos from a file, read at first use."""

    def __init__(self, path: str):
        self.path = Path(path)
        self._names: tuple[str, ...] = ()
        self._results: Mapping[str, Sequence[float]] | None = None

    def read(self, id_: str) -> tuple[tuple[str, ...], np.ndarray]:
        """Returns (class names, probabilities `[k]`) of a video.

        Raises:
            DataError: no such file, a file of a different form, or no such video in it.
        """
        results, key = self._load(), self._key(id_)
        if key is None or len(results[key]) != len(self._names):
            raise DataError(
                f"{self.path}: lacks the {len(self._names)} scores of video '{id_}'; add them, or set "
                "task.video_scores to null to use the feature extractor's scores"
            )
        return self._names, np.asarray(results[key], np.float64)

    def __contains__(self, id_: str) -> bool:
        return self._key(id_) is not None

    def _key(self, id_: str) -> str | None:
        """Returns the video's key in the file; ActivityNet's ids may have the prefix `v_` or not."""
        bare, results = id_.removeprefix("v_"), self._load()
        return next((key for key in (id_, bare, f"v_{bare}") if key in results), None)

    def _load(self) -> Mapping[str, Sequence[float]]:
        if self._results is None:
            found = checked(
                read_json(self.path, kind="file of scores"),
                _Scores,
                where=self.path,
                advice="needs {'class', 'results'}, or set task.video_scores to null",
            )
            self._names, self._results = tuple(found["class"]), found["results"]
        return self._results
