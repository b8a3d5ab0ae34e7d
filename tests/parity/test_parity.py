"""The kept reference folders, and all of them where the full set lies beside the project."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.parity.__main__ import main, run
from tests.parity.keep import KEPT
from tests.parity.rule import own_err, rel_err

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


def test_an_array_that_no_case_reads_fails(tmp_path):
    folder = Path(shutil.copytree(KEPT / "paddlevideo2_mix", tmp_path / "mix"))
    with np.load(folder / "mix.npz") as file:
        np.savez(folder / "mix.npz", **file, forgotten=np.zeros(3))
    line, errors = run(folder)
    assert not line["passed"] and line["reason"] == "no case reads 1 arrays: mix/forgotten"
    assert line["max_rel_err"] < 1e-6 and errors


def test_each_gradient_is_compared_with_its_own_size():
    reference = np.array([100.0, 1.0, 0.01])
    assert rel_err([100.0, 1.0, 0.02], reference) == pytest.approx(1e-4)
    assert own_err([100.0, 1.0, 0.02], reference) == pytest.approx(1.0)
    assert own_err([100.0, 1.0, 0.02], reference, floor=1e-2) == pytest.approx(1e-2)  # beside 1 % of the largest
    assert own_err([1.0], [np.nan]) == np.inf


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
