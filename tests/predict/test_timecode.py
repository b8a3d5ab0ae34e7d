from fractions import Fraction

import pytest

from videozoo.predict.timecode import Timebase

NTSC = 30000 / 1001


def counted(numbers, drops):
    """Every timecode in order, by leaving numbers out one at a time."""
    for minute in range(12):
        for second in range(60):
            for frame in range(numbers):
                if not (minute % 10 and second == 0 and frame < drops):
                    yield f"00:{minute:02d}:{second:02d}{';' if drops else ':'}{frame:02d}"


@pytest.mark.parametrize(
    ("fps", "numbers", "drops"), [(NTSC, 30, 2), (2 * NTSC, 60, 4), (25, 25, 0), (24 / 1.001, 24, 0)]
)
def test_every_frame_has_the_next_number(fps, numbers, drops):
    timebase = Timebase.of(fps)
    for frame, expected in enumerate(counted(numbers, drops)):
        assert timebase.text(frame) == expected
        assert timebase.frame_of(expected) == frame


def test_dropping_keeps_to_the_clock():
    for hours, text in ((1, "01:00:00;00"), (9, "09:00:00;01"), (23, "23:00:00;02")):  # but for a frame in nine hours
        frame = Timebase.of(NTSC).frame_at(3600.0 * hours)
        assert Timebase.of(NTSC).text(frame) == text
        behind_s = 3600 * hours - frame / 30
        assert behind_s == pytest.approx(3.6 * hours, abs=0.1)
    assert Timebase.of(NTSC, timecode="01:00:00:00").text(Timebase.of(NTSC).frame_at(3600)) == "00:59:56:12"


@pytest.mark.parametrize(
    ("fps", "timecode", "rate", "drop"),
    [
        (29.97, None, Fraction(30000, 1001), True),
        (29.970029970, "00:00:00;00", Fraction(30000, 1001), True),
        (29.97, "00:00:00.00", Fraction(30000, 1001), True),
        (29.97, "10:00:00:00", Fraction(30000, 1001), False),
        (59.94, None, Fraction(60000, 1001), True),
        (23.976, None, Fraction(24000, 1001), False),
        (23.976, "00:00:00;00", Fraction(24000, 1001), False),
        (30.0, "00:00:00;00", Fraction(30), False),
        (25.0, None, Fraction(25), False),
        (12.4, None, Fraction(12), False),
        (0.2, None, Fraction(1), False),
        (120.0, None, Fraction(60), False),
        (119.88, None, Fraction(60000, 1001), True),
    ],
)
def test_the_rate_says_how_frames_are_numbered(fps, timecode, rate, drop):
    assert Timebase.of(fps, timecode=timecode) == Timebase(rate, drop)


def test_a_day_has_24_hours():
    assert Timebase.of(25).text(25 * 3600 * 24 + 7) == "00:00:00:07"


@pytest.mark.parametrize("text", ["", "1:2:3", "00:00:00:25", "00:60:00:00", "00:00:61:00", "00:00:00:0x"])
def test_what_is_no_timecode_of_this_rate(text):
    assert Timebase.of(25).frame_of(text) is None
