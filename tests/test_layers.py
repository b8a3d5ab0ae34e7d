"""Imports run one way: each room may import only the rooms named before it."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "videozoo"

# room -> the rooms it may import, besides itself; every room may import those of GROUND before it
MAY_IMPORT = {
    "errors": set(),
    "version": set(),
    "structured": set(),
    "contracts": set(),
    "types": set(),
    "terminal": set(),
    "config": set(),
    "drawing": set(),
    "layers": {"decoding"},
    "models": {"layers", "decoding"},
    "weights": {"layers", "models", "io"},  # the unpickler
    "io": set(),
    "sentences": {"io"},  # the unpickler
    "transforms": {"io"},
    "decoding": {"transforms", "sentences"},
    "data": {"io", "sentences", "transforms", "weights"},  # weights: the pretrained backbone of the motion world
    "metrics": {"sentences"},  # the tokenizer
    "tasks": {"layers", "models", "weights", "sentences", "transforms", "decoding", "metrics"},
    "engine": {"drawing", "layers", "models", "weights", "io", "transforms", "data", "metrics", "tasks"},
    "predict": {"drawing", "io", "transforms", "decoding", "sentences"},
    "loading": {"predict", "tasks"},
    "cli": {"loading", "models", "weights", "io", "transforms", "data", "metrics", "tasks", "engine", "predict"},
}
GROUND = ("errors", "version", "structured", "contracts", "types", "terminal", "config")


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("videozoo"):
            if node.module == "videozoo":
                found |= {a.name for a in node.names}
            else:
                found.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("videozoo.")}
    return found


def room_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


FILES = [p for p in sorted(ROOT.rglob("*.py")) if room_of(p) not in ("__init__", "__main__")]


def test_every_room_is_on_the_plan():
    assert {room_of(p) for p in FILES} == set(MAY_IMPORT)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_run_one_way(path):
    room = room_of(path)
    allowed = MAY_IMPORT[room] | {room}
    allowed |= set(GROUND[: GROUND.index(room)]) if room in GROUND else set(GROUND)
    assert imports(path) <= allowed
