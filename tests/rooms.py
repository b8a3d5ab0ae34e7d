"""Draws the rooms of the package from the plan of imports: `python -m tests.rooms` writes docs/images/rooms.svg."""

from collections.abc import Iterable
from pathlib import Path
from xml.sax.saxutils import escape

from tests.test_layers import GROUND, MAY_IMPORT, WITHOUT_TORCH

PICTURE = Path(__file__).parent.parent / "docs" / "images" / "rooms.svg"

HOLDS = {
    "cli": "one file for each command",
    "serve": "answers over HTTP",
    "stream": "answers while a video arrives",
    "loading": "opens networks for prediction",
    "runtimes": "runs exported networks",
    "export": "writes exported networks",
    "engine": "training and evaluation runs",
    "report": "curves, tables, HTML pages",
    "predict": "from a video to answers",
    "decoding": "from outputs to answers",
    "metrics": "from answers to scores",
    "transforms": "input specs and pipelines",
    "io": "videos, sound, features, files",
    "drawing": "text in pictures",
    "tasks": "loss, outputs, metrics",
    "data": "one file for each format",
    "weights": "checkpoints, other projects' weights",
    "models": "one file for each paper",
    "layers": "functions that models share",
    "sentences": "from sentences to vectors",
}

WIDTH, MARGIN, GAP, ROW, HEAD = 960, 16, 12, 62, 56  # all in pixels
HALF = (WIDTH - 2 * MARGIN - 2 * GAP) / 2


def levels() -> dict[str, int]:
    """The row of each room above the ground: one more than the highest room that it may import."""
    found: dict[str, int] = {}
    rooms = {room: above for room, above in MAY_IMPORT.items() if room not in GROUND}
    while len(found) < len(rooms):
        ready = {room for room, imports in rooms.items() if room not in found and imports <= set(found)}
        assert ready, f"imports run in a circle: {sorted(set(rooms) - set(found))}"
        found |= {room: max((found[other] for other in rooms[room]), default=-1) + 1 for room in ready}
    return found


def svg() -> str:
    """The picture: rooms above the rooms that they import, with those that may need torch on the right."""
    rows = levels()
    top = max(rows.values())
    bottom = HEAD + (top + 1) * ROW
    height = bottom + ROW + MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        _text(MARGIN + HALF / 2, 24, "works without torch", 16, "#00695c"),
        _text(WIDTH - MARGIN - HALF / 2, 24, "may need torch", 16, "#bf360c"),
        _text(WIDTH / 2, 44, "a room imports only rooms in lower rows", 12, "#555555"),
        f'<line x1="{WIDTH / 2}" y1="{HEAD}" x2="{WIDTH / 2}" y2="{bottom}" stroke="#888888" stroke-dasharray="6 5"/>',
    ]
    for row in range(top + 1):
        y = HEAD + (top - row) * ROW
        here = [room for room in MAY_IMPORT if rows.get(room) == row]
        slim = [room for room in here if room in WITHOUT_TORCH]
        parts += _boxes(slim, MARGIN, y, "#e0f2f1", "#00897b")
        parts += _boxes([room for room in here if room not in slim], WIDTH / 2 + GAP, y, "#fbe9e7", "#d84315")
    ground = ", ".join(room for room in GROUND if room != "version")
    parts += _box(MARGIN, bottom, WIDTH - 2 * MARGIN, ground, "every room may import these", "#eceff1", "#546e7a")
    return "\n".join([*parts, "</svg>", ""])


def _boxes(rooms: list[str], x: float, y: float, fill: str, edge: str) -> Iterable[str]:
    width = (HALF - GAP * (len(rooms) - 1)) / max(len(rooms), 1)
    for place, room in enumerate(rooms):
        yield from _box(x + place * (width + GAP), y, width, room, HOLDS[room], fill, edge)


def _box(x: float, y: float, width: float, name: str, holds: str, fill: str, edge: str) -> Iterable[str]:
    yield f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{ROW - GAP}" rx="6" fill="{fill}" stroke="{edge}"/>'
    yield _text(x + width / 2, y + 21, name, 15, "#111111")
    yield _text(x + width / 2, y + 39, holds, 12, "#444444")


def _text(x: float, y: float, text: str, size: int, color: str) -> str:
    return f'<text x="{x:g}" y="{y:g}" font-size="{size}" text-anchor="middle" fill="{color}">{escape(text)}</text>'


if __name__ == "__main__":
    PICTURE.write_text(svg(), encoding="utf-8")
