"""What reaches the terminal, pipes and full disks: answers as they come, one line for what goes wrong."""

import csv
import io
import json
import os
import sys
from pathlib import Path

import pytest

from videozoo.cli import main as command_line
from videozoo.predict.predictor import Predictor
from videozoo.terminal import bar_of, console, escaped, prepare_streams

needs_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's device that is always full")
NASTY = "\x1b]0;owned\x07\x1b[31mred\n:car:[bold].mp4"


@pytest.fixture
def videozoo(monkeypatch, tmp_path):
    """Runs a command line as `videozoo` does, its stdout in a file or on a device; gives (status, stdout, stderr)."""

    def call(*words, stdout=tmp_path / "stdout", encoding="utf-8"):
        monkeypatch.setattr(sys, "argv", ["videozoo", *map(str, words)])
        with Path(stdout).open("w", encoding=encoding) as out, io.StringIO() as err:
            monkeypatch.setattr(sys, "stdout", out)
            monkeypatch.setattr(sys, "stderr", err)
            prepare_streams()
            status = command_line._run()
            said = err.getvalue()
        return status, Path(stdout).read_bytes() if Path(stdout).is_file() else b"", said

    monkeypatch.setenv("COLUMNS", "200")
    return call


def failing_at(monkeypatch, name, error):
    """Lets the prediction of one video end in an error that nobody expects."""
    predict = Predictor.__call__

    def call(self, video, **options):
        if Path(video).name == name:
            raise error
        return predict(self, video, **options)

    monkeypatch.setattr(Predictor, "__call__", call)


def test_an_exception_in_the_last_video_loses_nothing(run, grey_video, videozoo, monkeypatch, tmp_path):
    folder = grey_video("v/a.mp4", [1]).parent
    grey_video("v/b.mp4", [3])
    grey_video("v/c.mp4", [3])
    failing_at(monkeypatch, "c.mp4", RuntimeError("of the binding"))
    out = tmp_path / "o.json"
    with pytest.raises(RuntimeError, match="of the binding"):
        videozoo("predict", run, folder, "--json", "--device", "cpu", "--out", out)
    for text in (out.read_text(), (tmp_path / "stdout").read_text()):
        assert [Path(p["id"]).name for p in json.loads(text)["predictions"]] == ["a.mp4", "b.mp4"]


def test_answers_are_printed_before_the_next_video(run, grey_video, videozoo, monkeypatch, tmp_path):
    folder = grey_video("v/a.mp4", [1]).parent
    grey_video("v/b.mp4", [3])
    predict, seen = Predictor.__call__, []

    def call(self, video, **options):
        seen.append((tmp_path / "stdout").read_text())
        return predict(self, video, **options)

    monkeypatch.setattr(Predictor, "__call__", call)
    status, printed, _ = videozoo("predict", run, folder, "--device", "cpu")
    assert status == 0
    assert "a.mp4" not in seen[0] and "a.mp4" in seen[1] and "dim" in seen[1]
    header, _, *rows = printed.decode().splitlines()
    assert [row.split()[1] for row in rows] == ["dim", "bright"]
    assert header.split() == ["video", "label", "probability", "then"]


@needs_full
@pytest.mark.parametrize("options", [[], ["--json"], ["--window", "1", "--format", "csv"]], ids=str)
def test_a_full_stdout_is_one_line(run, grey_video, videozoo, options):
    status, _, said = videozoo(
        "predict", run, grey_video("a.mp4", [1]), *options, "--device", "cpu", stdout="/dev/full"
    )
    assert status == 1
    assert (
        said
        == "error: output: cannot be written (no space left on device); free some space, or write to another disk\n"
    )


@needs_full
def test_answers_are_printed_when_their_files_cannot_be_written(run, grey_video, videozoo):
    video = grey_video("a.mp4", [1])
    status, printed, said = videozoo(
        "predict", run, video, "--json", "--device", "cpu", "--out", "/dev/full", "--format", "json"
    )
    assert status == 1
    assert json.loads(printed)["predictions"][0]["labels"][0]["name"] == "dim" and json.loads(printed)["failed"] == []
    assert "1 file could not be written:\n  /dev/full: cannot be written (no space left on device)" in said
    assert Path("/dev/full").is_char_device()


def test_a_video_whose_picture_cannot_be_written_is_answered_and_has_not_failed(
    run, grey_video, videozoo, monkeypatch, tmp_path
):
    from videozoo.io import whole_file

    folder = grey_video("v/a.mp4", [1]).parent
    grey_video("v/b.mp4", [3])

    def full(descriptor):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(whole_file.os, "fsync", full)
    options = [
        "--json",
        "--device",
        "cpu",
        "--window",
        "1",
        "--plot",
        tmp_path / "plots",
        "--out",
        tmp_path / "answers",
    ]
    status, printed, said = videozoo("predict", run, folder, *options)
    assert status == 1
    found = json.loads(printed)
    assert len(found["predictions"]) == 2 and found["failed"] == []
    for name in ("a", "b"):
        assert f"answers/{name}.json: cannot be written (no space left on device)" in said
        assert f"plots/{name}.png: cannot be written (no space left on device)" in said
    assert not list((tmp_path / "answers").iterdir()) if (tmp_path / "answers").exists() else True


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "ascii"])
def test_streams_that_are_not_utf8(run, grey_video, videozoo, encoding):
    videos = [grey_video("中文.mp4", [1]), grey_video("café😀.mp4", [3])]
    status, printed, _ = videozoo("predict", run, videos[0], "--device", "cpu", encoding=encoding)
    assert status == 0
    assert "####" in printed.decode(encoding) and r"\u4e2d\u6587.mp4" in printed.decode(encoding)
    status, printed, _ = videozoo("predict", run, *videos, "--device", "cpu", encoding=encoding)
    assert status == 0 and r"\U0001f600" in printed.decode(encoding)
    status, printed, _ = videozoo("predict", run, *videos, "--json", "--device", "cpu", encoding=encoding)
    assert status == 0
    assert [p["id"] for p in json.loads(printed.decode(encoding))["predictions"]] == [str(v) for v in videos]


def test_bars_are_blocks_where_they_can_be(videozoo, run, grey_video):
    assert "████" in videozoo("predict", run, grey_video("a.mp4", [1]), "--device", "cpu")[1].decode()


def test_names_that_are_not_utf8(run, grey_video, videozoo, tmp_path):
    plain = grey_video("v/plain.mp4", [1, 1])
    name = os.fsdecode(os.fsencode(plain.parent) + b"/bad\xff.mp4")
    plain.rename(name)
    status, printed, _ = videozoo(
        "predict", run, tmp_path / "v", "--json", "--device", "cpu", "--out", tmp_path / "o.json"
    )
    assert status == 0
    for text in (printed, (tmp_path / "o.json").read_bytes()):
        assert json.loads(text.decode("utf-8"))["predictions"][0]["id"] == name
    options = ["--window", "1", "--device", "cpu", "--out"]
    status, printed, _ = videozoo("predict", run, tmp_path / "v", *options, tmp_path / "o.csv")
    assert status == 0 and rb"bad\udcff.mp4" in printed
    rows = list(csv.DictReader((tmp_path / "o.csv").read_text(encoding="utf-8").splitlines()))
    assert rows[0]["video"].endswith(r"bad\udcff.mp4")
    assert videozoo("predict", run, tmp_path / "v", *options, tmp_path / "folder")[0] == 0
    assert len(list((tmp_path / "folder").iterdir())) == 1


def test_names_cannot_steer_a_terminal(run, grey_video, videozoo, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # short names
    folder = grey_video("v/a.mp4", [1]).parent
    (folder / "a.mp4").rename(folder / NASTY)
    (folder / f"broken{NASTY}").write_text("no video")
    for options in ([], ["--window", "1"]):
        status, printed, said = videozoo("predict", run, "v", "--device", "cpu", *options)
        assert status == 1
        assert not {"\x1b", "\x07"} & {*printed.decode(), *said}
        assert r"owned\x1b[31mred\n:car:[bold]" in printed.decode()
    assert len(said.splitlines()) == 2 and r"broken\x1b]0;owned\x07\x1b[31mred\n:car:[bold].mp4" in said


def test_tables_fold_to_what_they_escape(capsys):
    from rich.text import Text

    console(width=80).print("label:", Text("a\x9b\u202eb"))
    assert capsys.readouterr().out == "label: a\\x9b\\u202eb\n"
    assert escaped("a\tb\nc\x1b", lines=True) == "a\tb\nc\\x1b"
    assert escaped("é 中 ½") == "é 中 ½"
    assert len(bar_of(0.5)) == 10


def test_an_address_is_refused_as_it_was_written(run, videozoo):
    status, _, said = videozoo("predict", run, "https://host/a.mp4?x=1", "--device", "cpu")
    assert status == 1
    assert said.startswith("error: sources: https://host/a.mp4?x=1 is an address, which is not supported;")
