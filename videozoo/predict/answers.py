"""The answers for any number of videos, as text of a format."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from videozoo.errors import ConfigError, did_you_mean
from videozoo.predict.formats import to_csv, to_edl, to_json, to_srt
from videozoo.predict.outputs import is_folder
from videozoo.predict.prediction import Prediction
from videozoo.types import Span

__all__ = ["FORMATS", "HOLDS_MANY", "Answers", "format_of"]


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
            kind = type(prediction.answer).__name__.lower()
            raise ConfigError(
                f"{where}: is about times, and {prediction.id} has {kind} for the whole video only; "
                "give --window SECONDS, or --segments LOCALIZER"
            )
        return self.spans(prediction)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {
            "run": self.run,
            "predictions": [prediction.to_dict(top=self.top) for prediction in self.found],
            "failed": [{"id": name, "error": reason} for name, reason in self.failed.items()],
        }

    def text(self, format: str) -> str:
        """The answers in one of FORMATS; nothing where a format for one video has none.

        Raises:
            ConfigError: the format needs times and the answers have none.
        """
        return FORMATS[format](self) if self.found or format in HOLDS_MANY else ""


def _json(answers: Answers) -> str:
    return to_json(answers.to_dict())


def _csv(answers: Answers) -> str:
    return to_csv((prediction.id, answers.spans(prediction)) for prediction in answers.found)


def _srt(answers: Answers) -> str:
    (prediction,) = answers.found
    return to_srt(answers.timed_spans(prediction, "srt"))


def _edl(answers: Answers) -> str:
    (prediction,) = answers.found
    return to_edl(answers.timed_spans(prediction, "edl"), prediction.info)


FORMATS: dict[str, Callable[[Answers], str]] = {"json": _json, "csv": _csv, "srt": _srt, "edl": _edl}
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
