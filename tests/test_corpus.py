"""`python -m tests.corpus`: each outcome is recognised, and a bad one sets the exit status."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.io.drawing import draw

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="child processes are forked")

CODE = """
import os, sys, time
from tests import corpus
from videozoo.io.pyav import PyAVReader

plain = PyAVReader.frames_at

def frames_at(self, times_s):
    name = os.path.basename(self.path)
    if name == "abort.mp4":
        os.abort()
    if name == "raise.mp4":
        raise AssertionError("a bug")
    if name == "hang.mp4":
        time.sleep(600)
    if name == "memory.mp4":
        return bytearray(3 << 30)
    if name == "wrong.mp4":
        return plain(self, [max(0.0, time_s - 0.1) for time_s in times_s])
    if name == "pixels.mp4":
        found = plain(self, times_s)
        found.data[0, 0, 0, 0] ^= 1
        return found
    return plain(self, times_s)

PyAVReader.frames_at = frames_at
sys.argv = ["corpus", *{arguments!r}]
sys.exit(corpus.main())
"""


def run(*arguments: object) -> tuple[int, dict[str, dict[str, object]], dict[str, object]]:
    code = CODE.format(arguments=[str(argument) for argument in arguments])
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, env=environment)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines, done.stderr
    return done.returncode, {line.pop("file"): line for line in lines[:-1]}, lines[-1]


def test_each_outcome_is_recognised(tmp_path):
    wanted = {
        "good.mp4": "answered",
        "sub/good.mkv": "answered",
        "abort.mp4": "crashed",
        "raise.mp4": "crashed",
        "memory.mp4": "crashed",
        "hang.mp4": "hung",
        "wrong.mp4": "wrong",
        "pixels.mp4": "wrong",
        "text.mp4": "named",
    }
    (tmp_path / "sub").mkdir()
    for name, outcome in wanted.items():
        if outcome == "named":
            (tmp_path / name).write_text("only words")
        else:
            draw(tmp_path / name, times=range(20))
    status, found, summary = run(tmp_path, "--timeout-s", 8, "--memory-gb", 2)
    assert {name: line["outcome"] for name, line in found.items()} == wanted
    assert summary == {"summary": {"answered": 2, "named": 1, "crashed": 3, "hung": 1, "wrong": 2}, "files": 9}
    assert status == 1
    assert found["good.mp4"]["frames"] == 20
    assert "SIGABRT" in str(found["abort.mp4"]["detail"])
    assert "a bug" in str(found["raise.mp4"]["detail"])
    assert "MemoryError" in str(found["memory.mp4"]["detail"])
    assert "text.mp4: it cannot be opened as a video" in str(found["text.mp4"]["detail"])


def test_good_and_named_files_are_a_success(tmp_path):
    draw(tmp_path / "good.mp4", times=range(3))
    (tmp_path / "empty.mp4").write_bytes(b"")
    status, found, _ = run(tmp_path)
    assert (status, {line["outcome"] for line in found.values()}) == (0, {"answered", "named"})
