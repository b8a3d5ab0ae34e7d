"""`videozoo stream`: what happens in a camera, a network stream, a pipe or a file, while it happens."""

# ruff: noqa: UP045 (typer reads the types on Python 3.10)

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional, TypeAlias

import typer
from typer import Option

from videozoo.cli.eval import Precision
from videozoo.cli.reading import AllowCode, MaxPixels

if TYPE_CHECKING:
    from videozoo.stream.messages import Message
    from videozoo.stream.session import StreamSession

__all__ = ["stream"]

Number: TypeAlias = Optional[float]

Run = Annotated[Path, typer.Argument(help="A run directory, a weight file, or the folder of an export.")]
SourceName = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="webcam:0 or /dev/video0, a URL (rtsp, http, ...), a file, or - for standard input.",
    ),
]
Window = Annotated[Number, Option(help="Seconds of a clip [those of the run's input, if it has a fixed length].")]
Stride = Annotated[Number, Option(help="Seconds from one window to the next [half a window].")]
Every = Annotated[float, Option(min=0, help="Least seconds from one answer to the next.")]
Top = Annotated[int, Option(min=1, help="Number of labels in each answer, the best first.")]
On = Annotated[float, Option(help="Score from which an event begins.")]
Off = Annotated[float, Option(help="Score below which an event ends.")]
Hold = Annotated[float, Option(help="Seconds below --off that an event outlasts.")]
NoneBelow = Annotated[float, Option(help="Score of the best label below which the answer is nothing.")]
Record = Annotated[Optional[Path], Option(help="Write the events as clips into this folder.")]
Before = Annotated[float, Option(help="Seconds of a clip before its event.")]
After = Annotated[float, Option(help="Seconds of a clip after its event.")]
Longest = Annotated[float, Option(help="Largest number of seconds of a clip.")]
Limit = Annotated[Number, Option("--for-s", help="Stop after this many seconds [at the end of the source].")]
Fast = Annotated[
    bool, Option("--fast", help="Read a file without waiting, or a pipe without losing frames; nothing is dropped.")
]
Queue = Annotated[int, Option(help="Frames that may wait for the network; then the oldest is dropped.")]
Retry = Annotated[float, Option(min=0, help="Seconds without a frame after which a URL is given up; 0 never retries.")]
AsJson = Annotated[Optional[bool], Option("--json/--text", help="Lines of JSON, or text [text on a terminal].")]
Device = Annotated[str, Option(help="cpu, cuda, cuda:1, mps or auto.")]
OfForward = Annotated[Precision, Option(help="Number format of the forward pass.")]


def stream(
    run: Run,
    source: SourceName,
    window: Window = None,
    stride: Stride = None,
    every_s: Every = 0.0,
    top: Top = 3,
    on: On = 0.6,
    off: Off = 0.4,
    hold_s: Hold = 0.0,
    none_below: NoneBelow = 0.0,
    record: Record = None,
    before_s: Before = 2.0,
    after_s: After = 2.0,
    longest_s: Longest = 300.0,
    for_s: Limit = None,
    fast: Fast = False,
    queue: Queue = 16,
    retry_s: Retry = 60.0,
    as_json: AsJson = None,
    allow_code: AllowCode = None,
    max_pixels: MaxPixels = None,
    device: Device = "auto",
    precision: OfForward = Precision.fp32,
) -> None:
    """Answer for a stream of video as it arrives, with the events in it and the latency of each answer.

    A causal network answers after every frame, any other network in sliding windows. Ctrl-C stops with a summary.
    """
    import sys

    from videozoo.loading import open_network
    from videozoo.stream.answering import Timing
    from videozoo.stream.events import Hysteresis
    from videozoo.stream.record import Margins
    from videozoo.stream.session import Settings, StreamSession
    from videozoo.stream.source import open_source

    settings = Settings(
        timing=Timing(window, stride, every_s),
        hysteresis=Hysteresis(on, off, hold_s),
        none_below=none_below,
        top=top,
        queue_frames=queue,
        limit_s=for_s,
        record=record,
        margins=Margins(before_s, after_s, longest_s),
    )
    network = open_network(run, device=device, precision=precision.value)
    session = StreamSession(network, open_source(source, fast=fast, retry_s=retry_s), settings)
    is_text = sys.stdout.isatty() if as_json is None else not as_json
    with _stopping(session), _view() if is_text else contextlib.nullcontext(_print_json) as sink:
        summary = session.run(sink)
    if summary.num_failed_clips:
        raise typer.Exit(1)


@contextlib.contextmanager
def _stopping(session: StreamSession) -> Iterator[None]:
    """Ends the session on the first SIGINT or SIGTERM; a second one acts as usual."""
    before: dict[int, Any] = {}

    def stop(number: int, _: object) -> None:
        session.stop()
        signal.signal(number, before[number])

    for each in (signal.SIGINT, signal.SIGTERM):
        before[each] = signal.signal(each, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _print_json(message: Message) -> None:
    import json

    from videozoo.terminal import write_json

    write_json(json.dumps(message.to_dict(), ensure_ascii=False) + "\n")


@contextlib.contextmanager
def _view() -> Iterator[Callable[[Message], None]]:
    """Shows the latest answer in place on a terminal, and prints all other messages above it."""
    from rich.live import Live

    from videozoo.stream.messages import Answered
    from videozoo.terminal import console

    shown = console()
    with Live(console=shown, refresh_per_second=10, transient=True, redirect_stdout=False) as live:

        def sink(message: Message) -> None:
            if isinstance(message, Answered):
                if shown.is_terminal:
                    live.update(_table(message))
                else:
                    shown.print(_line(message), soft_wrap=True)
            else:
                shown.print(_line(message), soft_wrap=True)

        yield sink


def _table(answered: Any) -> Any:
    """Draws an answer: its labels as bars, with time, latency and lost frames."""
    from rich.table import Table
    from rich.text import Text

    from videozoo.terminal import bar_of

    table = Table(box=None, show_header=False)
    dropped = f"  {answered.dropped_frames} dropped" if answered.dropped_frames else ""
    table.add_row(f"{answered.time_s:.2f} s", Text(answered.label or "nothing", "bold"), "")
    for entry in answered.answer.get("labels", ()):
        table.add_row("", Text(entry["name"]), f"{entry['score']:6.1%} {bar_of(entry['score'])}")
    table.add_row("", "", f"{1000 * answered.latency_s:.0f} ms{dropped}")
    return table


def _line(message: Message) -> str:
    """Returns a message as one line of text."""
    from videozoo.errors import counted
    from videozoo.stream import messages as kinds

    match message:
        case kinds.Began():
            how = "after every frame" if message.mode == "frames" else "in windows"
            return f"{message.source}: {message.fps:.4g} frames/s; {message.run} answers {how}"
        case kinds.Answered():
            score = "" if message.score is None else f"  {message.score:.1%}"
            return f"{message.time_s:9.2f} s  {message.label or 'nothing'}{score}  {1000 * message.latency_s:.0f} ms"
        case kinds.EventBegan():
            return f"{message.start_s:9.2f} s  {message.label} begins"
        case kinds.EventEnded():
            return (
                f"{message.end_s:9.2f} s  {message.label} ends, began at {message.start_s:.2f} s  {message.score:.1%}"
            )
        case kinds.Reconnected():
            return f"{message.time_s:9.2f} s  connected again after {message.gap_s:.1f} s"
        case kinds.ClipWritten():
            return message.problem or f"written: {message.path}"
        case kinds.Summary():
            latency = ""
            if message.latency_median_s is not None and message.latency_p95_s is not None:
                latency = (
                    f"; latency {1000 * message.latency_median_s:.0f} ms, 95 % in {1000 * message.latency_p95_s:.0f} ms"
                )
            return (
                f"{counted(message.num_frames, 'frame')}, {message.dropped_frames} dropped, {message.damaged_frames} "
                f"damaged, {counted(message.num_answers, 'answer')}, {counted(message.num_events, 'event')}{latency}"
            )
        case _:
            return str(message.to_dict())
