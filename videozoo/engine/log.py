"""The log of a run: lines of JSON, TensorBoard events, a progress bar."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from videozoo.engine.sinks import SINKS, Sink
from videozoo.errors import TrainingError
from videozoo.io.whole_file import write_whole_text
from videozoo.report.run_log import read_log

__all__ = ["ProgressLine", "RunLog", "read_log"]


class RunLog:
    """Appends to log.jsonl of a run directory; a resumed run first drops the lines after its step.

    A line is `{"step": ..., name: value, ...}`; every sink receives the values, too.

    Args:
        sinks: names of `engine.sinks.SINKS`.
        record: the resolved recipe, for sinks that show it.

    Raises:
        MissingPackageError: the package of a sink is not installed.
        OSError: the log cannot be written; `write` and `picture` raise it, too.
    """

    def __init__(
        self, out_dir: Path, *, step: int = 0, sinks: Sequence[str] = (), record: Mapping[str, Any] | None = None
    ):
        self._sinks: list[Sink] = [SINKS[name](out_dir, step=step, record=record or {}) for name in sinks]
        path = out_dir / "log.jsonl"
        kept = read_log(path, up_to_step=step) if step else []
        write_whole_text(path, "".join(json.dumps(line) + "\n" for line in kept), error=TrainingError)
        self._file = path.open("a", encoding="utf-8")

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Writes one line and flushes it."""
        self._file.write(json.dumps({"step": step, **values}) + "\n")
        self._file.flush()
        for sink in self._sinks:
            sink.write(step, values)

    def picture(self, step: int, name: str, draw: Callable[[], Image.Image | None]) -> None:
        """Sends a picture to the sinks; without sinks it is not drawn. `draw` may return None for no picture."""
        image = draw() if self._sinks else None
        if image is not None:
            for sink in self._sinks:
                sink.picture(step, name, image)

    @property
    def shows_pictures(self) -> bool:
        """Whether a sink shows pictures."""
        return bool(self._sinks)

    def close(self) -> None:
        """Closes the log and all its sinks, even if closing one fails.

        Raises:
            OSError: the log or a sink could not be written.
        """
        with contextlib.ExitStack() as stack:
            stack.callback(self._file.close)
            for sink in self._sinks:
                stack.callback(sink.close)


class ProgressLine:
    """A progress bar with the remaining time on a terminal; otherwise a line every few seconds."""

    def __init__(self, total_steps: int, *, start: int = 0, shown: bool = True, every_s: float = 5.0):
        self.shown = shown
        self._console = Console(stderr=True)
        self._last_s = -every_s if self._console.is_terminal else time.monotonic()
        self._every_s = 0.25 if self._console.is_terminal else every_s
        self._start, self._total, self._started_s = start, total_steps, time.monotonic()
        self._bar = Progress(
            TextColumn("{task.fields[epoch]}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed}/{task.total}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[numbers]}"),
            console=self._console,
            auto_refresh=False,  # no thread: workers are forked while the bar is shown
            disable=not (shown and self._console.is_terminal),
        )
        self._row = self._bar.add_task("", total=total_steps, completed=start, epoch="", numbers="")
        self._numbers = ""

    def update(self, step: int, *, epoch: float, numbers: Mapping[str, float] | None = None) -> None:
        """Moves the bar to `step`; `numbers` stay until the next ones."""
        if numbers is not None:
            self._numbers = "  ".join(_short(name, value) for name, value in numbers.items())
        now = time.monotonic()
        if not self.shown or (now - self._last_s < self._every_s and step < self._total):
            return
        self._last_s = now
        if self._console.is_terminal:
            self._bar.update(self._row, completed=step, epoch=f"epoch {epoch:.1f}", numbers=self._numbers)
            self._bar.refresh()
        else:
            left_s = (now - self._started_s) / max(step - self._start, 1) * (self._total - step)
            self.say(f"epoch {epoch:.1f}  step {step}/{self._total}  {_clock(left_s)} left  {self._numbers}")

    def say(self, text: str) -> None:
        """Prints a line above the bar."""
        if self.shown:
            self._bar.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def __enter__(self) -> ProgressLine:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()


def _short(name: str, value: float) -> str:
    if name == "data_wait_share":
        return f"waiting for data {value:.0%}"
    if name == "clips_per_s":
        return f"{value:.3g} clips/s"
    return f"{name} {value:.4g}"


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"
