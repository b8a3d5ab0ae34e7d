"""The docs against the program: commands parse, and the recipes, scripts and targets that they name exist."""

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests import rooms
from tests.test_layers import MAY_IMPORT
from videozoo.cli.main import app
from videozoo.config.recipe import list_recipes, load_recipe
from videozoo.data.registry import datasets
from videozoo.errors import DataError

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES += sorted((ROOT / "docs" / "datasets").glob("*.md"))

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))


def code_of(page: Path) -> list[str]:
    """The lines of code blocks with their continuations joined, and the code within sentences."""
    text = page.read_text(encoding="utf-8")
    blocks = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
    shell = "".join(block for kind, block in blocks.findall(text) if kind in ("", "sh", "console"))
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


@pytest.mark.parametrize("page", [page for page in PAGES if page.parent.name == "datasets"], ids=lambda p: p.stem)
def test_commands_of_public_sets_give_valid_recipes(page):
    """Every override of a packaged recipe names an argument of its part, and no score is claimed."""
    trained = [words[1:] for words in commands_of(page, "videozoo") if words[0] == "train"]
    for recipe, *words in trained:
        if recipe in list_recipes():
            load_recipe(recipe, [word for word in words if re.match(r"[a-z_.]+=", word)]).resolved()
    assert trained and "not yet measured" in page.read_text(encoding="utf-8")


@each_page
def test_scripts_exist(page):
    written = re.findall(r"^# file: (\S+)$", page.read_text(encoding="utf-8"), re.MULTILINE)  # by the page itself
    for words in commands_of(page, "python"):
        if words[0] == "-m":
            module = ROOT / words[1].replace(".", "/")
            assert module.with_suffix(".py").exists() or (module / "__main__.py").exists(), words
        elif not words[0].startswith("-"):
            assert words[0] in written or (ROOT / words[0]).exists(), words


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
    assert listed == set(MAY_IMPORT) - {"version"}


FILES = {
    "lists/a.mp4": "",
    "lists/b.mp4": "",
    "lists/e/img_00001.jpg": "",
    "lists/train.txt": "a.mp4 412\n",
    "lists/b.txt": "a.mp4 0\nwaving/d.mp4 1\nwaving/e.mp4 1\n",
    "lists/c.txt": "a.mp4 jugling\n",
    "lists/d.txt": "a.mp4 3 7\n",
    "lists/g.txt": "e 0\n",
    "lists/h.txt": "",
    "lists/i.txt": "a.mp4 0\nb.mp4 waving\n",
    "lists/j.txt": "a.mp4 0\nb.mp4 1000000\n",
    "lists/k.txt": "a.mp4 1 0 0\nb.mp4 0 1 0\n",
    "lists/l.txt": "path,label\na.mp4,0\n",
    "clips/train/juggling/a.mp4": "",
    "clips/val/jugling/a.mp4": "",
    "mixed/notes.txt": "",
    "k400/train.csv": "label,youtube_id,time_start,time_end,split\njuggling,abc,0,10,train\n",
    "k400/v/other.mp4": "",
    "UCF-101/Archery/a.avi": "",
    "ucf/classInd.txt": "1 Archery\n2 Bowling\n",
    "ucf/trainlist01.txt": "Archery/a.avi 2\n",
}


@pytest.mark.parametrize(
    ("data", "args"),
    [
        ("clip_list", {"path": "lists/train.txt", "num_classes": 400}),
        ("clip_list", {"path": "lists/b.txt"}),
        ("clip_list", {"path": "lists/c.txt", "class_names": ["juggling", "waving"]}),
        ("clip_list", {"path": "lists/d.txt"}),
        ("clip_list", {"path": "lists/g.txt"}),
        ("clip_list", {"path": "lists/h.txt"}),
        ("clip_list", {"path": "lists/i.txt"}),
        ("clip_list", {"path": "lists/j.txt"}),
        ("clip_list", {"path": "lists/k.txt", "multi_label": True}),
        ("clip_list", {"path": "lists/l.txt"}),
        ("clip_folder", {"path": "clips", "subset": "val"}),
        ("clip_folder", {"path": "clips"}),
        ("clip_folder", {"path": "mixed"}),
        ("kinetics_csv", {"path": "k400/train.csv", "video_dir": "k400/v"}),
        ("ucf101", {"path": "UCF-101", "split_dir": "ucf", "split": 1}),
    ],
)
def test_messages_on_the_data_page_are_those_of_the_program(data, args, tmp_path, monkeypatch):
    for name, content in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError) as error:
        datasets.get(data)(**args)
    assert str(error.value) in (ROOT / "docs" / "data.md").read_text(encoding="utf-8").splitlines()
