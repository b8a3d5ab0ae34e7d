"""Every error that videozoo raises on purpose.

    VideoZooError
    ├── ConfigError          a recipe, an override or an argument
    ├── DataError            a data set, a list file, an annotation
    │   ├── DecodeError      one video file; carries its path and the decoder's reason
    │   └── WidthError       features whose width does not fit the model
    ├── WeightsError         a checkpoint, a weight file, a download
    ├── TrainingError        a run that had to stop
    └── MissingPackageError  an optional package (also an ImportError)

A message is one line: `<where>: <what is wrong, with the value>; <what is accepted or what to do>`.
"""

from __future__ import annotations

import difflib
import importlib
import os
from collections.abc import Iterable
from types import ModuleType

__all__ = [
    "TORCH_EXTRA",
    "ConfigError",
    "DataError",
    "DecodeError",
    "MissingPackageError",
    "TrainingError",
    "VideoZooError",
    "WeightsError",
    "WidthError",
    "counted",
    "did_you_mean",
    "require",
]


TORCH_EXTRA = ("torch", "torchvision", "timm", "tensorboard")  # packages that `pip install videozoo[torch]` adds


class VideoZooError(Exception):
    """The root: catch this to catch everything that videozoo raises on purpose."""


class ConfigError(VideoZooError):
    """A recipe, an override or an argument is wrong."""


class DataError(VideoZooError):
    """A data set, a list file or an annotation is wrong."""


class DecodeError(DataError):
    """A video file cannot be read; `path` is its path, `reason` the decoder's message."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        reason: str,
        advice: str = "remove it from the list or fetch it again",
    ):
        self.path = os.fspath(path)
        self.reason = reason
        self.advice = advice
        super().__init__(f"{self.path}: {reason}; {advice}")

    def __reduce__(self) -> tuple[type[DecodeError], tuple[str, str, str]]:
        return type(self), (self.path, self.reason, self.advice)  # survives the trip out of a worker process


class WidthError(DataError):
    """Features have a different width than the model expects.

    If one sample is affected, assume the whole data set is.
    """


class WeightsError(VideoZooError):
    """A checkpoint or a weight file cannot be used."""


class TrainingError(VideoZooError):
    """A training run had to stop."""


class MissingPackageError(VideoZooError, ImportError):
    """An optional package is not installed."""


def counted(count: int, noun: str) -> str:
    """Returns a count with its noun: `1 video`, `2 videos`, `2 classes`."""
    ending = "" if count == 1 else "es" if noun.endswith(("s", "x", "ch", "sh")) else "s"
    return f"{count} {noun}{ending}"


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """Returns the end of an error message: `; did you mean 'x'? accepted: ...`."""
    names = sorted(choices)
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    hint = f"did you mean '{near[0]}'? " if near else ""
    return f"; {hint}accepted: {', '.join(names) or 'nothing'}"


def require(package: str, *, extra: str | None, purpose: str) -> ModuleType:
    """Imports an optional package; the error for a missing one names the extra that installs it, or the package.

    Raises:
        MissingPackageError: the package is not installed, or does not load on this machine.
    """
    try:
        return importlib.import_module(package)
    except (ImportError, OSError, RuntimeError) as error:
        wanted = package if extra is None else f"'videozoo[{extra}]'"
        raise MissingPackageError(
            f"{purpose}: needs the package '{package}' ({error}); run: pip install {wanted}"
        ) from error
