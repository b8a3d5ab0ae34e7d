"""`videozoo bench models`."""

from __future__ import annotations

import json

from typer.testing import CliRunner

from videozoo.cli.main import app

SMALL = ["backbone=resnet18", "backbone_args={layers: [1, 1, 1, 1], channels: [8, 8, 8, 8]}", "crop_px=32"]


def test_a_table_and_figures(tmp_path):
    out = tmp_path / "models.md"
    asked = ["bench", "models", "ts[mn]", *SMALL, "--mode", "eager", "--mode", "bf16", "--steps", "1", "--cpu-time"]
    result = CliRunner().invoke(app, [*asked, "--json", "--out", str(out)])
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    assert [row["model"] for row in figures["models"]] == ["tsm", "tsn"]
    timing = figures["models"][0]["timings"]["bf16"]
    assert timing["forward_s"] > 0 and timing["step_s"] > 0
    table = out.read_text().splitlines()
    assert table[0].startswith("Core-seconds of a forward pass / a training step (")
    assert table[2] == "| model | input | parameters | eager | bf16 |"
    assert table[4].startswith("| `tsm` | 8 x 3 x 32 x 32 | 0.0")


def test_no_such_model():
    result = CliRunner().invoke(app, ["bench", "models", "tms"])
    assert str(result.exception) == "bench: no model matches 'tms'; see videozoo list models"
