"""`videozoo stream` on the command line."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from tests.slim.blocker import ENVIRONMENT
from tests.stream.conftest import counting_network
from videozoo.cli.main import app
from videozoo.cli.stream import _line
from videozoo.stream import messages


@pytest.fixture
def command(monkeypatch):
    """Runs the command with a network that numpy computes."""
    monkeypatch.setattr("videozoo.loading.open_network", lambda *_, **__: counting_network())
    return lambda *args: CliRunner().invoke(app, ["stream", "run", *map(str, args)])


def test_lines_of_json_when_piped(command, gray_video):
    done = command(gray_video("a.mp4", [0, 3]), "--fast", "--top", 2, "--none-below", 0.5)
    assert done.exit_code == 0
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    kinds = [line["kind"] for line in lines]
    assert (kinds[0], kinds[-1]) == ("begin", "summary")
    answers = [line for line in lines if line["kind"] == "answer"]
    assert len(answers) == 20
    assert answers[0]["label"] == "dark"
    assert [entry["name"] for entry in answers[0]["labels"]] == ["dark", "dim"]
    assert set(answers[0]) >= {"time_s", "score", "latency_s", "dropped_frames"}
    assert [line["label"] for line in lines if line["kind"] == "event"] == ["dark", "bright"]
    assert lines[-1]["num_frames"] == 20


def test_text(command, gray_video, tmp_path):
    done = command(gray_video("a.mp4", [0, 3]), "--fast", "--text", "--record", tmp_path / "clips")
    assert done.exit_code == 0
    assert "run answers" not in done.stdout  # the network's own name
    for text in ("stub answers after every frame", "dark begins", "bright ends, began at 1.00 s", "written: "):
        assert text in done.stdout
    assert done.stdout.splitlines()[-1].startswith("20 frames, 0 dropped, 0 damaged, 20 answers, 2 events; latency ")


def test_a_failed_clip_sets_the_status(command, gray_video, tmp_path, monkeypatch):
    from videozoo.errors import DataError

    def refuse(path, *_, **__):
        raise DataError(f"{path}: cannot be written (no space left on device); free some space")

    monkeypatch.setattr("videozoo.stream.record.write_video", refuse)
    done = command(gray_video("a.mp4", [0, 3]), "--fast", "--text", "--record", tmp_path / "clips")
    assert done.exit_code == 1
    assert "no space left on device" in done.stdout


def test_messages_as_text():
    answered = messages.Answered(1.0, None, 0.25, 0.0123, 2, {"labels": []})
    assert _line(answered) == "     1.00 s  nothing  25.0%  12 ms"
    assert _line(messages.Reconnected(5.0, 2.5)) == "     5.00 s  connected again after 2.5 s"


SCRIPT = """
from tests.slim.blocker import block
block()  # no torch
import videozoo.loading
from tests.stream.conftest import counting_network
videozoo.loading.open_network = lambda *_, **__: counting_network()
from videozoo.cli.main import main
main()
"""


def process(*args, **options):
    command = [sys.executable, "-c", SCRIPT, "stream", "run", *args]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, **pipes, text=True, env=ENVIRONMENT, **options)


def test_ctrl_c_ends_with_a_summary(gray_video):
    with process(str(gray_video("a.mp4", [0, 3] * 30))) as running:  # a minute
        first = [running.stdout.readline() for _ in range(3)]
        running.send_signal(signal.SIGINT)
        rest, errors = running.communicate(timeout=60)
    assert running.returncode == 0, errors
    assert json.loads(first[1])["kind"] == "answer"
    summary = json.loads(rest.splitlines()[-1])
    assert summary["kind"] == "summary"
    assert summary["num_frames"] < 600
    assert errors == ""


def test_standard_input_is_a_source(gray_video):
    with gray_video("a.ts", [0, 3]).open("rb") as video, process("-", "--fast", stdin=video) as running:
        lines, errors = running.communicate(timeout=60)
    assert running.returncode == 0, errors
    assert [json.loads(line)["kind"] for line in lines.splitlines()].count("answer") == 20
