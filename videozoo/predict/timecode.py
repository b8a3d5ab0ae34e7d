"""Timecode: frames counted as HH:MM:SS:FF, as in edit lists and cameras (SMPTE ST 12-1)."""

from __future__ import annotations

import dataclasses
import math
import re
from fractions import Fraction

__all__ = ["Timebase"]

MAX_RATE = 60  # frame numbers have two digits; frames of faster rates are counted in groups of 2, 3, ...
_TIMECODE = re.compile(r"(\d\d):(\d\d):(\d\d)([:;.])(\d\d)")


@dataclasses.dataclass(frozen=True)
class Timebase:
    """A frame rate with its way of counting.

    At 29.97 and 59.94 frames/s, 30 (60) frame numbers last slightly longer than a second. Drop-frame counting skips the
    first two (four) numbers of every minute that is not a multiple of ten, so that timecodes agree with the clock;
    non-drop timecodes are 3.6 s behind it after an hour.
    """

    rate: Fraction
    drop: bool = False

    @classmethod
    def of(cls, fps: float, *, timecode: str | None = None) -> Timebase:
        """Returns the timebase of a video of `fps` frames a second; its timecode shows whether it drops.

        Without a timecode, drop-frame counting is used if the rate allows it. For a rate that is neither whole nor
        N / 1.001, times are counted at the nearest whole rate.
        """
        rate = _nearest(fps / math.ceil(fps / (MAX_RATE + 0.5)))
        can_drop = rate.denominator == 1001 and math.ceil(rate) % 30 == 0
        counted = _TIMECODE.fullmatch(timecode) if timecode else None
        return cls(rate, can_drop and (counted is None or counted[4] in ";."))

    @property
    def numbers(self) -> int:
        """Number of frame numbers per second."""
        return math.ceil(self.rate)

    def frame_at(self, time_s: float) -> int:
        """Returns the frame whose start is nearest to `time_s`."""
        return math.floor(Fraction(time_s) * self.rate + Fraction(1, 2))

    def text(self, frame: int) -> str:
        """Returns HH:MM:SS:FF of a frame, counted from 0; drop-frame timecodes have `;` before the frames.

        After 24 hours it starts again at zero.
        """
        number = frame + self._dropped_before(frame)
        seconds, frames = divmod(number, self.numbers)
        minutes, seconds = divmod(seconds, 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours % 24:02d}:{minutes:02d}:{seconds:02d}{';' if self.drop else ':'}{frames:02d}"

    def frame_of(self, timecode: str) -> int | None:
        """Returns the frame of a timecode, or None if the text is not a timecode of this rate."""
        counted = _TIMECODE.fullmatch(timecode)
        if counted is None:
            return None
        hours, minutes, seconds, frames = (int(counted[i]) for i in (1, 2, 3, 5))
        if minutes > 59 or seconds > 59 or frames >= self.numbers:
            return None
        whole_minutes = 60 * hours + minutes
        number = (60 * whole_minutes + seconds) * self.numbers + frames
        return number - self._drops * (whole_minutes - whole_minutes // 10)

    @property
    def _drops(self) -> int:
        """Number of frame numbers skipped in a minute that drops."""
        return self.numbers // 15 if self.drop else 0

    def _dropped_before(self, frame: int) -> int:
        minute = 60 * self.numbers
        tens, rest = divmod(frame, 10 * minute - 9 * self._drops)
        minutes = 0 if rest < minute else 1 + (rest - minute) // (minute - self._drops)  # the first minute drops none
        return self._drops * (9 * tens + minutes)


def _nearest(fps: float) -> Fraction:
    """Returns the whole or N / 1.001 rate equal to `fps`, else the nearest whole one."""
    whole = max(1, round(fps))
    ntsc = Fraction(1000 * max(1, round(fps * 1.001)), 1001)
    return ntsc if abs(fps - ntsc) < 2e-4 * fps and abs(fps - whole) > 2e-4 * fps else Fraction(whole)
