"""Answers as a page shows them: the same plain values for every kind of answer."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

from videozoo.contracts.answer import Answer, BoxMark, Lane
from videozoo.contracts.video import Span
from videozoo.io.reader import TIME_SLACK_S
from videozoo.predict.answers import Answers
from videozoo.predict.draw import leaders
from videozoo.predict.prediction import Prediction, Window

__all__ = ["to_view"]

LARGEST_FPS = 60.0  # marks change at most as often
LEADERS = 8


def to_view(answers: Answers, prediction: Prediction) -> dict[str, Any]:
    """Returns plain values, ready for JSON, from which a timeline and an overlay are drawn.

    They come from the answer's own behavior (`ranked`, `events`, `lanes`, `marks_at`), so a new kind of answer needs
    no code here and none on a page. Times are seconds of the video; sides are pixels of the upright frame.

        {"kind": "labels", "noun": "best label", "is_timed": true,
         "whole": [{"text", "score"}, ...],                                  # the complete video, best first
         "names": ["grow", ...],                                             # for colors, the most important first
         "stretches": [{"start_s", "end_s", "ranked": [{"text", "score"}, ...]}, ...],   # do not overlap
         "curves": [{"name", "values": [one for each stretch]}, ...],         # scores of windows
         "spans": [{"start_s", "end_s", "label", "score"}, ...],             # the same as in SRT and EDL
         "lanes": [{"name", "times_s": [...], "values": [...]}, ...],
         "marks": [{"start_s", "end_s",
                    "boxes": [{"left_px", "top_px", "right_px", "bottom_px", "text", "color_key"}, ...]}, ...]}
    """
    answer, timeline = prediction.answer, prediction.timeline
    names = leaders(timeline, max(answers.top, LEADERS))
    has_scores = bool(prediction.windows) and not prediction.over_spans and not answer.is_timed
    return {
        "kind": answer.kind,
        "noun": answer.noun,
        "is_timed": prediction.is_timed,
        "whole": _ranked(answer, answers.top),
        "names": names,
        "stretches": [
            {**_times(window.start_s, window.end_s), "ranked": _ranked(window.answer, answers.top)}
            for window in timeline
        ],
        "curves": _curves(timeline, names[: answers.top]) if has_scores else [],
        "spans": [_span(span) for span in answers.spans(prediction)] if prediction.is_timed else [],
        "lanes": [] if _is_moving(prediction) else [_lane(lane) for lane in answer.lanes()],
        "marks": list(_marks(prediction)),
    }


def _ranked(answer: Answer, top: int) -> list[dict[str, Any]]:
    return [{"text": text, "score": round(score, 6)} for text, score in answer.ranked(top=top)]


def _curves(timeline: Sequence[Window], names: Sequence[str]) -> list[dict[str, Any]]:
    scores = [dict(reversed(window.answer.ranked())) for window in timeline]  # the first of equal names counts
    return [{"name": name, "values": [round(each.get(name, 0.0), 6) for each in scores]} for name in names]


def _times(start_s: float, end_s: float) -> dict[str, float]:
    return {"start_s": round(start_s, 6), "end_s": round(end_s, 6)}


def _span(span: Span) -> dict[str, Any]:
    return {**_times(span.start_s, span.end_s), "label": span.label, "score": round(span.score, 6)}


def _lane(lane: Lane) -> dict[str, Any]:
    times_s, values = ([round(float(each), 6) for each in row] for row in (lane.times_s, lane.values))
    return {"name": lane.name, "times_s": times_s, "values": values}


def _marks(prediction: Prediction) -> Iterator[dict[str, Any]]:
    """Yields the boxes of each run of frames on which they stay the same; frames without boxes are left out."""
    for boxes, frames in itertools.groupby(_marked_frames(prediction), key=lambda frame: frame[2]):
        times = list(frames)
        if boxes:
            yield {**_times(times[0][0], times[-1][1]), "boxes": [dataclasses.asdict(box) for box in boxes]}


def _marked_frames(prediction: Prediction) -> Iterator[tuple[float, float, Sequence[BoxMark]]]:
    """Yields (start_s, end_s, boxes) of each frame, if the answers have any."""
    info = prediction.info
    step_s = 1 / min(max(info.fps, 1.0), LARGEST_FPS)
    stretches = [(0.0, info.duration_s, prediction.answer)]
    if _is_moving(prediction):
        stretches = [(window.start_s, window.end_s, window.answer) for window in prediction.timeline]
    for start_s, end_s, answer in stretches:
        if type(answer).marks_at is Answer.marks_at:  # the kind has no boxes
            continue
        first, last = (math.ceil((time_s - TIME_SLACK_S) / step_s) for time_s in (start_s, end_s))
        for time_s in (index * step_s for index in range(first, last)):
            yield time_s, time_s + step_s, answer.marks_at(time_s)


def _is_moving(prediction: Prediction) -> bool:
    """Whether the answers over time replace the answer for the complete video."""
    return bool(prediction.windows) or prediction.over_spans
