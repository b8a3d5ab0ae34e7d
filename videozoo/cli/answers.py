"""Answers on the terminal: timed events, or labels with their probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from videozoo.predict.answers import Answers
    from videozoo.predict.prediction import Prediction, RecordAnswer

__all__ = ["AnswerTable"]

MOST_ROWS = 50  # of a table; files hold all rows


class AnswerTable:
    """Prints answers as they come: rows of one table for several videos with an answer each, else tables for each.

    Of records it prints one table at the end, the first of them.

    Args:
        videos: all videos of the session; the longest name sets the width of its column.
        num_printed: the number of answers that a process printed before it crashed.
    """

    problem: str | None = None

    def __init__(self, answers: Answers, videos: Sequence[Path], *, num_printed: int = 0):
        from rich.cells import cell_len

        from videozoo.terminal import console, escaped

        self._console, self._answers, self._num_printed = console(), answers, num_printed
        self._is_overview = len(videos) > 1
        widest = max((cell_len(escaped(str(video))) for video in videos), default=0)
        self._records: list[RecordAnswer] = []
        self._num_records = 0
        self._name_width = min(max(widest, len("video")), max(self._console.width // 2, 16))

    def add(self, answered: RecordAnswer) -> None:
        """Prints one video's answer at once, or keeps one of the first records."""
        from videozoo.predict.prediction import Prediction

        if not isinstance(answered, Prediction):
            self._num_records += 1
            self._records += [answered] if self._num_records <= MOST_ROWS else []
            return
        if self._is_overview and not answered.is_timed:
            self._console.print(self._row(answered))
        else:
            _print(self._console, answered, self._answers)
        self._num_printed += 1

    def close(self) -> None:
        """Prints the table of records."""
        from rich import box
        from rich.table import Table
        from rich.text import Text

        if not self._records:
            return
        table = Table("video", "labels", box=box.SIMPLE_HEAD, show_edge=False)
        for record in self._records:
            labels = ", ".join(f"{name} {score:.0%}" for name, score in record.answer.ranked(top=self._answers.top))
            table.add_row(Text(record.id), Text(labels))
        self._console.print(table)
        if self._num_records > MOST_ROWS:
            more = f"and {self._num_records - MOST_ROWS} more; write them all with --out answers.json or submission.csv"
            self._console.print(more, style="dim")

    def _row(self, prediction: Prediction) -> Any:
        from rich.text import Text

        table = _table(("video", "left"), ("label", "left"), ("probability", "right"), ("then", "left"))
        table.show_header = not self._num_printed
        video, label, _, rest = table.columns
        video.overflow, video.width = "fold", self._name_width
        label.width = max(self._console.width // 5, 12)
        table.columns[2].width = len("probability")
        rest.style = "dim"
        best, *others = _ranked(prediction, self._answers) or [None]
        then = ", ".join(f"{other} {share:.0%}" for other, share in others)
        shown = (Text(best[0]), f"{best[1]:.1%}") if best is not None else (Text("nothing was found", "yellow"), "")
        table.add_row(Text(prediction.id), *shown, Text(then))
        return table


def _print(console: Console, prediction: Prediction, answers: Answers) -> None:
    from rich.text import Text

    from videozoo.terminal import bar_of

    info = prediction.info
    console.print(Text(prediction.id, "bold"), soft_wrap=True)
    size = f", {info.width_px}x{info.height_px}" if info.width_px else ""  # features have none
    console.print(f"{info.duration_s:.1f} s{size}", style="dim")
    if not prediction.answer.is_timed:
        table = _table(("label", "left"), ("probability", "right"), ("", "left"))
        for name, score in _ranked(prediction, answers):
            table.add_row(Text(name), f"{score:.1%}", bar_of(score))
        console.print(table if table.row_count else Text("nothing was found", "yellow"))
    if prediction.windows:
        console.print(_windows(prediction))
    elif prediction.is_timed:
        _print_spans(console, prediction, answers)
    console.print()


def _print_spans(console: Console, prediction: Prediction, answers: Answers) -> None:
    from rich.text import Text

    from videozoo.contracts.answer import UNNAMED

    spans = answers.spans(prediction)
    if not spans:
        least = f" with a score of at least {answers.min_score:g}" if answers.min_score else ""
        console.print(f"nothing was found{least}", style="yellow")
        return
    table = _table(("from", "right"), ("to", "right"), ("label", "left"), ("score", "right"))
    for span in spans[:MOST_ROWS]:
        table.add_row(_time(span.start_s), _time(span.end_s), Text(span.label or UNNAMED), f"{span.score:.3f}")
    console.print(table)
    if len(spans) > MOST_ROWS:
        console.print(f"and {len(spans) - MOST_ROWS} more; write them all with --out answers.csv", style="dim")


def _windows(prediction: Prediction) -> Any:
    from rich.text import Text

    table = _table(("from", "right"), ("to", "right"), ("label", "left"), ("probability", "right"))
    for window in prediction.windows:
        name, score = next(iter(window.answer.ranked(top=1)), ("", 0.0))
        table.add_row(f"{window.start_s:.2f} s", f"{window.end_s:.2f} s", Text(name), f"{score:.1%}")
    return table


def _ranked(prediction: Prediction, answers: Answers) -> Any:
    return prediction.answer.ranked(top=answers.top)


def _table(*columns: tuple[str, Any]) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False)
    for name, side in columns:
        table.add_column(name, justify=side)
    return table


def _time(time_s: float) -> str:
    """12.34 s, 1:02.34, 1:00:02.34"""
    minutes, seconds = divmod(round(time_s, 2), 60)
    hours, minutes = divmod(int(minutes), 60)
    if hours:
        return f"{hours}:{minutes:02d}:{seconds:05.2f}"
    return f"{minutes}:{seconds:05.2f}" if minutes else f"{seconds:.2f} s"
