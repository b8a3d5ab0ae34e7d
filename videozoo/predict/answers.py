"""The answers for any number of videos, as text of a format."""

from __future__ import annotations

import dataclasses
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

from videozoo.contracts.video import Span
from videozoo.errors import ConfigError, DataError, did_you_mean
from videozoo.io.whole_file import write_whole_text
from videozoo.predict.formats import to_csv, to_edl, to_json, to_srt
from videozoo.predict.outputs import is_folder
from videozoo.predict.prediction import Prediction

__all__ = ["FORMATS", "HOLDS_MANY", "AnswerFile", "AnswerStream", "Answers", "Sink", "format_of"]

SAVE_EVERY_S = 60.0


@dataclasses.dataclass
class Answers:
    """What a run said of videos, and which of them failed and why.

    `top` bounds the labels of an answer about a whole video, `min_score` what counts as found over time.
    """

    run: str
    top: int = 5
    min_score: float = 0.0
    found: list[Prediction] = dataclasses.field(default_factory=list)
    failed: dict[str, str] = dataclasses.field(default_factory=dict)

    def only(self, prediction: Prediction) -> Answers:
        """One video's answer, for a file of its own."""
        return dataclasses.replace(self, found=[prediction], failed={})

    def spans(self, prediction: Prediction) -> tuple[Span, ...]:
        """What happens when, as tables show it."""
        return prediction.spans(min_score=self.min_score, top=self.top)

    def timed_spans(self, prediction: Prediction, where: str) -> tuple[Span, ...]:
        """The same, for what makes no sense without times.

        Raises:
            ConfigError: the answer is about the whole video only.
        """
        if not prediction.is_timed:
            kind = prediction.answer.kind
            raise ConfigError(
                f"{where}: is about times, and {prediction.id} has {kind} for the whole video only; "
                "give --window SECONDS, or --segments LOCALIZER"
            )
        return self.spans(prediction)

    def text(self, format: str) -> str:
        """The answers in one of FORMATS; nothing where a format for one video has none.

        Raises:
            ConfigError: the format needs times and the answers have none.
        """
        if not self.found and format not in HOLDS_MANY:
            return ""
        pieces: list[str] = []
        stream = AnswerStream(self, format, pieces.append)
        for prediction in self.found:
            stream.add(prediction)
        stream.close()
        return "".join(pieces)


class Sink(Protocol):
    """Takes answers as they come.

    Attributes:
        problem: why they could not be written, once they could not.
    """

    problem: str | None

    def add(self, prediction: Prediction) -> None: ...

    def close(self) -> None: ...


class AnswerFile:
    """Writes the answers of many videos to one file, again and again, so that a later video costs none of them."""

    problem: str | None = None

    def __init__(self, answers: Answers, path: Path, format: str):
        self._answers, self._path, self._format = answers, path, format
        self._saved_s, self._took_s = time.monotonic(), 0.0

    def add(self, prediction: Prediction) -> None:
        """Writes the file when the last time is long enough ago: a minute, or a hundred times as long as it takes."""
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
    """Writes answers in one of FORMATS as they come, so that nothing is lost when a later video ends the program.

    Args:
        answers: whose `run`, `top` and `min_score` count, and at the end `failed`.
        write: takes each piece of the text.
        num_written: how many answers a process that crashed has written already.
    """

    problem: str | None = None

    def __init__(self, answers: Answers, format: str, write: Callable[[str], object], *, num_written: int = 0):
        self._answers, self._format, self._write = answers, FORMATS[format], write
        self._num_written = num_written

    def add(self, prediction: Prediction) -> None:
        """Writes one video's answer, and before the first one the head."""
        head = self._format.head(self._answers) if not self._num_written else self._format.between
        self._write(head + self._format.one(self._answers, prediction))
        self._num_written += 1

    def close(self) -> None:
        """Writes the end."""
        head = self._format.head(self._answers) if not self._num_written else ""
        self._write(head + self._format.tail(self._answers, self._num_written > 0))


class Format(NamedTuple):
    """The text of a format in pieces: its head, one for each video, what stands between them, its tail."""

    one: Callable[[Answers, Prediction], str]
    head: Callable[[Answers], str] = lambda answers: ""
    between: str = ""
    tail: Callable[[Answers, bool], str] = lambda answers, any_found: ""


def _json_head(answers: Answers) -> str:
    return '{\n  "run": ' + to_json(answers.run).rstrip() + ',\n  "predictions": ['


def _json_one(answers: Answers, prediction: Prediction) -> str:
    return "\n" + textwrap.indent(to_json(prediction.to_dict(top=answers.top)).rstrip(), "    ")


def _json_tail(answers: Answers, any_found: bool) -> str:
    failed = to_json([{"id": name, "error": reason} for name, reason in answers.failed.items()]).rstrip()
    return ("\n  ]" if any_found else "]") + ',\n  "failed": ' + failed.replace("\n", "\n  ") + "\n}\n"


def _csv_head(answers: Answers) -> str:
    return to_csv(())


def _csv_one(answers: Answers, prediction: Prediction) -> str:
    return to_csv([(prediction.id, answers.spans(prediction))], header=False)


def _srt_one(answers: Answers, prediction: Prediction) -> str:
    return to_srt(answers.timed_spans(prediction, "srt"))


def _edl_one(answers: Answers, prediction: Prediction) -> str:
    return to_edl(answers.timed_spans(prediction, "edl"), prediction.info)


FORMATS: dict[str, Format] = {
    "json": Format(_json_one, _json_head, ",", _json_tail),
    "csv": Format(_csv_one, _csv_head),
    "srt": Format(_srt_one),
    "edl": Format(_edl_one),
}
HOLDS_MANY = ("json", "csv")  # videos in a file; the others hold one


def format_of(name: str | None, out: Path | None, *, num_videos: int) -> str | None:
    """The format that is asked for by name, or else by the ending of the file to write; None: neither.

    Raises:
        ConfigError: there is no such format, or it holds one video and there are several for one place.
    """
    folder = out is not None and is_folder(out)
    if name is None and out is not None:
        name = "json" if folder else out.suffix.lower().removeprefix(".")
        if name not in FORMATS:
            endings = ", ".join(f".{ending}" for ending in FORMATS)
            raise ConfigError(f"--out: the ending of {out} is no format; it is {endings}, or say --format")
    if name is None:
        return None
    if name not in FORMATS:
        raise ConfigError(f"--format: there is no '{name}'{did_you_mean(name, FORMATS)}")
    if num_videos > 1 and name not in HOLDS_MANY and not folder:
        raise ConfigError(f"--format: {name} holds one video, there are {num_videos}; give --out a folder")
    return name
