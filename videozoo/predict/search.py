"""Searches many videos for the moments that a sentence describes."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from videozoo.contracts.features import Features
from videozoo.contracts.intervals import interval_iou
from videozoo.contracts.network import Network
from videozoo.contracts.ranking import best_first
from videozoo.contracts.video import Span
from videozoo.decoding.ground import GroundDecoder
from videozoo.errors import ConfigError
from videozoo.predict.frames import Video, name_of
from videozoo.predict.index import IndexedVideo, RunMark, VideoIndex
from videozoo.predict.inference import checked
from videozoo.predict.predictor import Predictor
from videozoo.sentences.tokens import tokenize
from videozoo.transforms.moments import MomentsInput

__all__ = ["Hit", "Searcher", "can_search"]

MAX_IOU = 0.45  # of two answers in one video
CHUNK = 65_536  # windows compared with a sentence at once


@dataclasses.dataclass(frozen=True)
class Hit:
    """One answer: a moment of a video, with the probability that it matches the sentence."""

    video: str
    start_s: float
    end_s: float
    score: float
    query: str

    @property
    def span(self) -> Span:
        return Span(self.start_s, self.end_s, self.query, self.score)

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values, ready for JSON."""
        return {
            "video": self.video,
            "start_s": round(self.start_s, 3),
            "end_s": round(self.end_s, 3),
            "score": round(self.score, 6),
        }


def can_search(network: Network) -> bool:
    """Returns whether a network answers sentences, which only a `Searcher` can ask."""
    return isinstance(network.decoder, GroundDecoder) and isinstance(network.spec, MomentsInput)


class Searcher:
    """Embeds videos once, and answers sentences about them.

        searcher = load_searcher("runs/tall")
        index = VideoIndex(searcher.run, tuple(searcher.look(path) for path in paths))
        searcher.ask(index, "a square moves left", top=3)

    Attributes:
        run: the mark stored in its indexes.
    """

    def __init__(self, predictor: Predictor, run: RunMark):
        network = predictor.network
        assert isinstance(network.decoder, GroundDecoder) and isinstance(network.spec, MomentsInput)
        self.predictor, self.run = predictor, run
        self.backend, self.decoder, self.spec = network.backend, network.decoder, network.spec

    def look(self, video: Video, *, features: Features | None = None, batch_size: int = 64) -> IndexedVideo:
        """Returns the embedded windows of a video.

        Args:
            features: stored features of the video, instead of extracting them.

        Raises:
            DecodeError: the file cannot be read.
            DataError: the recipe of the features differs from that of the training.
            ConfigError: the run contains no extractor for its features.
        """
        content = self.predictor.features(video if features is None else features, batch_size=batch_size)
        windows = self.spec.windows(content.features, content.info.duration_s)
        name = name_of(video)
        outputs = checked(self.backend.outputs({"features": windows.features}, graph="windows"), where=name)
        file = Path(name)
        stat = file.stat() if file.exists() else None
        return IndexedVideo(
            path=str(file.resolve()) if stat is not None else name,
            size_bytes=stat.st_size if stat is not None else 0,
            modified_ns=stat.st_mtime_ns if stat is not None else 0,
            duration_s=windows.duration_s,
            times_s=windows.times_s,
            embedded=outputs["embedded"],
            damaged_frames=content.damaged_frames,
        )

    def ask(self, index: VideoIndex, query: str, *, top: int = 5) -> list[Hit]:
        """Returns the best moments of all videos, best first; those of one video overlap by less than a half.

        Raises:
            DataError: the query is empty or has no known words, or a different run made the index.
        """
        if top < 1:
            raise ConfigError(f"top: got {top}; needs at least 1")
        index.check_run(self.run, where="index")
        vector = self.backend.outputs({"sentence": query}, graph="sentence")["vector"]  # first: it checks the query
        if not len(index):
            return []
        of_video, times_s, embedded = index.windows
        duration_s = np.array([video.duration_s for video in index.videos])[of_video]
        moments, scores = self.decoder.moments(self._fits(embedded, vector), times_s, duration_s)
        hits: list[Hit] = []
        taken: dict[int, list[np.ndarray]] = {}  # moments, by video
        for i in best_first(scores):
            video = int(of_video[i])
            others = taken.setdefault(video, [])
            if others and (interval_iou(np.stack(others), moments[i]) > MAX_IOU).any():
                continue
            others.append(moments[i])
            start_s, end_s = moments[i].tolist()
            hits.append(Hit(index.videos[video].path, start_s, end_s, float(scores[i]), query))
            if len(hits) == top:
                break
        return hits

    def unseen(self, query: str) -> list[str]:
        """Returns the words of a query that occur in no training sentence."""
        return sorted(set(tokenize(query)) - set(self.decoder.class_names))

    def _fits(self, embedded: np.ndarray, vector: np.ndarray) -> np.ndarray:
        """Returns scores and offsets `[n 3]` of every window for a sentence."""
        chunks = (embedded[i : i + CHUNK] for i in range(0, len(embedded), CHUNK))
        parts = [self.backend.outputs({"embedded": e, "vector": vector}, graph="fits")["fits"] for e in chunks]
        return np.concatenate(parts)
