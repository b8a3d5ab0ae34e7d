"""Writes an evaluation as `report.json`, a self-contained `report.html`, and pictures."""

from __future__ import annotations

import base64
import html
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from videozoo.data.files import some_of
from videozoo.drawing.text import draw_text, fit, line_height, text_width
from videozoo.io.whole_file import whole_file, write_whole_text
from videozoo.metrics.parts import Interval, Matrix, Note, Part, Table
from videozoo.report.evaluation import Evaluation, by_reason
from videozoo.version import __version__

__all__ = ["draw_matrix", "render_html", "to_json", "write_report"]


def write_report(evaluation: Evaluation, folder: Path, *, title: str = "Evaluation") -> Path:
    """Writes report.json, report.html and a picture of each matrix to `folder`; returns the page's path."""
    parts = evaluation.parts()
    pictures = {part.name: _png(draw_matrix(part)) for part in parts if isinstance(part, Matrix)}
    for name, png in pictures.items():
        with whole_file(folder / f"{name}.png") as part:
            part.write_bytes(png)
    text = json.dumps(to_json(evaluation, parts), indent=1, ensure_ascii=False, allow_nan=False)
    write_whole_text(folder / "report.json", text + "\n")
    return write_whole_text(folder / "report.html", render_html(evaluation, parts, pictures, title=title))


def to_json(evaluation: Evaluation, parts: Sequence[Part]) -> dict[str, Any]:
    """Returns the report as plain values: a table as a list of mappings, a matrix as a list of lists."""
    tables = [part for part in parts if isinstance(part, Table)]
    matrices = [part for part in parts if isinstance(part, Matrix)]
    return {
        "scores": {name: _finite(score) for name, score in evaluation.scores.items()},
        "intervals": {
            name: {"low": i.low, "high": i.high, "level": i.level} for name, i in evaluation.intervals.items()
        },
        "notes": [part.text for part in parts if isinstance(part, Note)],
        "num_scored": evaluation.num_scored,
        "num_total": evaluation.num_total,
        "not_scored": [{"id": id_, "reason": reason} for id_, reason in evaluation.not_scored],
        "seconds": round(evaluation.seconds, 3),
        "protocol": evaluation.protocol,
        "videozoo": __version__,
        "tables": {t.name: [dict(zip(t.columns, map(_finite, row), strict=True)) for row in t.rows] for t in tables},
        "matrices": {m.name: {"class_names": list(m.class_names), "counts": m.counts.tolist()} for m in matrices},
    }


# ---- the page ---------------------------------------------------------------------------------------

_STYLE = """
:root { --ink: #1c2733; --soft: #5f6f7f; --line: #dfe5ea; --fill: #2f6f9f; --pale: #e4eef6; } * { box-sizing:
border-box; } body { font: 15px/1.5 system-ui, -apple-system, "Segoe UI", "Noto Sans", sans-serif; color: var(--ink);
  background: #fff; max-width: 62rem; margin: 2rem auto; padding: 0 1.25rem; }
h1 { font-size: 1.5rem; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 2rem 0 .6rem; padding-bottom: .2rem; border-bottom: 1px solid var(--line); }
p { margin: .3rem 0; } .soft { color: var(--soft); } .warn { color: #9a3412; font-weight: 600; }
.scores { display: flex; flex-wrap: wrap; gap: .8rem; margin-top: 1.2rem; }
.score { border: 1px solid var(--line); border-radius: 8px; padding: .6rem 1rem; min-width: 9rem; }
.score b { display: block; font-size: 1.7rem; line-height: 1.2; font-variant-numeric: tabular-nums; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th { text-align: left; color: var(--soft); font-weight: 600; }
th, td { padding: .2rem .9rem .2rem .3rem; border-bottom: 1px solid var(--line); vertical-align: top;
  overflow-wrap: anywhere; }
.number { text-align: right; white-space: nowrap; } .bar { min-width: 9rem; -webkit-print-color-adjust: exact;
print-color-adjust: exact; } img { max-width: 100%; height: auto; image-rendering: auto; } details summary { cursor:
pointer; color: var(--fill); } @media print {
  body { margin: 0; max-width: none; font-size: 11px; }
  tr, img, .score { break-inside: avoid; }
}
"""


def render_html(evaluation: Evaluation, parts: Sequence[Part], pictures: Mapping[str, bytes], *, title: str) -> str:
    """Returns the page with embedded pictures and no external resources; `pictures` are PNGs by matrix name."""
    sections = [_not_scored(evaluation)]
    for part in parts:
        if isinstance(part, Matrix):
            sections.append(_picture(part, pictures[part.name]))
        elif isinstance(part, Table) and part.rows and part.max_shown != 0:
            sections.append(_table(part))
    sections.append(_protocol(evaluation))
    cards = "".join(_card(name, score, evaluation.intervals.get(name)) for name, score in evaluation.scores.items())
    notes = "".join(f'<p class="soft">{_text(part.text)}</p>\n' for part in parts if isinstance(part, Note))
    rate = evaluation.num_scored / evaluation.seconds if evaluation.seconds else 0.0
    missed = ' class="warn"' if evaluation.not_scored else ' class="soft"'
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{_text(title)}</h1>\n<p{missed}>{_text(evaluation.coverage)}</p>\n"
        f'<p class="soft">{evaluation.seconds:.1f} s, {rate:.1f} samples/s, videozoo {__version__}</p>\n'
        f'<div class="scores">{cards}</div>\n{notes}' + "\n".join(filter(None, sections)) + "\n</body>\n</html>\n"
    )


def _card(name: str, score: float, interval: Interval | None) -> str:
    span = ""
    if interval is not None:
        low, high = f"{interval.low:.2f}", f"{interval.high:.2f}"
        span = f'<span class="soft">{interval.level:.0%} interval {low} to {high}</span>'
    return f'<div class="score">{_text(name)}<b>{score:.2f}</b>{span}</div>'


def _not_scored(evaluation: Evaluation) -> str:
    if not evaluation.not_scored:
        return ""
    lost = by_reason(evaluation.not_scored)
    rows = "".join(f"<tr><td>{_text(some_of(i))}</td><td>{_text(why)}</td></tr>" for why, i in lost.items())
    count = f"{len(evaluation.not_scored)} of {evaluation.num_total}"
    opened = " open" if len(lost) <= 20 else ""
    return (
        f"<h2>Not scored</h2><details{opened}><summary>{count}</summary>"
        f"<table><tr><th>id</th><th>reason</th></tr>{rows}</table></details>"
    )


def _protocol(evaluation: Evaluation) -> str:
    entries = {key: value for key, value in evaluation.protocol.items() if value not in ([], {})}
    rows = "".join(f"<tr><th>{_text(key)}</th><td>{_value(value)}</td></tr>" for key, value in entries.items())
    return f"<h2>Protocol</h2><table>{rows}</table>" if rows else ""


def _value(value: Any, prefix: str = "") -> str:
    if isinstance(value, Mapping):  # nested keys become dotted ones
        return "<br>".join(_value(inner, f"{prefix}.{key}" if prefix else str(key)) for key, inner in value.items())
    if isinstance(value, list | tuple):
        value = ", ".join(map(str, value))
    return (f'<span class="soft">{_text(prefix)}</span> ' if prefix else "") + _text(value)


def _picture(matrix: Matrix, png: bytes) -> str:
    data = base64.b64encode(png).decode("ascii")
    return (
        f'<h2>{_text(matrix.title)}</h2><p class="soft">Rows are the truth, columns the prediction; '
        f"the shade is the share of the row.</p>"
        f'<img alt="{_text(matrix.title)}" src="data:image/png;base64,{data}">'
    )


def _table(table: Table) -> str:
    shown = table.rows[: table.max_shown]
    head = "".join(f"<th>{_text(column)}</th>" for column in table.columns)
    rows = "".join(
        "<tr>" + "".join(_cell(column, v) for column, v in zip(table.columns, row, strict=True)) + "</tr>"
        for row in shown
    )
    more = len(table.rows) - len(shown)
    note = f'<p class="soft">{more} more in report.json</p>' if more else ""
    return f"<h2>{_text(table.title)}</h2><table><tr>{head}</tr>{rows}</table>{note}"


def _cell(column: str, value: str | int | float | None) -> str:
    if value is None:
        return '<td class="number soft">none</td>'
    if isinstance(value, str):
        return f"<td>{_text(value)}</td>"
    if column.endswith(" %"):
        width = min(max(float(value), 0.0), 100.0)
        shade = f"linear-gradient(90deg, var(--pale) {width:.1f}%, transparent {width:.1f}%)"
        return f'<td class="number bar" style="background: {shade}">{value:.1f}</td>'
    return f'<td class="number">{value if isinstance(value, int) else f"{value:.4f}"}</td>'


def _text(value: Any) -> str:
    return html.escape(str(value), quote=True)


# ---- the picture ------------------------------------------------------------------------------------

MAX_NAME_PX = 200  # width of a class name; longer names are shortened
MAX_LABELED = 50  # most classes with labels; larger matrices become a heat map
_LOW, _HIGH = np.array([255, 255, 255]), np.array([16, 74, 122])
_INK, _SOFT, _GRID = (28, 39, 51), (95, 111, 127), (223, 229, 234)


def draw_matrix(matrix: Matrix) -> Image.Image:
    """Draws the matrix: rows shaded by shares, with names and counts where they are legible."""
    num_classes = len(matrix.class_names)
    shares = matrix.counts / np.maximum(matrix.counts.sum(axis=1, keepdims=True), 1)
    labeled = num_classes <= MAX_LABELED
    cell = int(np.clip(960 // num_classes, 18, 64)) if labeled else max(1, math.ceil(960 / num_classes))
    colors = (_LOW + np.sqrt(shares)[..., None] * (_HIGH - _LOW)).astype(np.uint8)
    cells = Image.fromarray(colors).resize((num_classes * cell, num_classes * cell), Image.Resampling.NEAREST)
    if not labeled:
        return cells

    size_px = min(15, cell - 5)
    names = [fit(name, MAX_NAME_PX, size_px) for name in matrix.class_names]
    margin = max(70, *(math.ceil(text_width(name, size_px)) + 14 for name in names))
    picture = Image.new("RGB", (margin + cells.width + 1, margin + cells.height + 1), "white")
    picture.paste(cells, (margin, margin))
    draw = ImageDraw.Draw(picture)
    draw_text(draw, (4, margin - 7), "truth", _SOFT, size_px, anchor="lb")
    draw_text(draw, (4, 4), "predicted", _SOFT, size_px, anchor="lt")
    for i, name in enumerate(names):
        middle = margin + i * cell + cell / 2
        draw_text(draw, (margin - 7, middle), name, _INK, size_px, anchor="rm")
        picture.paste(*_upright(name, size_px, at=middle, height=margin - 7))
    for i in range(num_classes + 1):
        line = margin + i * cell
        draw.line((margin, line, margin + cells.width, line), fill=_GRID)
        draw.line((line, margin, line, margin + cells.height), fill=_GRID)
    small = _size_within(str(matrix.counts.max()), cell - 4, largest=size_px)
    for row, column in np.argwhere(matrix.counts) if small else ():
        place = (margin + column * cell + cell / 2, margin + row * cell + cell / 2)
        ink = "white" if shares[row, column] > 0.35 else _INK
        draw_text(draw, place, str(matrix.counts[row, column]), ink, small, anchor="mm")
    return picture


def _upright(name: str, size_px: int, *, at: float, height: int) -> tuple[Image.Image, tuple[int, int]]:
    """Draws `name` vertically, ending at `height`; returns the picture and its position, centered at x = `at`."""
    line = line_height(size_px)
    strip = Image.new("RGB", (height, line), "white")
    draw_text(ImageDraw.Draw(strip), (0, line / 2), name, _INK, size_px, anchor="lm")
    return strip.rotate(90, expand=True), (round(at - line / 2), 0)


def _size_within(text: str, width_px: int, *, largest: int) -> int:
    """Returns the largest size at which `text` fits, or 0 if it would be illegible."""
    return next((size_px for size_px in range(largest, 7, -1) if text_width(text, size_px) <= width_px), 0)


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
