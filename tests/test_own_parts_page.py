"""docs/own-parts.md is true: its files are written and its commands run, in their order, in an empty folder."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import videozoo

ROOT = Path(videozoo.__file__).parents[1]
PAGE = ROOT / "docs" / "own-parts.md"
START = {
    "videozoo": [sys.executable, "-c", "import sys; del sys.path[0]; from videozoo.cli.main import main; main()"],
    "python": [sys.executable],
}


def blocks():
    """(language, text) of each fenced block of the page."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def run(line, folder):
    name, *args = line.split()
    env = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run([*START[name], *args], cwd=folder, env=env, capture_output=True, text=True)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """The output of each command of the page, by its line."""
    folder = tmp_path_factory.mktemp("page")
    found = {}
    for language, text in blocks():
        if language in ("python", "yaml"):
            head, _, rest = text.partition("\n")
            path = folder / head.removeprefix("# file: ")
            path.parent.mkdir(exist_ok=True)
            path.write_text(rest, encoding="utf-8")
        elif language == "console":
            command, _, shown = text.removeprefix("$ ").partition("\n")
            assert run(command, folder).stderr == shown
        else:
            for line in text.splitlines():
                ran = run(line, folder)
                assert ran.returncode == 0, (line, ran.stderr)
                found[line] = ran.stdout
    return found


def test_every_file_block_has_its_name():
    assert {language for language, _ in blocks()} == {"python", "yaml", "sh", "console"}
    assert all(text.startswith("# file: ") for language, text in blocks() if language in ("python", "yaml"))


def test_the_commands_of_the_page_run(outputs):
    score = re.search(r"right_speeds\s+([\d.]+)", outputs["videozoo eval run --allow-code my_kit.speed"])
    assert score is not None and float(score[1]) > 80
    assert "fast" in outputs["videozoo predict run clips/02.mp4 --allow-code my_kit.speed"].splitlines()[4]
    assert outputs["videozoo predict run clips --json --allow-code my_kit.speed"].count('"speed"') == 24
    assert float(outputs["python use.py"]) == pytest.approx(2, abs=0.5)
    assert "motion_meter" in outputs["videozoo list models --allow-code my_kit.speed"]
