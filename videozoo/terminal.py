"""Output of the command line: escapes control characters in names, and supports streams of any encoding."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

__all__ = [
    "abandon_stdout",
    "bar_of",
    "console",
    "escaped",
    "fits_stdout",
    "paused",
    "prepare_streams",
    "progress_bars",
    "say",
    "write_json",
    "write_text",
]

# Direction marks, which can make one name look like a different one.
_DIRECTIONS = {*range(0x200E, 0x2010), *range(0x202A, 0x202F), *range(0x2066, 0x206A)}
_CONTROLS = {*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, *_DIRECTIONS, *range(0xD800, 0xE000)}


def _escapes(kept: str) -> dict[int, str]:
    return {c: chr(c).encode("unicode_escape").decode() for c in _CONTROLS if chr(c) not in kept}


_IN_A_LINE, _IN_TEXT = _escapes(""), _escapes("\n\t")


def escaped(text: str, *, lines: bool = False) -> str:
    r"""Returns text on one line, with control characters as backslash escapes (`\x1b[31m`).

    Args:
        lines: keep newlines and tabs, for text of several lines.
    """
    return text if text.isprintable() else text.translate(_IN_TEXT if lines else _IN_A_LINE)


def say(line: str, *, err: bool = False, color: str | None = None) -> None:
    """Prints one line; control characters and newlines are escaped."""
    import typer

    typer.secho(escaped(line), err=err, fg=color)


def write_text(text: str) -> None:
    """Prints text for other programs unchanged and flushes it; on a terminal, control characters are escaped."""
    sys.stdout.write(escaped(text, lines=True) if sys.stdout.isatty() else text)
    sys.stdout.flush()


def write_json(text: str) -> None:
    """Prints JSON and flushes it; control characters and letters outside the stream's encoding become JSON escapes."""
    if not fits_stdout(text):
        text = "".join(c if c.isascii() else json.dumps(c)[1:-1] for c in text)
    elif sys.stdout.isatty():
        text = "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)
    sys.stdout.write(text)
    sys.stdout.flush()


def fits_stdout(text: str) -> bool:
    """Returns whether the encoding of stdout has all letters of a text."""
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def bar_of(share: float, *, width: int = 20) -> str:
    """Returns a bar for a share in 0..1, in characters of stdout's encoding."""
    return ("█" if fits_stdout("█") else "#") * round(width * min(max(share, 0.0), 1.0))


def prepare_streams() -> None:
    """Makes stdout and stderr print letters outside their encoding as backslash escapes."""
    if sys.stdout is None:  # closed by the caller, `>&-`
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 (for as long as the process lives)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(_OneLine())


def abandon_stdout() -> None:
    """Discards the buffered output of a closed or full stdout: Python would report an error again at exit."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


class _OneLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return escaped(super().format(record), lines=record.exc_info is not None)


# ---- rich, which is slow to import --------------------------------------------------------------------


def console(*, stderr: bool = False, **options: Any) -> Console:
    """Returns a console that escapes all text, also in tables, and interprets no markup, emoji or numbers."""
    return _console_class()(stderr=stderr, **{"highlight": False, "emoji": False, "markup": False, **options})


@functools.cache
def _console_class() -> type[Console]:
    from rich.console import Console
    from rich.text import Text

    class Escaping(Console):
        def render(self, renderable: Any, options: Any = None) -> Any:
            if isinstance(renderable, Text) and not renderable.plain.isprintable():
                renderable = renderable.copy()
                renderable.plain = escaped(renderable.plain)
            return super().render(renderable, options)

        def render_str(self, text: str, **options: Any) -> Text:
            return super().render_str(escaped(text), **options)  # rich drops some control characters

    return Escaping


def progress_bars(notes: Console, *, name: str = "{task.description}", in_bytes: bool = False) -> Progress:
    """Returns progress bars, shown on a terminal only; `name` is the column before each bar.

    Args:
        in_bytes: show sizes and the rate of a download instead of counts and the remaining time.
    """
    from rich import progress

    texts: tuple[progress.ProgressColumn, ...] = (progress.MofNCompleteColumn(), progress.TimeRemainingColumn())
    if in_bytes:
        texts = (progress.DownloadColumn(), progress.TransferSpeedColumn())
    columns = (progress.TextColumn(name, markup=False), progress.BarColumn(), *texts)
    is_shown = notes.is_terminal
    return progress.Progress(*columns, console=notes, transient=True, disable=not is_shown, redirect_stdout=False)


@contextlib.contextmanager
def paused(bars: Progress) -> Iterator[None]:
    """Hides the bars while other output is printed."""
    if bars.disable:
        yield
        return
    bars.stop()
    try:
        yield
    finally:
        bars.start()
