"""`videozoo verify`: compares the answers of an exported network with those of its run."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from videozoo.cli.reading import AllowCode, MaxPixels, Strict
from videozoo.terminal import console, write_json

if TYPE_CHECKING:
    from videozoo.export.verify import Comparison, ServedAnswer

__all__ = ["verify"]


def verify(
    exported: Path = typer.Argument(metavar="DIR", help="A folder of `videozoo export`."),
    sources: list[str] = typer.Argument(metavar="VIDEOS...", help="Videos, folders, patterns or list files."),
    against: str = typer.Option(..., "--against", help="The run directory or weight file of the export."),
    tolerance: float = typer.Option(
        None, min=0.0, help="Largest difference of outputs that passes; default 1e-4, 1e-2 for fp16, 0.2 for int8."
    ),
    window: float = typer.Option(None, help="Compare windows of this many seconds, too."),
    query: str = typer.Option(None, help="The sentence to ask; grounding runs need one."),
    url: str = typer.Option(
        None, help="Compare the answers of a server of either as well, e.g. http://127.0.0.1:8000."
    ),
    model: str = typer.Option(None, help="The model's name at the server [the server's default]."),
    token: str = typer.Option(None, envvar="VIDEOZOO_TOKEN", show_envvar=True, help="The server's secret."),
    trust: bool = typer.Option(False, "--trust", help="Open torch programs; reading one can run code."),
    as_json: bool = typer.Option(False, "--json", help="Print only the comparison, as JSON on stdout."),
    max_pixels: MaxPixels = None,
    strict: Strict = False,
    allow_code: AllowCode = None,
) -> None:
    """Compare an exported network with its run on videos, both on the CPU, and with a server's answers.

    Outputs are compared on the same pixels, and best answers with each network's own preprocessing. A difference above
    the tolerance, a different best answer, or an unreadable video sets the exit status 1.
    """
    from videozoo.errors import DataError
    from videozoo.export.served import Server
    from videozoo.export.verify import compare, usual_tolerance
    from videozoo.loading import open_network
    from videozoo.predict.sources import find_videos
    from videozoo.runtimes.network import open_exported

    videos = find_videos(sources)
    tolerance = usual_tolerance(exported) if tolerance is None else tolerance
    other = open_exported(exported, device="cpu", trusted=trust)
    server = Server(url, model, token) if url is not None else None
    run = open_network(against, device="cpu")
    found = list(compare(run, other, videos, window_s=window, query=query, server=server))
    failed = [str(error) for error in found if isinstance(error, DataError)]
    compared = [one for one in found if not isinstance(one, DataError)]
    largest = max((one.difference for one in compared), default=float("inf"))
    passes = not failed and largest <= tolerance and all(one.has_same_best for one in compared)
    served = [one.served for one in compared if one.served is not None]
    passes = passes and all(one.has_same_best and one.difference <= tolerance for one in served)
    if as_json:
        report = {"passes": passes, "tolerance": tolerance, "videos": _rows(compared), "failed": failed}
        write_json(json.dumps(report, indent=1) + "\n")
    else:
        if compared:
            _print_table(compared, largest, tolerance)
        notes = console(stderr=True)
        for reason in failed:
            notes.print(reason, style="red", soft_wrap=True, markup=False)
    if not passes:
        raise typer.Exit(1)


def _rows(compared: Sequence[Comparison]) -> list[dict[str, object]]:
    """Returns one JSON object per video; a difference that is not finite is null."""
    return [
        {
            "video": one.video,
            "difference": _finite(one.difference),
            "same_best": one.has_same_best,
            "run": {"best": list(one.best[0]), "seconds": round(one.seconds[0], 6)},
            "exported": {"best": list(one.best[1]), "seconds": round(one.seconds[1], 6)},
            **({"served": _served_row(one.served)} if one.served is not None else {}),
        }
        for one in compared
    ]


def _served_row(served: ServedAnswer) -> dict[str, object]:
    difference, seconds = _finite(served.difference), round(served.seconds, 6)
    return {"difference": difference, "same_best": served.has_same_best, "seconds": seconds}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _print_table(compared: Sequence[Comparison], largest: float, tolerance: float) -> None:
    """Prints one row per video, then the totals."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_edge=False)
    table.add_column("video")
    for heading in ("difference", "best answer", "run", "exported"):
        table.add_column(heading, justify="right")
    has_served = any(one.served is not None for one in compared)
    if has_served:
        table.add_column("served", justify="right")
    for one in compared:
        same = "the same" if one.has_same_best else _first_other(one.best)
        row = [f"{one.difference:.1e}", same, f"{one.seconds[0]:.3f} s", f"{one.seconds[1]:.3f} s"]
        if one.served is not None:
            row.append(f"{one.served.difference:.1e}, {one.served.seconds:.3f} s")
        table.add_row(Text(one.video), *(Text(cell) for cell in row))
    num_same = sum(one.has_same_best for one in compared)
    run_s, exported_s = (sum(one.seconds[i] for one in compared) for i in (0, 1))
    shown = console()
    shown.print(table)
    shown.print(
        f"largest difference {largest:.1e} (tolerance {tolerance:g}), same best answer {num_same} of "
        f"{len(compared)}, run {run_s:.3f} s, exported {exported_s:.3f} s",
        soft_wrap=True,
    )


def _first_other(best: tuple[tuple[str, ...], tuple[str, ...]]) -> str:
    """Returns the first pair of best answers that differ."""
    if len(best[0]) != len(best[1]):
        return f"{len(best[0])} and {len(best[1])} answers"
    return next(f"{a} and {b}" for a, b in zip(*best, strict=True) if a != b)
