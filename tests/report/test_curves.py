"""Runs side by side: what the table says, and a picture with the curves where they belong."""

import json

import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from videozoo.cli.main import app
from videozoo.errors import DataError
from videozoo.report.curves import PALETTE, _ticks, find_runs, plot_curves

RECORD = {
    "model": {"name": "tsm", "backbone": "resnet18"},
    "data": {"train": {"name": "clip_folder", "path": "data/motion/train"}},
    "fit": {"duration": "2ep", "batch_size": 4},
}


def make_run(path, *, steps=20, scores=(50.0, 70.0, 60.0)):
    path.mkdir(parents=True)
    (path / "recipe.yaml").write_text(yaml.safe_dump(RECORD))
    lines = [{"step": i, "loss": 2.0 - i / 20, "epoch": i / 10} for i in range(1, steps + 1)]
    lines += [{"step": 5 * (i + 1), "val/top1": s, "val/top5": 90.0, "val/num_scored": 8} for i, s in enumerate(scores)]
    lines.sort(key=lambda line: line["step"])
    (path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_a_table_of_runs(tmp_path):
    make_run(tmp_path / "runs" / "a")
    make_run(tmp_path / "runs" / "deep" / "b", steps=12, scores=())
    a, b = find_runs(tmp_path / "runs")
    assert (a.name, a.model, a.data) == ("a", "tsm resnet18", "data/motion/train")
    assert (a.step, a.total_steps, a.status) == (20, 20, "finished")
    assert (dict(a.best), a.best_step) == ({"top1": 70.0, "top5": 90.0}, 10)
    assert (b.name, b.step, b.total_steps, dict(b.best)) == ("deep/b", 12, 20, {})
    assert b.status.startswith("unfinished, last line ")


def test_the_command(tmp_path):
    make_run(tmp_path / "runs" / "a", scores=(50.0,))
    make_run(tmp_path / "runs" / "b", scores=(80.0,))
    result = CliRunner().invoke(app, ["runs", str(tmp_path / "runs"), "--sort", "--plot", str(tmp_path / "c.png")])
    assert result.exit_code == 0, result.output
    rows = [line.split()[0] for line in result.output.splitlines() if "tsm" in line]
    assert rows == ["b", "a"] and "top1 80" in result.output and "20/20" in result.output
    with Image.open(tmp_path / "c.png") as picture:
        assert picture.size[0] == 1400


def test_curves_are_drawn_in_their_colours(tmp_path):
    make_run(tmp_path / "runs" / "a")
    make_run(tmp_path / "runs" / "b", scores=(10.0,))
    with Image.open(plot_curves(find_runs(tmp_path / "runs"), tmp_path / "out" / "c.png")) as picture:
        colours = {colour for _, colour in picture.getcolors(100000)}
    assert set(PALETTE[:2]) <= colours and PALETTE[2] not in colours


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 100, [0, 20, 40, 60, 80, 100]),
        (0.31, 2.2, [0, 0.5, 1, 1.5, 2, 2.5]),
        (3, 3, [2.95, 3.0]),
    ],
)
def test_ticks_are_round(low, high, ticks):
    found = _ticks(low, high)
    assert found[0] <= low and found[-1] >= high
    assert low == high or found == ticks


def test_folders_without_runs(tmp_path):
    with pytest.raises(DataError, match=r"nowhere: there is no such folder"):
        find_runs(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"holds no run; a run is a folder with recipe\.yaml"):
        find_runs(tmp_path)
    (tmp_path / "log.jsonl").touch()
    (tmp_path / "recipe.yaml").write_text("a: 1")
    with pytest.raises(DataError, match=r"recipe\.yaml: model: field required; is not the record of a run"):
        find_runs(tmp_path)
