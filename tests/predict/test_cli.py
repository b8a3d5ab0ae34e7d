import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from videozoo.cli.predict import predict
from videozoo.errors import ConfigError, DataError
from videozoo.io.decode import probe

app = typer.Typer()
app.command()(predict)


@pytest.fixture
def videozoo_predict(run):
    def call(*words):
        arguments = [str(run), *map(str, words), "--device", "cpu"]
        return CliRunner(env={"COLUMNS": "300"}).invoke(app, arguments, catch_exceptions=False)

    return call


def test_names_with_probabilities(videozoo_predict, grey_video):
    result = videozoo_predict(grey_video("a.mp4", [1]), "--top", "2")
    assert result.exit_code == 0
    rows = [line.split() for line in result.stdout.splitlines() if "%" in line]
    assert [row[0] for row in rows] == ["dim", "dark"]
    assert float(rows[0][1].rstrip("%")) > 80


def test_labels_over_time(videozoo_predict, grey_video):
    result = videozoo_predict(grey_video("a.mp4", [1, 3]), "--window", "1", "--stride", "1")
    rows = [line.split() for line in result.stdout.splitlines() if line.count(" s ") == 2]
    assert [row[:5] for row in rows] == [
        ["0.00", "s", "1.00", "s", "dim"],
        ["1.00", "s", "2.00", "s", "bright"],
    ]


def test_json_is_all_there_is_on_stdout(videozoo_predict, grey_video, tmp_path):
    videos = [grey_video("a.mp4", [0]), grey_video("b.mp4", [3])]
    result = videozoo_predict(*videos, "--json", "--top", "1", "--window", "1", "--out", tmp_path / "new/o.json")
    found = json.loads(result.stdout)
    assert [p["id"] for p in found["predictions"]] == [str(v) for v in videos]
    assert [p["labels"][0]["name"] for p in found["predictions"]] == ["dark", "bright"]
    assert found["predictions"][1]["windows"][0]["labels"][0]["name"] == "bright"
    assert found["failed"] == []
    assert json.loads((tmp_path / "new/o.json").read_text()) == found


def test_a_broken_file_is_reported_at_the_end_and_the_others_are_answered(videozoo_predict, grey_video):
    folder = grey_video("v/a.mp4", [0]).parent
    (folder / "bad.mp4").write_text("no video")
    grey_video("v/c.mp4", [3])
    (folder / "list.txt").write_text("a.mp4 0\nbad.mp4 1\nmissing.mp4 2\nc.mp4 3\n")
    result = videozoo_predict(folder / "list.txt")
    assert result.exit_code == 1
    rows = [line.split() for line in result.stdout.splitlines() if "%" in line]
    assert [row[1] for row in rows if row[0].endswith(".mp4")] == ["dark", "bright"]
    *_, head, bad, missing = result.stderr.strip().splitlines()
    assert head == "2 of 4 videos failed:"
    assert "bad.mp4: it cannot be opened as a video" in bad
    assert "missing.mp4: there is no such file; check the path" in missing

    result = videozoo_predict(folder / "list.txt", "--json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert [Path(p["id"]).name for p in found["predictions"]] == ["a.mp4", "c.mp4"]
    assert [Path(f["id"]).name for f in found["failed"]] == ["bad.mp4", "missing.mp4"]
    assert "it cannot be opened as a video" in found["failed"][0]["error"]


def test_pictures_of_one_video_have_the_names_given(videozoo_predict, grey_video, tmp_path):
    out = tmp_path / "out"
    words = ("--window", "1", "--render", out / "r.mp4", "--plot", out / "p.png")
    assert videozoo_predict(grey_video("a.mp4", [0, 1]), *words).exit_code == 0
    assert probe(out / "r.mp4").duration_s == pytest.approx(2.0)
    assert sorted(p.name for p in out.iterdir()) == ["p.png", "r.mp4"]


def test_pictures_of_several_go_into_a_folder(videozoo_predict, grey_video, tmp_path):
    videos = [grey_video("x/a.mp4", [0]), grey_video("y/a.mp4", [0]), grey_video("b.mkv", [1])]
    videozoo_predict(*videos, "--render", tmp_path / "r", "--plot", tmp_path / "p")
    assert sorted(p.name for p in (tmp_path / "r").iterdir()) == ["a-2.mp4", "a.mp4", "b.mp4"]
    assert sorted(p.name for p in (tmp_path / "p").iterdir()) == ["a-2.png", "a.png", "b.png"]


def test_wrong_words(videozoo_predict, grey_video, tmp_path):
    with pytest.raises(ConfigError, match=r"--stride: got 1 without a window; give --window, too"):
        videozoo_predict(grey_video("a.mp4", [0]), "--stride", "1")
    (tmp_path / "nothing").mkdir()
    with pytest.raises(DataError, match=r"nothing: holds no video file and no frames"):
        videozoo_predict(tmp_path / "nothing")
