"""`videozoo bench models`."""

from __future__ import annotations

import json

import pytest
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


def test_the_limit_is_measured_in_the_same_run():
    asked = ["bench", "models", "tsn", *SMALL, "--mode", "eager", "--steps", "1", "--no-train", "--limit"]
    result = CliRunner().invoke(app, asked)
    assert result.exit_code == 0, result.output
    *_, heading, _, row = result.stdout.strip().splitlines()
    assert heading.startswith(
        "| model | GFLOP | seconds | matrix product, convolution, copy | limit | with memory | conv"
    )
    cells = row.strip("| ").split(" | ")
    assert cells[0] == "`tsn`" and cells[3].endswith(" GB/s")
    assert 99 <= sum(int(cell.rstrip("%")) for cell in cells[6:]) <= 101 + len(cells[6:])


@pytest.mark.long
def test_exports_are_compared_with_torch():
    pytest.importorskip("openvino")
    small = [*SMALL[:2], "crop_px=64"]
    asked = ["bench", "models", "tsn", *small, "--mode", "eager", "--steps", "1", "--no-train", "--exports", "--json"]
    result = CliRunner().invoke(app, asked)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)["models"][0]["exports"]
    assert list(found) == ["eager", "bf16", "onnx", "openvino", "int8"]
    assert all(form["seconds"] > 0 and form["reason"] is None for form in found.values())
    assert found["eager"]["difference"] == 0 and found["onnx"]["difference"] < 1e-4 > found["openvino"]["difference"]
    assert 1e-4 < found["int8"]["difference"] < 0.5 and found["onnx"]["agreement"] == 1
    assert found["int8"]["size_bytes"] < found["onnx"]["size_bytes"]


def test_no_such_model():
    result = CliRunner().invoke(app, ["bench", "models", "tms"])
    assert str(result.exception) == "bench: no model matches 'tms'; see videozoo list models"
