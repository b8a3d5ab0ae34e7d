"""Exported networks where torch cannot be imported: every answer that predict gives."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.slim import blocker
from tests.slim.test_commands import run as run_without_torch


def predicted(*args):
    done = run_without_torch("predict", *args)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_windows_as_json_and_subtitles(run, exported, clip, tmp_path):
    (found,) = json.loads(predicted(exported, clip, "--window", 1, "--json"))["predictions"]
    assert len(found["windows"]) == 5 and len(found["labels"]) == 5
    predicted(exported, clip, "--window", 1, "--out", tmp_path / "a.srt", "--plot", tmp_path / "a.png")
    assert "-->" in (tmp_path / "a.srt").read_text() and (tmp_path / "a.png").stat().st_size > 0


def test_segments_with_the_extractor_inside(exported_localizer, exported, clip):
    (found,) = json.loads(predicted(exported_localizer, clip, "--json", "--top", 3))["predictions"]
    assert len(found["segments"]) == 3
    named = predicted(exported, clip, "--segments", exported_localizer, "--top", 2, "--json")
    assert len(json.loads(named)["predictions"][0]["windows"]) == 2


def test_the_interface(exported, clip):
    code = (
        "import sys; from tests.slim import blocker; blocker.block(); import videozoo; "
        "print(videozoo.load(sys.argv[1])(sys.argv[2]).answer.best)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, exported, clip], capture_output=True, text=True, env=blocker.ENVIRONMENT
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("class ")


def test_verify_says_that_it_needs_torch(run, exported, clip):
    done = run_without_torch("verify", exported, clip, "--against", run)
    assert done.returncode == 1
    assert done.stderr.strip().endswith("run: pip install 'videozoo[torch]'") and "Traceback" not in done.stderr


@pytest.mark.parametrize("format", ["onnx", "openvino", "torch"])
def test_export_says_that_it_needs_torch(run, tmp_path, format):
    done = run_without_torch("export", run, "--format", format, "--out", tmp_path / "out")
    assert done.returncode == 1
    assert done.stderr.splitlines() == ["error: this command needs torch; run: pip install 'videozoo[torch]'"]
    assert not list(tmp_path.iterdir())
