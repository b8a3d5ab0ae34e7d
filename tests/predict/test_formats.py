"""What is written is read back by parsers of its own, made from the formats' descriptions."""

import csv
import dataclasses
import io
import json
import re

import pytest

from videozoo.contracts.video import Span, VideoInfo
from videozoo.predict.formats import CSV_COLUMNS, to_csv, to_edl, to_json, to_srt

INFO = VideoInfo("clips/match.mp4", 9000.0, 25.0, 225000, 64, 48, 0, "h264", "yuv420p", 0.0, 1)
SPANS = (
    Span(3725.5, 3730.0, "late, by an hour", 0.25),
    Span(0.04, 2.0, "moves left", 0.875),
    Span(1.0, 4.0, 'says "no"\n\nand → 走る', 0.5),
)
IN_TIME = sorted(SPANS, key=lambda span: span.start_s)


def read_csv(text):
    """RFC 4180 letter by letter."""
    rows, row, cell, quoted = [], [], "", False
    letters = iter(text + "\0")
    letter = next(letters)
    while letter != "\0":
        following = next(letters)
        if quoted and letter == '"' and following == '"':
            cell, following = cell + '"', next(letters)
        elif letter == '"':
            quoted = not quoted
        elif quoted or letter not in ",\n":
            cell += letter
        else:
            row, cell = [*row, cell], ""
            if letter == "\n":
                rows, row = [*rows, row], []
        letter = following
    assert not quoted
    assert not cell
    return rows


def read_srt(text):
    cues = []
    for number, block in enumerate(filter(None, text.split("\n\n")), start=1):
        index, times, *words = block.rstrip("\n").split("\n")
        assert int(index) == number
        found = re.fullmatch(r"(\d\d):(\d\d):(\d\d),(\d{3}) --> (\d\d):(\d\d):(\d\d),(\d{3})", times)
        h, m, s, ms, *end = map(int, found.groups())
        cues.append((h * 3600 + m * 60 + s + ms / 1000, end[0] * 3600 + end[1] * 60 + end[2] + end[3] / 1000, words))
    return cues


def read_edl(text):
    """(title, mode, events); an event is its four timecodes, its channels and its comments."""
    title, mode, *lines = text.splitlines()
    events = []
    for line in filter(None, lines):
        if line.startswith("*"):
            if events:
                events[-1][2].append(line[2:])
            continue
        number, reel, channels, kind, *times = line.split()
        assert (number, reel, kind) == (f"{len(events) + 1:03d}", "AX", "C")
        events.append((times, channels, []))
    return title.removeprefix("TITLE: "), mode.removeprefix("FCM: "), events


def number_of(timecode, per_second):
    """The frame a timecode without drops stands for."""
    hours, minutes, seconds, frames = map(int, re.split("[:;]", timecode))
    return ((hours * 60 + minutes) * 60 + seconds) * per_second + frames


def test_csv_comes_back_as_it_was():
    header, *rows = read_csv(to_csv([("a,b.mp4", SPANS), ("none.mp4", ()), ("c.mp4", SPANS[:1])]))
    assert tuple(header) == CSV_COLUMNS
    expected = [("a,b.mp4", span) for span in SPANS] + [("c.mp4", SPANS[0])]
    assert [(row[0], Span(float(row[1]), float(row[2]), row[3], float(row[4]))) for row in rows] == expected


def test_csv_of_nothing_is_a_header():
    assert to_csv([]) == to_csv([("a.mp4", ())]) == "video,start_s,end_s,label,score\n"


def test_subtitles_are_in_the_order_of_time():
    cues = read_srt(to_srt(SPANS))
    assert [cue[:2] for cue in cues] == [(span.start_s, span.end_s) for span in IN_TIME]
    assert [cue[2] for cue in cues] == [["moves left"], ['says "no" and → 走る'], ["late, by an hour"]]


def test_subtitles_last_and_do_not_end_themselves():
    ((start_s, end_s, words),) = read_srt(to_srt([Span(1.0001, 1.0002, "a --> b")]))
    assert (start_s, end_s, words) == (1.0, 1.001, ["a -> b"])
    assert to_srt([]) == ""


def test_an_edit_list_lays_the_spans_one_after_the_other():
    title, mode, events = read_edl(to_edl(SPANS, INFO))
    assert (title, mode) == ("match.mp4", "NON-DROP FRAME")
    assert [event[0] for event in events] == [
        ["00:00:00:01", "00:00:02:00", "01:00:00:00", "01:00:01:24"],
        ["00:00:01:00", "00:00:04:00", "01:00:01:24", "01:00:04:24"],
        ["01:02:05:13", "01:02:10:00", "01:00:04:24", "01:00:09:11"],
    ]
    assert {event[1] for event in events} == {"V"}
    assert events[1][2] == ["FROM CLIP NAME: match.mp4", 'COMMENT: says "no" and → 走る (0.500)']


def test_source_times_begin_at_the_videos_own_timecode():
    info = dataclasses.replace(INFO, timecode="09:59:58:10", audio_rate_hz=48000)
    _, _, (event,) = read_edl(to_edl([Span(1.0, 2.0)], info, title="two\nwords"))
    assert event[0][:2] == ["09:59:59:10", "10:00:00:10"]
    assert event[1] == "B"
    assert to_edl([], info, title="two\nwords").startswith("TITLE: two words\n")


@pytest.mark.parametrize(
    ("timecode", "mode"), [(None, "DROP FRAME"), ("00:00:00;00", "DROP FRAME"), ("00:00:00:00", "NON-DROP FRAME")]
)
def test_rates_that_are_not_whole(timecode, mode):
    fps = 30000 / 1001
    info = dataclasses.replace(INFO, fps=fps, timecode=timecode)
    spans = [Span(k / fps, (k + 100) / fps, "x") for k in (1798, 17981, 100_000)]
    _, said, events = read_edl(to_edl(spans, info))
    assert said == mode
    if mode == "DROP FRAME":  # 1800 is the first number that is left out, 17982 frames are ten minutes
        assert [event[0][0] for event in events] == ["00:00:59;28", "00:09:59;29", "00:55:36;20"]
        assert events[0][0][1] == "00:01:03;10"
        assert "".join(event[0][2][8] for event in events) == ";;;"
    else:
        for event, first in zip(events, (1798, 17981, 100_000), strict=True):
            assert [number_of(t, 30) for t in event[0][:2]] == [first, first + 100]


def test_an_event_has_a_frame_and_no_events_are_a_list_too():
    _, _, (event,) = read_edl(to_edl([Span(1.0, 1.001)], INFO))
    assert event[0] == ["00:00:01:00", "00:00:01:01", "01:00:00:00", "01:00:00:01"]
    assert read_edl(to_edl([], INFO)) == ("match.mp4", "NON-DROP FRAME", [])


def test_a_timecode_that_does_not_fit_is_said():
    text = to_edl([Span(1.0, 2.0)], dataclasses.replace(INFO, timecode="00:00:00:29"))
    assert "\n* TIMECODE 00:00:00:29 DOES NOT FIT 25 FPS; COUNTED FROM ZERO\n" in text
    assert read_edl(text)[2][0][0][0] == "00:00:01:00"


def test_json_keeps_letters_as_they_are():
    assert "走る" in to_json({"label": "走る"})
    assert json.loads(to_json({"label": 'a "b"\n'})) == {"label": 'a "b"\n'}


def test_cells_that_a_spreadsheet_would_compute_are_quoted():
    spans = [Span(0, 1, label) for label in ("=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "a=b", "é")]
    text = to_csv([("=1+1.mp4", spans), ("-1.mp4", spans[-1:])])
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [row["video"] for row in rows] == ["'=1+1.mp4"] * 8 + ["'-1.mp4"]
    labels = [row["label"] for row in rows[:8]]
    assert labels == [f"'{span.label}" for span in spans[:5]] + [r"'\rx", "a=b", "é"]
    assert [row["start_s"] for row in rows[:8]] == ["0.000"] * 8


def test_control_characters_do_not_reach_subtitles_and_edit_lists():
    spans = [Span(0, 1, "\x1b[31mred\x07\u202e")]
    for text in (to_srt(spans), to_edl(spans, dataclasses.replace(INFO, path="a\x1b.mp4"))):
        assert r"\x1b[31mred\x07\u202e" in text and text.replace("\n", "").isprintable()
