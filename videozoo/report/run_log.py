"""The log of a run, line by line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from typing_extensions import TypedDict

from videozoo.errors import DataError
from videozoo.structured import checked, parse_json, read_text

__all__ = ["read_log"]

ADVICE = "remove the line, or the log"


class Line(TypedDict):
    """A line of a log: the step, and further values by name."""

    step: int


def read_log(path: Path, *, up_to_step: int | None = None) -> list[dict[str, Any]]:
    """Reads the lines of a log, one dict each; skips an incomplete last line.

    Raises:
        DataError: a line has no step number, or the file is not text.
    """
    lines: list[dict[str, Any]] = []
    texts = read_text(path, kind="log").split("\n") if path.exists() else []
    for number, text in enumerate(texts, 1):
        where = f"{path}:{number}"
        try:
            found = parse_json(text, where=where)
        except DataError:
            break
        line = checked(found, dict[str, Any], where=where, advice=ADVICE)
        line["step"] = checked(line, Line, where=where, advice=ADVICE)["step"]
        if up_to_step is None or line["step"] <= up_to_step:
            lines.append(line)
    return lines
