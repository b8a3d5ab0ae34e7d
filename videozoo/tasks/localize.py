"""Temporal localization: segments of a video, where they start and end, and what they show.

What all localizers have in common: sequences of snippets in, segments in seconds of the video out. How a network
learns and how its answers become segments is in `tasks.localize_bmn`, `tasks.localize_bsn` and `tasks.localize_ctcn`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
from torch import Tensor
from typing_extensions import TypedDict

from videozoo.errors import ConfigError, DataError
from videozoo.layers.proposals import soft_nms
from videozoo.metrics.localization import Localization, Protocol
from videozoo.metrics.metric import Metric
from videozoo.models.model import VideoModel
from videozoo.structured import checked, read_json
from videozoo.tasks.task import Batch, Task
from videozoo.transforms.snippets import ClassTrack, Timeline, segments_within
from videozoo.types import Segments, Span, best_first

__all__ = ["Candidates", "Localize", "Propose", "VideoScores", "spans_of"]

SEQUENCES_AT_ONCE = 16  # of a video that is cut into windows
Output = TypeVar("Output")
Candidates = tuple[np.ndarray, np.ndarray]  # segments `[n 2]` in shares of a sequence, their scores `[n]`


class Localize(Task, Generic[Output]):
    """Segments in seconds from sequences of snippets; see the module.

    Batches hold `features` `[n t d]`, the sequences of all videos; for each video its `timeline` and the true `spans`.
    A sequence in training is answered for the segments that lie at least half inside of it.
    """

    input_name = "snippets"
    network: ClassVar[type[VideoModel]]  # what the task knows to read

    def __init__(
        self,
        model: VideoModel,
        class_names: Sequence[str],
        *,
        protocol: Protocol = "activitynet",
        tolerances_s: tuple[float, ...] = (),
    ):
        if not isinstance(model, self.network):
            raise ConfigError(
                f"task.name: {type(self).recipe_name} reads the answers of {self.network.__name__}, "  # type: ignore[attr-defined]
                f"not of {model.name}; change the model or the task"
            )
        super().__init__(model, class_names)
        self.protocol: Protocol = protocol
        self.tolerances_s = tolerances_s

    def predict(self, batch: Batch) -> list[Segments]:
        features: Tensor = batch["features"]
        found, first = [], 0
        for number, timeline in enumerate(batch["timeline"]):
            num = len(timeline.extents)
            chunks = features[first : first + num].split(SEQUENCES_AT_ONCE)
            answers = [one for chunk in chunks for one in _rows(self.answer(chunk))]
            found.append(self.segments(answers, timeline, id_=batch["id"][number]))
            first += num
        return found

    def answer(self, features: Tensor) -> Output:
        """What the network says of sequences `[n t d]`: a tuple of tensors, each with n rows."""
        output: Output = self.model(features)
        return output

    def segments(self, answers: Sequence[Output], timeline: Timeline, *, id_: str) -> Segments:
        """The segments of one video, from the answers to each of its sequences, which are on the CPU."""
        raise NotImplementedError(f"{type(self).__name__}.segments")

    def metrics(self) -> list[Metric]:
        return [Localization(self.class_names, protocol=self.protocol, tolerances_s=self.tolerances_s)]

    def truth(self, batch: Batch) -> list[tuple[np.ndarray, np.ndarray]]:
        """The (segments `[m 2]` in shares, class indices `[m]`) of each sequence of a batch."""
        index = {name: i for i, name in enumerate(self.class_names)}
        found = []
        for timeline, spans in zip(batch["timeline"], batch["spans"], strict=True):
            for extent in timeline.extents:
                segments, labels = segments_within(spans, extent)
                found.append((segments, np.array([index[label] for label in labels], np.int64)))
        return found


class Propose(Localize[Output]):
    """Localizers whose proposals say where, and whose classifier says what.

    Starts and ends that stand out are joined, gaussian soft-NMS lowers what overlaps better proposals, and a classifier
    names what is left. That is, in this order: `video_scores`, a file of class probabilities of whole videos, for the
    videos that it has; the class probabilities of the feature extractor, averaged inside each proposal, where they are
    stored and its classes are those of the data; else nobody, and segments have no names.

    Args:
        alpha, low, high: of `layers.proposals.soft_nms`.
        max_proposals: of a video, or of as much of it as a window shows.
        num_names: names that each proposal is given, with the product of both scores.
        video_scores: JSON as ActivityNet's challenge had it, `{"class": [name, ...], "results": {id: [score, ...]}}`.
        protocol, tolerances_s: of the evaluation, see `metrics.localization`.
    """

    monitor = "auc"

    def __init__(
        self,
        model: VideoModel,
        class_names: Sequence[str],
        *,
        alpha: float = 0.4,
        low: float = 0.55,
        high: float = 0.9,
        max_proposals: int = 100,
        num_names: int = 2,
        video_scores: str | None = None,
        protocol: Protocol = "activitynet",
        tolerances_s: tuple[float, ...] = (),
    ):
        super().__init__(model, class_names, protocol=protocol, tolerances_s=tolerances_s)
        self.alpha, self.low, self.high = alpha, low, high
        self.max_proposals, self.num_names = max_proposals, num_names
        self.video_scores = VideoScores(video_scores) if video_scores is not None else None

    def candidates(self, answer: Output) -> Candidates:
        """The proposals of one sequence."""
        raise NotImplementedError(f"{type(self).__name__}.candidates")

    def segments(self, answers: Sequence[Output], timeline: Timeline, *, id_: str) -> Segments:
        parts = [self.candidates(answer) for answer in answers]
        if len(parts) > 1:  # a long video: what is weak in its window stays weak, and suppression takes all pairs
            parts = [_best(*part, 2 * self.max_proposals) for part in parts]
        shares, scores = (np.concatenate(column) for column in zip(*parts, strict=True))
        starts_s = np.repeat([extent.start_s for extent in timeline.extents], [len(part[1]) for part in parts])
        length_s = timeline.extents[0].length_s  # all are as long
        # soft-NMS counts in lengths of a sequence, be it the whole video or a window of it
        on_axis = shares + starts_s[:, None] / length_s
        picks, kept = soft_nms(
            on_axis,
            scores,
            alpha=self.alpha,
            low=self.low,
            high=self.high,
            max_kept=timeline.allowance(self.max_proposals),
        )
        seconds = np.clip(on_axis[picks] * length_s, 0.0, timeline.video_s)
        inside = seconds[:, 1] > seconds[:, 0]
        seconds, kept = seconds[inside], kept[inside]
        proposals = spans_of(seconds, [""] * len(kept), kept)
        named = self._named(seconds, kept, timeline.track, id_)
        return Segments(proposals if named is None else named, proposals)

    def _named(
        self, seconds: np.ndarray, scores: np.ndarray, track: ClassTrack | None, id_: str
    ) -> tuple[Span, ...] | None:
        if self.video_scores is not None and (track is None or id_ in self.video_scores):
            names, probs = self.video_scores.read(id_)
            probs = np.broadcast_to(probs, (len(seconds), len(names)))
        elif track is not None:
            names, probs = track.class_names, track.means(seconds)
        else:
            return None
        columns = _columns(names, self.class_names)
        if not columns:
            return None
        labels = list(columns)
        probs = probs[:, [columns[label] for label in labels]]
        best = best_first(probs)[:, : self.num_names]
        row = np.repeat(np.arange(len(seconds)), best.shape[1])
        column = best.flatten()
        return spans_of(seconds[row], [labels[c] for c in column], scores[row] * probs[row, column])


def _rows(output: Any) -> list[Any]:
    """A batch's output, a named tuple of tensors, as one for each sequence, on the CPU."""
    return [type(output)(*row) for row in zip(*(part.float().cpu() for part in output), strict=True)]


_Scores = TypedDict("_Scores", {"class": list[str], "results": dict[str, list[float]]})


class VideoScores:
    """Class probabilities of whole videos from a file, read when the first is asked for."""

    def __init__(self, path: str):
        self.path = Path(path)
        self._names: tuple[str, ...] = ()
        self._results: Mapping[str, Sequence[float]] | None = None

    def read(self, id_: str) -> tuple[tuple[str, ...], np.ndarray]:
        """(class names, probabilities `[k]`) of a video.

        Raises:
            DataError: no such file, not of this form, or without this video.
        """
        results, key = self._load(), self._key(id_)
        if key is None or len(results[key]) != len(self._names):
            raise DataError(
                f"{self.path}: has no {len(self._names)} scores of video '{id_}'; add them, or set "
                "task.video_scores to null to have the feature extractor's"
            )
        return self._names, np.asarray(results[key], np.float64)

    def __contains__(self, id_: str) -> bool:
        return self._key(id_) is not None

    def _key(self, id_: str) -> str | None:
        """What the file calls the video; ActivityNet's ids stand with `v_` before them, or without."""
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


def _best(segments: np.ndarray, scores: np.ndarray, k: int) -> Candidates:
    order = best_first(scores)[:k]
    return segments[order], scores[order]


def _columns(names: Sequence[str], class_names: Sequence[str]) -> dict[str, int]:
    """The column of each class that a classifier knows, too; `moves_left` is `moves left`."""
    known = {_plain(name): i for i, name in enumerate(names)}
    return {name: known[_plain(name)] for name in class_names if _plain(name) in known}


def _plain(name: str) -> str:
    return name.replace("_", " ").casefold()


def spans_of(seconds: np.ndarray, labels: Sequence[str], scores: np.ndarray) -> tuple[Span, ...]:
    """Spans, best first."""
    order = best_first(scores)
    return tuple(Span(float(seconds[i, 0]), float(seconds[i, 1]), labels[i], float(scores[i])) for i in order)
