"""The docs against the program: commands parse, and the recipes, scripts and targets that they name exist."""

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests import rooms
from tests.test_layers import MAY_IMPORT
from videozoo.cli.main import app
from videozoo.config.recipe import list_recipes

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))


def code_of(page: Path) -> list[str]:
    """The lines of code blocks with their continuations joined, and the code within sentences."""
    text = page.read_text(encoding="utf-8")
    blocks = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
    shell = "".join(block for kind, block in blocks.findall(text) if not kind)
    lines = shell.replace("\\\n", " ").splitlines()
    return lines + re.findall(r"`([^`]+)`", blocks.sub("", text).replace("\n", " "))


def commands_of(page: Path, program: str) -> list[list[str]]:
    """The words that follow the program in each command of a page that calls it; a template's brackets are left out."""
    found = []
    for line in code_of(page):
        for part in re.split(r"&&|;", line.removeprefix("$ ")):
            called = re.match(rf"\s*(?:torchrun .*-m )?{program} +(?=[\w.-])(.*)", part)
            if called is not None:
                words = shlex.split(called[1], comments=True)
                found.append([word for word in (word.strip("[]") for word in words) if word != "..."])
    return found


@each_page
def test_commands_parse_and_their_recipes_exist(page):
    recipes = set(list_recipes())
    for words in commands_of(page, "videozoo"):
        parsed = CliRunner().invoke(app, [*words, "--help"])  # shows the help once all words are understood
        assert parsed.exit_code == 0, f"videozoo {' '.join(words)}: {parsed.output}"
        named = words[1:2] if words[0] in ("train", "show") else []
        named += [words[i + 1] for i, word in enumerate(words) if word == "--recipe"]
        for name in named:
            assert name in recipes or not re.fullmatch(r"[a-z0-9_]+/[a-z0-9_]+", name), f"there is no recipe '{name}'"


@each_page
def test_scripts_exist(page):
    for words in commands_of(page, "python"):
        if words[0] == "-m":
            module = ROOT / words[1].replace(".", "/")
            assert module.with_suffix(".py").exists() or (module / "__main__.py").exists(), words
        elif not words[0].startswith("-"):
            assert (ROOT / words[0]).exists(), words


@each_page
def test_make_targets_exist(page):
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for words in commands_of(page, "make"):
        assert words[0] in targets, words


def test_picture_of_the_rooms_is_current():
    drawn = rooms.PICTURE.read_text(encoding="utf-8")
    assert drawn == rooms.svg(), "run: python -m tests.rooms"


def test_page_lists_every_room():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^\| `(\w+)/?` \|", page, re.MULTILINE))
    assert listed == set(MAY_IMPORT) - {"version", "types"}
