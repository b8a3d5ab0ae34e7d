"""Compares runs: model, data, progress, best scores and curves."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw
from pydantic import PositiveInt
from typing_extensions import TypedDict

from videozoo.config.duration import Duration
from videozoo.drawing.text import draw_text
from videozoo.errors import DataError
from videozoo.io.whole_file import whole_file
from videozoo.report.run_log import read_log
from videozoo.structured import checked, read_yaml

__all__ = ["RunSummary", "find_runs", "plot_curves", "read_run"]


class RecordFit(TypedDict):
    duration: str | float
    batch_size: PositiveInt


class RecordData(TypedDict):
    train: dict[str, Any]


class Record(TypedDict):
    """The sections of a run's recipe.yaml that its summary needs."""

    model: dict[str, Any]
    data: RecordData
    fit: RecordFit


@dataclasses.dataclass(frozen=True)
class RunSummary:
    """A run directory, read without loading its weights.

    Attributes:
        name: path of the run below the searched folder.
        best: scores of the evaluation with the highest first score; empty before the first evaluation.
        total_steps: number of steps of the run; None before the first line of the log.
        lines: lines of the log.
        idle_s: time since the last change of the log.
    """

    name: str
    model: str
    data: str
    step: int
    total_steps: int | None
    best: Mapping[str, float]
    best_step: int | None
    lines: Sequence[Mapping[str, Any]] = dataclasses.field(repr=False)
    idle_s: float

    @property
    def status(self) -> str:
        """`finished`, or the time since the last line of the log."""
        if self.total_steps is not None and self.step >= self.total_steps:
            return "finished"
        return f"unfinished, last line {_age(self.idle_s)} ago" if self.lines else "not started"

    def curve(self, name: str) -> list[tuple[float, float]]:
        """Returns (step, value) of the entries `name` of the log."""
        return [(line["step"], line[name]) for line in self.lines if isinstance(line.get(name), int | float)]


def find_runs(folder: Path) -> list[RunSummary]:
    """Returns the runs in `folder` and below it, sorted by path.

    Raises:
        DataError: the folder does not exist or holds no run.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder; give the folder of your runs")
    found = sorted(path.parent for path in folder.rglob("recipe.yaml") if (path.parent / "log.jsonl").is_file())
    if not found:
        raise DataError(
            f"{folder}: holds no run; a run is a folder with recipe.yaml and log.jsonl, written by train --out"
        )
    return [read_run(path, name=str(path.relative_to(folder)) if path != folder else path.name) for path in found]


def read_run(path: Path, *, name: str) -> RunSummary:
    """Returns the summary of one run directory.

    Raises:
        DataError: its recipe.yaml is not the record of a run.
    """
    source = path / "recipe.yaml"
    record = checked(
        read_yaml(source, kind="record"), Record, where=source, advice="is not the record of a run; remove the folder"
    )
    model, train, fit = record["model"], record["data"]["train"], record["fit"]
    log = path / "log.jsonl"
    lines = read_log(log)
    scored = [(line["step"], scores) for line in lines if (scores := _scores(line))]
    best_step, best = max(scored, key=lambda entry: next(iter(entry[1].values())), default=(None, {}))
    return RunSummary(
        name=name,
        model=" ".join(str(model[key]) for key in ("name", "backbone") if model.get(key)),
        data=str(train.get("path") or train.get("name", "")),
        step=lines[-1]["step"] if lines else 0,
        total_steps=_total_steps(lines, fit),
        best=best,
        best_step=best_step,
        lines=lines,
        idle_s=max(time.time() - log.stat().st_mtime, 0.0),
    )


def _scores(line: Mapping[str, Any]) -> dict[str, float]:
    named = {key.removeprefix("val/"): value for key, value in line.items() if key.startswith("val/")}
    return {key: value for key, value in named.items() if key != "num_scored" and _is_number(value)}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _total_steps(lines: Sequence[Mapping[str, Any]], fit: RecordFit) -> int | None:
    for line in lines:
        if _is_number(line.get("epoch")) and line["epoch"] > 0:
            steps_per_epoch = round(line["step"] / line["epoch"])
            duration = Duration.parse(fit["duration"])
            return duration.steps(steps_per_epoch=steps_per_epoch, batch_size=fit["batch_size"])
    return None


def _age(seconds: float) -> str:
    for unit, length_s in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length_s:
            return f"{seconds / length_s:.0f} {unit}"
    return f"{seconds:.0f} s"


# ---- the picture ------------------------------------------------------------------------------------------

WIDTH_PX, PANEL_PX, GAP_PX, MARGIN_PX, AXIS_PX, LINE_PX = 1400, 360, 70, 40, 110, 30
INK, FAINT, RULE, PAPER = (28, 32, 40), (110, 116, 128), (224, 227, 232), (255, 255, 255)
# distinguishable with color blindness, too (Okabe and Ito, 2008)
PALETTE = ((0, 114, 178), (230, 130, 0), (0, 158, 115), (204, 90, 160), (86, 180, 233), (213, 70, 30), (120, 94, 160))

Curve = Sequence[tuple[float, float]]


def plot_curves(runs: Sequence[RunSummary], out_path: Path) -> Path:
    """Draws the training loss and every score of the runs against steps; returns the path of the picture.

    Raises:
        DataError: none of the runs has logged anything.
    """
    names = dict.fromkeys(["loss", *(f"val/{score}" for run in runs for score in run.best)])
    panels = {name: {run.name: run.curve(name) for run in runs if run.curve(name)} for name in names}
    panels = {name: curves for name, curves in panels.items() if curves}
    if not panels:
        raise DataError(f"{', '.join(run.name for run in runs)}: the log is empty; wait for the first line")
    height = MARGIN_PX + len(panels) * (PANEL_PX + GAP_PX) + len(runs) * LINE_PX + MARGIN_PX
    image = Image.new("RGB", (WIDTH_PX, height), PAPER)
    pen = ImageDraw.Draw(image)
    color = {run.name: PALETTE[i % len(PALETTE)] for i, run in enumerate(runs)}
    last_step = max(step for curves in panels.values() for curve in curves.values() for step, _ in curve)
    for i, (name, curves) in enumerate(panels.items()):
        _draw_panel(pen, MARGIN_PX + i * (PANEL_PX + GAP_PX), name, curves, color=color, last_step=last_step)
    for i, run in enumerate(runs):
        y = height - MARGIN_PX - (len(runs) - i) * LINE_PX
        pen.rectangle((AXIS_PX, y + 8, AXIS_PX + 36, y + 13), color[run.name])
        best = "  ".join(f"{name} {value:.4g}" for name, value in run.best.items())
        draw_text(pen, (AXIS_PX + 50, y), f"{run.name}   {best}", INK, 19)
    out_path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(out_path) as part:
        image.save(part, format="PNG")
    return out_path


def _draw_panel(
    pen: ImageDraw.ImageDraw,
    top: int,
    name: str,
    curves: Mapping[str, Curve],
    *,
    color: Mapping[str, tuple[int, int, int]],
    last_step: float,
) -> None:
    left, right, bottom = AXIS_PX, WIDTH_PX - MARGIN_PX, top + PANEL_PX
    values = [value for curve in curves.values() for _, value in curve if math.isfinite(value)]
    ticks = _ticks(min(values, default=0.0), max(values, default=1.0))
    low, high = ticks[0], ticks[-1]

    def place(step: float, value: float) -> tuple[float, float]:
        return left + (right - left) * step / max(last_step, 1), bottom - PANEL_PX * (value - low) / (high - low)

    draw_text(pen, (left, top - 30), name, INK, 22)
    for tick in ticks:
        y = place(0, tick)[1]
        pen.line((left, y, right, y), RULE)
        draw_text(pen, (left - 10, y), f"{tick:g}", FAINT, 17, anchor="rm")
    for step in _ticks(0, last_step):
        if step <= last_step:
            draw_text(pen, (place(step, low)[0], bottom + 8), f"{step:g}", FAINT, 17, anchor="mt")
    for run, curve in curves.items():
        points = [place(step, value) for step, value in curve if math.isfinite(value)]
        if len(points) > 1:
            pen.line(points, color[run], 3, joint="curve")
        if len(points) < 40:
            for x, y in points:
                pen.ellipse((x - 4, y - 4, x + 4, y + 4), color[run])


def _ticks(low: float, high: float) -> list[float]:
    """Returns about five round numbers whose range covers `low` and `high`."""
    span = max(high - low, abs(high) * 0.1, 1e-9)
    size = 10 ** math.floor(math.log10(span / 5))
    step = next(size * factor for factor in (1, 2, 5, 10) if span / (size * factor) <= 6)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [round(i * step, 12) for i in range(first, max(last, first + 1) + 1)]
