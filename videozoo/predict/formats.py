"""Formats of answers for other programs: tables (CSV), subtitles (SRT), edit lists (EDL), and JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from videozoo.contracts.answer import UNNAMED
from videozoo.contracts.video import Span, VideoInfo
from videozoo.predict.timecode import Timebase
from videozoo.terminal import escaped

__all__ = ["CSV_COLUMNS", "to_csv", "to_edl", "to_json", "to_srt"]

CSV_COLUMNS = ("video", "start_s", "end_s", "label", "score")
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")  # of cells that a spreadsheet computes
EDL_START_S = 3600  # customary start of a sequence; some machines have no times before zero


def to_json(answers: Any) -> str:
    """Returns plain values as indented JSON with a final newline; letters of any language stay readable."""
    return json.dumps(answers, indent=2, ensure_ascii=False) + "\n"


def to_csv(spans_by_video: Iterable[tuple[str, Sequence[Span]]], *, header: bool = True) -> str:
    """Returns a row for each span (RFC 4180), below a header; seconds to the millisecond.

    Videos without spans have no row. Names and labels that a spreadsheet would compute (`=1+1.mp4`) begin
    with an apostrophe.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if header:
        writer.writerow(CSV_COLUMNS)
    for video, spans in spans_by_video:
        name = _cell(video)
        for span in spans:
            times = (f"{span.start_s:.3f}", f"{span.end_s:.3f}")
            writer.writerow([name, *times, _cell(span.label), f"{span.score:.6g}"])
    return text.getvalue()


def _cell(text: str) -> str:
    """Returns a cell that a spreadsheet does not compute, without carriage returns, which `csv` does not escape."""
    return (f"'{text}" if text.startswith(FORMULA_STARTS) else text).replace("\r", r"\r")


def to_srt(spans: Sequence[Span]) -> str:
    """Returns subtitles (SubRip), one per span, in the order of their start; an empty text for no spans.

    Spans that overlap are shown together. A subtitle lasts at least a millisecond.
    """
    cues = []
    for number, span in enumerate(_in_time(spans), start=1):
        start_ms = round(span.start_s * 1000)
        end_ms = max(round(span.end_s * 1000), start_ms + 1)
        text = _text(span).replace("-->", "->")
        cues.append(f"{number}\n{_srt_time(start_ms)} --> {_srt_time(end_ms)}\n{text}\n")
    return "\n".join(cues)


def to_edl(spans: Sequence[Span], info: VideoInfo, *, title: str = "") -> str:
    """Returns a CMX3600 edit list of the spans, one after the other, in the order of their start.

    Source times begin at the video's own timecode, or at zero; the sequence begins at one hour. Comments below each
    event give the label and its score. Times snap to the nearest frame; an event lasts at least one frame.

    Rates: 29.97 and 59.94 frames/s use drop-frame counting, unless the video's timecode is non-drop; the `FCM` line
    states it. Rates above 60 are counted in groups of two frames, three, ...
    """
    timebase = Timebase.of(info.fps, timecode=info.timecode)
    name = _one_line(Path(info.path).name)
    lines = [f"TITLE: {_one_line(title) or name}", f"FCM: {'' if timebase.drop else 'NON-'}DROP FRAME"]
    origin = timebase.frame_of(info.timecode) if info.timecode else 0
    if origin is None:
        lines.append(f"* TIMECODE {_one_line(info.timecode or '')} DOES NOT FIT {info.fps:g} FPS; COUNTED FROM ZERO")
    origin = origin or 0
    record = timebase.frame_of(f"{EDL_START_S // 3600:02d}:00:00:00") or 0
    channels = "B" if info.has_audio else "V"
    for number, span in enumerate(_in_time(spans), start=1):
        start = timebase.frame_at(span.start_s)
        length = max(timebase.frame_at(span.end_s) - start, 1)
        times = (origin + start, origin + start + length, record, record + length)
        lines += [
            "",
            f"{number:03d}  AX       {channels}     C        {' '.join(map(timebase.text, times))}",
            f"* FROM CLIP NAME: {name}",
            f"* COMMENT: {_text(span)} ({span.score:.3f})",
        ]
        record += length
    return "\n".join(lines) + "\n"


def _in_time(spans: Sequence[Span]) -> list[Span]:
    return sorted(spans, key=lambda span: (span.start_s, span.end_s))


def _text(span: Span) -> str:
    return _one_line(span.label) or UNNAMED


def _one_line(text: str) -> str:
    return escaped(" ".join(text.split()))


def _srt_time(time_ms: int) -> str:
    seconds, milliseconds = divmod(time_ms, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{seconds:02d},{milliseconds:03d}"
