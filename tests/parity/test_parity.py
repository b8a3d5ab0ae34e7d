"""The kept reference folders, and all of them where the full set lies beside the project."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.parity.__main__ import main, run
from tests.parity.keep import KEPT

ORACLES = Path(__file__).resolve().parents[3] / "shared" / "oracles"


# large models: five seconds and more each
HEAVY = {
    "paddlevideo1_attention_cluster",
    "paddlevideo1_attention_lstm",
    "paddlevideo1_nextvlad",
    "paddlevideo1_nonlocal",
    "paddlevideo1_nonlocal_i3d",
    "paddlevideo2_attention_lstm",
    "paddlevideo2_pptimesformer",
    "paddlevideo2_pptsm",
    "paddlevideo2_pptsn",
    "paddlevideo2_slowfast",
    "paddlevideo2_timesformer",
    "paddlevideo2_tokenshift",
    "paddlevideo2_videoswin_small",
}
TRAINED = (
    *("paddlevideo1/" + name for name in ("nonlocal", "slowfast", "stnet", "tsm", "tsn")),
    *("paddlevideo2/" + name for name in ("movinet", "pptsm", "pptsm_v2_lcnet", "pptsn", "slowfast", "tsm", "tsn")),
    "paddlevideo2/videoswin_small",
)


@pytest.mark.parametrize(
    "folder",
    [
        pytest.param(folder, id=folder.name, marks=pytest.mark.long if folder.name in HEAVY else ())
        for folder in sorted(KEPT.iterdir())
    ],
)
def test_kept(folder):
    line, errors = run(folder)
    assert line["passed"], (line, errors)


@pytest.mark.long
@pytest.mark.parametrize("name", TRAINED)
def test_training_step(name):
    if not ORACLES.is_dir():
        pytest.skip(f"the full reference folders are not at {ORACLES}")
    line, errors = run(ORACLES / name)
    assert line["passed"], (line, errors)


def test_a_folder_that_no_case_knows_fails(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["parity", str(tmp_path)])
    assert main() == 1
    assert "no case in tests/parity/cases matches" in capsys.readouterr().out


def test_a_wrong_number_fails(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "folder"
    folder.mkdir()
    module = type(
        "Case",
        (),
        {"matches": lambda *_: True, "compare": lambda *_: iter([("a", 1e-6), ("b", float("nan"))])},
    )
    monkeypatch.setattr("tests.parity.__main__.case_modules", lambda: [module])
    line, _ = run(folder)
    assert line["outputs"] == 2 and not line["passed"]
