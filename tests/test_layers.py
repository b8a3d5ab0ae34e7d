"""Imports run one way: each room may import only the rooms named before it."""

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

from videozoo.errors import TORCH_EXTRA

ROOT = Path(__file__).parent.parent / "videozoo"

# room -> the rooms it may import, besides itself; every room may import those of GROUND before it; after a change
# `python -m tests.rooms` draws the picture in docs/architecture.md anew
MAY_IMPORT = {
    "errors": set(),
    "version": set(),
    "structured": set(),
    "shapes": set(),
    "contracts": set(),
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
    "report": {"drawing", "io", "data", "metrics"},
    "engine": {"report", "layers", "models", "weights", "io", "transforms", "data", "metrics", "tasks"},
    "predict": {"drawing", "io", "transforms", "decoding", "sentences", "data"},
    "runtimes": {"io", "transforms", "decoding", "sentences"},
    "export": {"models", "tasks", "runtimes", "predict", "data"},  # data: labels of calibration videos
    "loading": {"io", "predict", "tasks", "runtimes"},
    "serve": {"predict", "io", "transforms", "loading"},
    "stream": {"predict", "io", "transforms"},
    "cli": {
        "serve",
        "stream",
        "export",
        "runtimes",
        "loading",
        "models",
        "weights",
        "io",
        "transforms",
        "data",
        "metrics",
        "tasks",
        "report",
        "engine",
        "predict",
    },
}
GROUND = ("errors", "version", "shapes", "structured", "contracts", "terminal", "config")

# Rooms that work without torch: loading any of their modules imports neither torch nor its companions.
WITHOUT_TORCH = {
    *GROUND,
    "drawing",
    "io",
    "transforms",
    "decoding",
    "metrics",
    "predict",
    "runtimes",
    "loading",
    "serve",
    "stream",
    "cli",
}
TORCH_FORM = ROOT / "transforms/tensors.py"  # the torch form of the clip transforms, imported where it is asked for


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


def loads(module: str) -> set[str]:
    """Returns the modules that are imported when `module` of videozoo is, directly or through others."""
    found, new = set(), {module}
    while new:
        found |= new
        new = {other for name in new for other in _loads_directly(name)} - found
    return found


@functools.cache
def _loads_directly(module: str) -> frozenset[str]:
    path = _path_of(module)
    if path is None:
        return frozenset()
    found = {module.rpartition(".")[0]} - {""}  # the package that it lies in
    for node in _at_module_level(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            members = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {node.module} | {name for name in members if _path_of(name) is not None}
    return frozenset(found)


def _at_module_level(node: ast.AST) -> Iterator[ast.AST]:
    """Yields the statements that run when a module is imported."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            continue
        yield child
        yield from _at_module_level(child)


def _path_of(module: str) -> Path | None:
    place = ROOT.parent.joinpath(*module.split("."))
    files = (place.with_suffix(".py"), place / "__init__.py")
    return next((path for path in files if module.startswith("videozoo") and path.is_file()), None)


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__")


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


@pytest.mark.parametrize(
    "path",
    [p for p in FILES if room_of(p) in WITHOUT_TORCH and p != TORCH_FORM],
    ids=lambda p: str(p.relative_to(ROOT)),
)
def test_rooms_load_without_torch(path):
    loaded = loads(module_of(path))
    assert not {name.partition(".")[0] for name in loaded} & set(TORCH_EXTRA), sorted(
        name for name in loaded if set(TORCH_EXTRA) & {n.partition(".")[0] for n in _loads_directly(name)}
    )


def test_rooms_that_compute_in_torch_are_seen_to():
    assert "torch" in loads("videozoo.layers.gru")
    assert "torch" in {name.partition(".")[0] for name in loads("videozoo.tasks.network")}
