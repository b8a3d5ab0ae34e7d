"""METEOR, computed by the Java program in pycocoevalcap."""

from __future__ import annotations

import functools
import shutil
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from videozoo.errors import DataError, counted, require

__all__ = ["meteor", "problem"]

TRIAL_S = 60.0  # time limit of `java -version`
START_S = 180.0  # time limit for loading its tables
LINE_S = 0.2  # time limit per pair; it usually scores hundreds a second


def problem() -> str | None:
    """Returns the reason why METEOR cannot run here, or None."""
    advice = "install one (a JRE of version 8 or later)"
    if shutil.which("java") is None:
        return f"it needs a Java runtime and no 'java' was found; {advice}"
    try:  # on some systems 'java' only prints where to get it
        tried = subprocess.run(["java", "-version"], stdin=subprocess.DEVNULL, capture_output=True, timeout=TRIAL_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"it needs a Java runtime, and 'java -version' does not run here ({error}); {advice}"
    if tried.returncode:
        return f"it needs a Java runtime, and 'java -version' ends with status {tried.returncode}; {advice}"
    return None


def meteor(groups: Sequence[Sequence[tuple[str, Sequence[str]]]]) -> list[float]:
    """Returns METEOR 1.5 (Denkowski and Lavie, WMT 2014), 0..1, of each group of (sentence, its references).

    The sentences of a group are scored together, like those of a data set.

    Raises:
        MissingPackageError: pycocoevalcap is not installed.
        DataError: the program ended early, or exceeded its time limit.
    """
    package = require("pycocoevalcap.meteor.meteor", extra="language", purpose="METEOR")
    folder = Path(str(package.__file__)).parent
    command = ["java", "-Xmx2G", "-Dfile.encoding=UTF-8", "-jar", package.METEOR_JAR]
    num_pairs = sum(len(group) for group in groups)
    limit_s = START_S + LINE_S * num_pairs
    try:
        with subprocess.Popen(
            [*command, "-", "-", "-stdio", "-l", "en", "-norm"],
            cwd=folder,  # the folder of its tables
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
        ) as program:
            watch = threading.Timer(limit_s, program.kill)  # ends a blocked read
            watch.start()
            try:
                return _scores(program, groups)
            finally:
                watch.cancel()
                program.kill()
    except (BrokenPipeError, ValueError) as error:
        raise DataError(
            f"METEOR: its Java program failed, or took longer than {limit_s:.0f} s for "
            f"{counted(num_pairs, 'sentence')} ({error}); try again with 2 GB of free memory; "
            "without 'java' on the PATH, METEOR is skipped"
        ) from error


def _scores(program: subprocess.Popen[str], groups: Sequence[Sequence[tuple[str, Sequence[str]]]]) -> list[float]:
    assert program.stdin is not None and program.stdout is not None
    to, back = program.stdin, program.stdout
    ask = functools.cache(functools.partial(_statistics, to, back))
    return [_together(to, back, [ask(caption, tuple(references)) for caption, references in group]) for group in groups]


def _statistics(to: IO[str], back: IO[str], caption: str, references: tuple[str, ...]) -> str:
    """Returns the program's statistics of one sentence and its references."""
    fields = [field.replace("|||", " ") for field in (*references, caption)]
    return _answer(to, back, " ||| ".join(["SCORE", *fields]))


def _together(to: IO[str], back: IO[str], statistics: Sequence[str]) -> float:
    first = _answer(to, back, " ||| ".join(["EVAL", *statistics]))
    lines = [first, *(back.readline() for _ in statistics)]  # one per sentence, and one for all
    return float(lines[-1])


def _answer(to: IO[str], back: IO[str], line: str) -> str:
    to.write(f"{line}\n")
    to.flush()
    answer = back.readline().strip()
    if not answer:
        raise ValueError("no answer")
    return answer
