"""Writes the answers for any number of videos as text of a format, as they arrive."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

from videozoo.contracts.video import Span
from videozoo.errors import ConfigError, DataError, did_you_mean
from videozoo.io.whole_file import whole_file, write_whole_text
from videozoo.predict.feature_shards import KAGGLE_HEADER, kaggle_line
from videozoo.predict.formats import to_csv, to_edl, to_json, to_srt
from videozoo.predict.outputs import is_folder
from videozoo.predict.prediction import Prediction, RecordAnswer
from videozoo.predict.sources import Sources

__all__ = [
    "FORMATS",
    "HOLDS_MANY",
    "RECORD_FORMATS",
    "AnswerFile",
    "AnswerStream",
    "Answers",
    "Format",
    "Sink",
    "StreamFile",
    "format_of",
]

SAVE_EVERY_S = 60.0


@dataclasses.dataclass
class Answers:
    """The answers of a run for videos.

    Attributes:
        run: the run, as the user named it.
        top: number of labels to show in an answer about a complete video.
        min_score: minimum score of an event over time.
        found: the answers so far.
        failed: the error of each failed video or record, by path or id.
    """

    run: str
    top: int = 5
    min_score: float = 0.0
    found: list[Prediction] = dataclasses.field(default_factory=list)
    failed: dict[str, str] = dataclasses.field(default_factory=dict)

    def only(self, prediction: Prediction) -> Answers:
        """Returns a copy with only one video's answer, for a file of its own."""
        return dataclasses.replace(self, found=[prediction], failed={})

    def spans(self, prediction: Prediction) -> tuple[Span, ...]:
        """Returns the timed events as tables show them."""
        return prediction.spans(min_score=self.min_score, top=self.top)

    def timed_spans(self, prediction: Prediction, where: str) -> tuple[Span, ...]:
        """Returns the same for outputs that need times.

        Raises:
            ConfigError: the answer has no times.
        """
        if not prediction.is_timed:
            kind = prediction.answer.kind
            raise ConfigError(
                f"{where}: needs answers with times, but {prediction.id} has {kind} for the whole video only; "
                "give --window SECONDS or --segments LOCALIZER"
            )
        return self.spans(prediction)

    def text(self, format: str) -> str:
        """Returns the answers in one of FORMATS; an empty text if a format for one video has no answer.

        Raises:
            ConfigError: the format needs times and the answers have none.
        """
        if not self.found and format not in HOLDS_MANY:
            return ""
        pieces: list[str] = []
        stream = AnswerStream(self, FORMATS[format], pieces.append)
        for prediction in self.found:
            stream.add(prediction)
        stream.close()
        return "".join(pieces)


class Sink(Protocol):
    """Takes answers as they arrive.

    Attributes:
        problem: the reason why they could not be written, or None.
    """

    @property
    def problem(self) -> str | None: ...

    def add(self, answered: RecordAnswer) -> None: ...

    def close(self) -> None: ...


class AnswerFile:
    """Rewrites one file with all answers from time to time, so that a crash at a later video loses few of them."""

    problem: str | None = None

    def __init__(self, answers: Answers, path: Path, format: str):
        self._answers, self._path, self._format = answers, path, format
        self._saved_s, self._took_s = time.monotonic(), 0.0

    def add(self, answered: RecordAnswer) -> None:
        """Writes the file if the last write is a minute ago, or a hundred times as long as a write takes."""
        if time.monotonic() - self._saved_s > max(SAVE_EVERY_S, 100 * self._took_s):
            self.close()

    def close(self) -> None:
        """Writes the file."""
        began_s = time.monotonic()
        try:
            write_whole_text(self._path, self._answers.text(self._format))
            self.problem = None
        except DataError as error:
            self.problem = str(error)
        self._saved_s = time.monotonic()
        self._took_s = self._saved_s - began_s


class AnswerStream:
    """Writes answers in a format as they arrive, so that a crash at a later video loses none of them.

    Args:
        answers: gives `run`, `top` and `min_score`, and at the end `failed`.
        write: takes each piece of the text.
        num_written: number of answers that a crashed process has already written.
    """

    problem: str | None = None

    def __init__(self, answers: Answers, format: Format, write: Callable[[str], object], *, num_written: int = 0):
        self._answers, self._format, self._write = answers, format, write
        self._num_written = num_written

    def add(self, answered: RecordAnswer) -> None:
        """Writes one answer, preceded by the head if it is the first."""
        head = self._format.head(self._answers) if not self._num_written else self._format.between
        self._write(head + self._format.one(self._answers, answered))
        self._num_written += 1

    def close(self) -> None:
        """Writes the end."""
        head = self._format.head(self._answers) if not self._num_written else ""
        self._write(head + self._format.tail(self._answers, self._num_written > 0))


class StreamFile:
    """Writes the answers of many records to one file, which appears at the end, also after an error."""

    problem: str | None = None

    def __init__(self, answers: Answers, path: Path, format: Format):
        self._stack = contextlib.ExitStack()
        part = self._stack.enter_context(whole_file(path))
        file = part.open("w", encoding="utf-8", errors="backslashreplace", newline="\n")
        self._file = self._stack.enter_context(file)
        self._stream = AnswerStream(answers, format, self._file.write)

    def add(self, answered: RecordAnswer) -> None:
        """Writes one answer.

        Raises:
            DataError: it cannot be written.
        """
        try:
            self._stream.add(answered)
        except OSError as error:
            self._stack.__exit__(type(error), error, error.__traceback__)
            raise

    def close(self) -> None:
        """Writes the end and gives the file its name."""
        with self._stack:
            if not self._file.closed:
                self._stream.close()


class Format(NamedTuple):
    """The text of a format in pieces: its head, one for each answer, the text between two of them, its tail."""

    one: Callable[[Answers, RecordAnswer], str]
    head: Callable[[Answers], str] = lambda answers: ""
    between: str = ""
    tail: Callable[[Answers, bool], str] = lambda answers, any_found: ""


def _json_head(answers: Answers) -> str:
    return '{\n  "run": ' + to_json(answers.run).rstrip() + ',\n  "predictions": ['


def _json_one(answers: Answers, answered: RecordAnswer) -> str:
    return "\n" + textwrap.indent(to_json(answered.to_dict(top=answers.top)).rstrip(), "    ")


def _json_tail(answers: Answers, any_found: bool) -> str:
    failed = to_json([{"id": name, "error": reason} for name, reason in answers.failed.items()]).rstrip()
    return ("\n  ]" if any_found else "]") + ',\n  "failed": ' + failed.replace("\n", "\n  ") + "\n}\n"


def _lines_head(answers: Answers) -> str:
    return '{"run": ' + json.dumps(answers.run) + ', "predictions": [\n'


def _lines_one(answers: Answers, answered: RecordAnswer) -> str:
    return json.dumps(answered.to_dict(top=answers.top), ensure_ascii=False) + "\n"


def _lines_tail(answers: Answers, any_found: bool) -> str:
    failed = [{"id": name, "error": reason} for name, reason in answers.failed.items()]
    return '], "failed": ' + json.dumps(failed) + "}\n"


def _csv_head(answers: Answers) -> str:
    return to_csv(())


def _csv_one(answers: Answers, answered: RecordAnswer) -> str:
    prediction = _of_video(answered)
    return to_csv([(prediction.id, answers.spans(prediction))], header=False)


def _srt_one(answers: Answers, answered: RecordAnswer) -> str:
    return to_srt(answers.timed_spans(_of_video(answered), "srt"))


def _edl_one(answers: Answers, answered: RecordAnswer) -> str:
    prediction = _of_video(answered)
    return to_edl(answers.timed_spans(prediction, "edl"), prediction.info)


def _of_video(answered: RecordAnswer) -> Prediction:
    assert isinstance(answered, Prediction)  # records have RECORD_FORMATS
    return answered


def _kaggle_head(answers: Answers) -> str:
    return f"{KAGGLE_HEADER}\n"


def _kaggle_one(answers: Answers, answered: RecordAnswer) -> str:
    return kaggle_line(answered.id, answered.labels) + "\n"


FORMATS: dict[str, Format] = {
    "json": Format(_json_one, _json_head, ",", _json_tail),
    "csv": Format(_csv_one, _csv_head),
    "srt": Format(_srt_one),
    "edl": Format(_edl_one),
}
HOLDS_MANY = ("json", "csv")  # formats of several videos in a file; the others hold one
# There may be millions of records, hence one line each.
RECORD_FORMATS: dict[str, Format] = {
    "json": Format(_lines_one, _lines_head, ",", _lines_tail),
    "kaggle": Format(_kaggle_one, _kaggle_head),
}
_RECORD_ENDINGS = {".json": "json", ".csv": "kaggle"}


def format_of(name: str | None, out: Path | None, sources: Sources) -> str | None:
    """Returns the format given by name, or else by the ending of the file to write; None if neither is given.

    Raises:
        ConfigError: there is no such format, or it holds one video and there are several for one file.
    """
    if sources.shards:
        return _record_format(name, out)
    folder = out is not None and is_folder(out)
    if name is None and out is not None:
        name = "json" if folder else out.suffix.lower().removeprefix(".")
        if name not in FORMATS:
            endings = ", ".join(f".{ending}" for ending in FORMATS)
            raise ConfigError(f"--out: the ending of {out} names no format; use {endings}, or give --format")
    if name is None:
        return None
    if name not in FORMATS:
        raise ConfigError(f"--format: there is no '{name}'{did_you_mean(name, FORMATS)}")
    if len(sources.videos) > 1 and name not in HOLDS_MANY and not folder:
        raise ConfigError(f"--format: {name} holds one video, not {len(sources.videos)}; give a folder: --out FOLDER")
    return name


def _record_format(name: str | None, out: Path | None) -> str | None:
    if name is None and out is not None:
        name = _RECORD_ENDINGS.get(out.suffix.lower())
        if name is None:
            raise ConfigError(f"--out: {out} ends in neither .json nor .csv (Kaggle's format); or give --format")
    if name is not None and name not in RECORD_FORMATS:
        raise ConfigError(f"--format: for features there is no '{name}'{did_you_mean(name, RECORD_FORMATS)}")
    return name
