"""METEOR by the program that pycocoevalcap carries; it is written in Java."""

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

TRIAL_S = 60.0  # for `java -version`
START_S = 180.0  # to read its tables
LINE_S = 0.2  # of a pair; hundreds a second are usual


def problem() -> str | None:
    """Why METEOR cannot run here, or None."""
    advice = "install one (a JRE of version 8 or later)"
    if shutil.which("java") is None:
        return f"it needs a Java runtime and no 'java' was found; {advice}"
    try:  # some systems have a 'java' that only says where to get one
        tried = subprocess.run(["java", "-version"], stdin=subprocess.DEVNULL, capture_output=True, timeout=TRIAL_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"it needs a Java runtime, and 'java -version' does not run here ({error}); {advice}"
    if tried.returncode:
        return f"it needs a Java runtime, and 'java -version' ends with status {tried.returncode}; {advice}"
    return None


def meteor(groups: Sequence[Sequence[tuple[str, Sequence[str]]]]) -> list[float]:
    """METEOR 1.5 (Denkowski and Lavie, WMT 2014), 0..1, of each group of (sentence, its references).

    The sentences of a group are scored together, as those of a whole data set are.

    Raises:
        MissingPackageError: pycocoevalcap is not installed.
        DataError: the program ended early, or took far too long.
    """
    package = require("pycocoevalcap.meteor.meteor", extra="language", purpose="METEOR")
    folder = Path(str(package.__file__)).parent
    command = ["java", "-Xmx2G", "-Dfile.encoding=UTF-8", "-jar", package.METEOR_JAR]
    num_pairs = sum(len(group) for group in groups)
    limit_s = START_S + LINE_S * num_pairs
    try:
        with subprocess.Popen(
            [*command, "-", "-", "-stdio", "-l", "en", "-norm"],
            cwd=folder,  # where its tables lie
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
        ) as program:
            watch = threading.Timer(limit_s, program.kill)  # a read that never ends comes back then
            watch.start()
            try:
                return _scores(program, groups)
            finally:
                watch.cancel()
                program.kill()
    except (BrokenPipeError, ValueError) as error:
        raise DataError(
            f"METEOR: its Java program broke off, or took longer than {limit_s:.0f} s for "
            f"{counted(num_pairs, 'sentence')} ({error}); try again with 2 GB of free memory; "
            "without 'java' on the PATH, METEOR is left out"
        ) from error


def _scores(program: subprocess.Popen[str], groups: Sequence[Sequence[tuple[str, Sequence[str]]]]) -> list[float]:
    assert program.stdin is not None and program.stdout is not None
    to, back = program.stdin, program.stdout
    ask = functools.cache(functools.partial(_statistics, to, back))
    return [_together(to, back, [ask(said, tuple(references)) for said, references in group]) for group in groups]


def _statistics(to: IO[str], back: IO[str], said: str, references: tuple[str, ...]) -> str:
    """How one sentence matches its references, in the program's own numbers."""
    fields = [field.replace("|||", " ") for field in (*references, said)]
    return _answer(to, back, " ||| ".join(["SCORE", *fields]))


def _together(to: IO[str], back: IO[str], statistics: Sequence[str]) -> float:
    first = _answer(to, back, " ||| ".join(["EVAL", *statistics]))
    lines = [first, *(back.readline() for _ in statistics)]  # one a sentence, and one over all
    return float(lines[-1])


def _answer(to: IO[str], back: IO[str], line: str) -> str:
    to.write(f"{line}\n")
    to.flush()
    answer = back.readline().strip()
    if not answer:
        raise ValueError("no answer")
    return answer
