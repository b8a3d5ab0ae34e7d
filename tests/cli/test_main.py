"""The command line answers help, lists and mistakes in arguments without loading torch."""

import os
import subprocess
import sys

import pytest

QUICK = [
    ["--help"],
    ["train", "--help"],
    ["eval", "--help"],
    ["predict", "--help"],
    ["extract", "--help"],
    ["synth", "--help"],
    ["prepare", "frames", "--help"],
    ["demo", "--help"],
    ["--version"],
    ["list"],
    ["list", "models"],
    ["list", "tasks"],
    ["list", "datasets"],
    ["list", "inputs"],
    ["list", "optimizers"],
    ["list", "schedules"],
]
WRONG = [["trian"], ["train"], ["predict", "--windw", "2"], ["train", "no_such_recipe", "--out", "x"]]

CODE = """
import sys
sys.argv = ["videozoo", *{args!r}]
from videozoo.cli.main import main
try:
    main()
except SystemExit as stop:
    status = stop.code or 0
else:
    status = 0
assert "torch" not in sys.modules, "torch was imported"
sys.exit(status)
"""


def run(args):
    code = CODE.format(args=args)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


@pytest.mark.parametrize("args", QUICK, ids=" ".join)
def test_answers_without_torch(args):
    done = run(args)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


@pytest.mark.parametrize("args", WRONG, ids=" ".join)
def test_mistakes_are_named_without_torch(args):
    done = run(args)
    assert done.returncode in (1, 2), done.stderr
    assert "Traceback" not in done.stderr
    assert args[0] in done.stderr or "no_such_recipe" in done.stderr or "windw" in done.stderr


def test_unknown_recipe_says_what_there_is():
    done = run(["train", "moton/tsm", "--out", "x"])
    assert done.returncode == 1
    assert "did you mean 'motion/tsm'?" in done.stderr


@pytest.mark.parametrize("args", [[], ["prepare"], ["bench"]], ids=" ".join)
def test_every_verb_is_told_in_full(args):
    told = run([*args, "--help"]).stdout.partition("Commands:")[2]
    assert told.strip()
    assert "..." not in told


def test_an_error_of_the_file_system_is_a_line(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "clips/a").mkdir(parents=True)
    (tmp_path / "clips/a/x.mp4").write_text("")
    words = ["prepare", "frames", str(tmp_path / "clips"), str(tmp_path / "file/out")]
    done = subprocess.run([sys.executable, "-m", "videozoo", *words], capture_output=True, text=True)
    assert done.returncode == 1
    assert (
        "out: not a directory; check its permissions, or give another path" in done.stderr
        and "Traceback" not in done.stderr
    )


@pytest.mark.parametrize("form", ["--out=~/r", "~/r", "data.train.path=~/r"])
def test_a_tilde_that_the_shell_left(tmp_path, form):
    """Of options and plain arguments; the recipe reads its own."""
    code = "import sys; sys.argv = ['videozoo', 'list', {form!r}]; import videozoo.cli.main as m; m.app = lambda: None"
    code += "\ntry: m.main()\nexcept SystemExit: pass\nprint(sys.argv[2])"
    done = subprocess.run(
        [sys.executable, "-c", code.format(form=form)],
        capture_output=True,
        text=True,
        env={**os.environ, "HOME": str(tmp_path)},
    )
    assert done.stdout.strip() == (form if form.startswith("data") else form.replace("~", str(tmp_path))), done.stderr
