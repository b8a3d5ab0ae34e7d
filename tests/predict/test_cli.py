import csv
import functools
import json
import re
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from tests.io.test_damage import spoiled
from tests.predict.conftest import LEVELS, NAMES, grey_frames
from videozoo.cli.predict import predict
from videozoo.contracts.features import Features
from videozoo.errors import ConfigError, DataError
from videozoo.io.decode import open_video, probe
from videozoo.io.features import write_features
from videozoo.loading import load
from videozoo.tasks.build import build_task
from videozoo.weights import checkpoint

app = typer.Typer()
app.command()(predict)


def call(run, *words):
    arguments = [str(run), *map(str, words), "--device", "cpu"]
    return CliRunner(env={"COLUMNS": "300"}).invoke(app, arguments, catch_exceptions=False)


@pytest.fixture
def videozoo_predict(run):
    return functools.partial(call, run)


@pytest.fixture
def videozoo_find(finder):
    return functools.partial(call, finder)


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


def rows_of(result):
    """The cells of the rows with two times."""
    return [line.split() for line in result.stdout.splitlines() if line.count(" s ") == 2]


def test_segments_are_a_table_in_the_order_of_time(videozoo_find, grey_video):
    result = videozoo_find(grey_video("a.mp4", [1, 0, 3, 3]))
    assert rows_of(result) == [
        ["0.00", "s", "1.00", "s", "dim", "0.900"],
        ["2.00", "s", "4.00", "s", "bright", "0.450"],
    ]
    result = videozoo_find(grey_video("a.mp4", [1, 0, 3, 3]), "--min-score", "0.5")
    assert [row[4] for row in rows_of(result)] == ["dim"]
    assert [row[4] for row in rows_of(videozoo_find(grey_video("a.mp4", [1, 0, 3, 3]), "--top", "1"))] == ["dim"]


def test_no_segments_are_said_and_written(videozoo_find, grey_video, tmp_path):
    video = grey_video("a.mp4", [0, 0, 0, 0])
    for format, text in (("csv", "video,start_s,end_s,label,score\n"), ("srt", "")):
        result = videozoo_find(video, "--out", tmp_path / f"o.{format}", "--plot", tmp_path / "p.png")
        assert result.exit_code == 0
        assert "nothing was found" in result.stdout
        assert (tmp_path / f"o.{format}").read_text() == text
    videozoo_find(video, "--out", tmp_path / "o.edl", "--render", tmp_path / "r.mp4", "--cut", tmp_path / "cut")
    assert (tmp_path / "o.edl").read_text() == "TITLE: a.mp4\nFCM: NON-DROP FRAME\n"
    assert probe(tmp_path / "r.mp4").num_frames == 40
    assert list((tmp_path / "cut").iterdir()) == []
    found = json.loads(videozoo_find(video, "--json").stdout)
    assert found["predictions"][0]["segments"] == []
    assert "score of at least 0.95" in videozoo_find(grey_video("b.mp4", [1] * 4), "--min-score", "0.95").stdout


def test_the_ending_says_the_format(videozoo_find, grey_video, tmp_path):
    video = grey_video("a.mp4", [1, 0, 3, 3])
    for format in ("json", "csv", "srt", "edl"):
        assert videozoo_find(video, "--out", tmp_path / "new" / f"o.{format}").exit_code == 0
        printed = videozoo_find(video, "--format", format)
        assert printed.stdout == (tmp_path / "new" / f"o.{format}").read_text()
    assert "00:00:02,000 --> 00:00:04,000\nbright\n" in (tmp_path / "new/o.srt").read_text()
    assert "00:00:02:00 00:00:04:00 01:00:01:00 01:00:03:00" in (tmp_path / "new/o.edl").read_text()
    videozoo_find(video, "--format", "srt", "--out", tmp_path / "o.txt")
    assert (tmp_path / "o.txt").read_text() == (tmp_path / "new/o.srt").read_text()


def test_several_videos_in_a_file_or_a_folder(videozoo_find, grey_video, tmp_path):
    videos = [grey_video("x/a.mp4", [1, 0, 0, 0]), grey_video("y/a.mp4", [0, 0, 2, 0]), tmp_path / "gone.mp4"]
    assert videozoo_find(*videos, "--out", tmp_path / "o.csv").exit_code == 1
    rows = list(csv.DictReader((tmp_path / "o.csv").read_text().splitlines()))
    assert [(row["video"], row["label"]) for row in rows] == [(str(videos[0]), "dim"), (str(videos[1]), "light")]
    result = videozoo_find(*videos, "--format", "srt", "--out", tmp_path / "srt")
    assert sorted(p.name for p in (tmp_path / "srt").iterdir()) == ["a-2.srt", "a.srt"]
    assert "gone.mp4: there is no such file" in result.stderr
    videozoo_find(*videos[:2], "--out", tmp_path / "folder")
    assert json.loads((tmp_path / "folder/a-2.json").read_text())["predictions"][0]["id"] == str(videos[1])


def test_labels_over_time_as_subtitles(videozoo_predict, grey_video):
    result = videozoo_predict(grey_video("a.mp4", [1, 1, 3]), "--window", "1", "--stride", "1", "--format", "srt")
    assert result.stdout.splitlines()[1::4] == ["00:00:00,000 --> 00:00:02,000", "00:00:02,000 --> 00:00:03,000"]
    assert result.stdout.splitlines()[2::4] == ["dim", "bright"]


def test_labels_of_whole_videos_as_a_table(videozoo_predict, grey_video):
    result = videozoo_predict(grey_video("a.mp4", [1, 1]), grey_video("b.mp4", [3, 3]), "--format", "csv", "--top", "2")
    rows = list(csv.DictReader(result.stdout.splitlines()))
    assert [row["label"] for row in rows] == ["dim", "dark", "bright", "light"]
    assert {(row["start_s"], row["end_s"]) for row in rows} == {("0.000", "2.000")}


def test_clips_of_what_was_found(videozoo_find, grey_video, tmp_path):
    video = grey_video("a.mp4", [1, 0, 3, 3])
    result = videozoo_find(video, "--cut", tmp_path / "cut")
    clips = sorted((tmp_path / "cut").iterdir())
    assert [clip.name for clip in clips] == ["a-001-dim.mp4", "a-002-bright.mp4"]
    assert [probe(clip).num_frames for clip in clips] == [10, 20]
    assert all(f"cut: {clip}" in result.stderr for clip in clips)
    videozoo_find(video, "--cut", tmp_path / "copy", "--cut-copy")
    with open_video(tmp_path / "copy/a-002-bright.mp4") as clip:
        assert clip.frames_at([0.0]).data.mean() == pytest.approx(LEVELS[3], abs=4)


def test_any_run_answers_for_the_segments_that_another_finds(videozoo_predict, finder, grey_video, tmp_path):
    video = grey_video("a.mp4", [1, 0, 3, 3])
    result = videozoo_predict(video, "--segments", finder, "--plot", tmp_path / "p.png", "--out", tmp_path / "o.srt")
    assert [row[:5] for row in rows_of(result)] == [
        ["0.00", "s", "1.00", "s", "dim"],
        ["2.00", "s", "4.00", "s", "bright"],
    ]
    assert (tmp_path / "o.srt").read_text().count("-->") == 2
    found = json.loads(videozoo_predict(video, "--segments", finder, "--json", "--min-score", "0.5").stdout)
    (window,) = found["predictions"][0]["windows"]
    assert (window["start_s"], window["end_s"], window["found"]) == (0, 1, {"label": "dim", "score": 0.9})
    assert window["labels"][0]["name"] == "dim"
    nothing = videozoo_predict(grey_video("b.mp4", [0] * 4), "--segments", finder, "--format", "srt")
    assert (nothing.exit_code, nothing.stdout) == (0, "")


def test_places_that_cannot_be_written_are_found_before_the_work(videozoo_find, grey_video, tmp_path):
    video = grey_video("a.mp4", [1] * 4)
    (tmp_path / "file").write_text("x")
    for option, name in (("--out", "o.csv"), ("--render", "r.mp4"), ("--plot", "p.png"), ("--cut", "clips")):
        with pytest.raises(ConfigError, match=rf"{name}: cannot be written, .*file is a file"):
            videozoo_find(video, option, tmp_path / "file" / name)
    with pytest.raises(ConfigError, match=r"file: is a file, .*give a folder"):
        videozoo_find(video, "--cut", tmp_path / "file")


def test_words_that_do_not_go_together(videozoo_predict, videozoo_find, run, grey_video, tmp_path):
    video = grey_video("a.mp4", [1, 0])
    with pytest.raises(
        ConfigError, match=r"srt: needs answers with times, but .*a\.mp4 has labels for the whole video only; give --w"
    ):
        videozoo_predict(video, "--format", "srt")
    with pytest.raises(ConfigError, match=r"--cut: needs answers with times"):
        videozoo_predict(video, "--cut", tmp_path / "cut")
    with pytest.raises(ConfigError, match=r"--segments: .* answers with labels, without times"):
        videozoo_predict(video, "--segments", run)
    with pytest.raises(ConfigError, match=r"--segments: got --window as well, and both choose the stretches"):
        videozoo_predict(video, "--segments", run, "--window", "1")
    with pytest.raises(ConfigError, match=r"--format: there is no 'str'; did you mean 'srt'\?"):
        videozoo_find(video, "--format", "str")
    with pytest.raises(
        ConfigError, match=r"--out: the ending of o\.xml names no format; use \.json, \.csv, \.srt, \.edl"
    ):
        videozoo_find(video, "--out", "o.xml")
    with pytest.raises(ConfigError, match=r"--format: srt holds one video, not 2; give a folder: --out FOLDER"):
        videozoo_find(video, grey_video("b.mp4", [1]), "--format", "srt")
    with pytest.raises(ConfigError, match=r"--cut-copy: there is nothing to cut"):
        videozoo_find(video, "--cut-copy")
    with pytest.raises(ConfigError, match=r"--features: the run takes videos, not features such as .*; leave it out"):
        videozoo_find(video, "--features", tmp_path)


def test_frames_have_no_packets_to_copy(videozoo_find, tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    for number, frame in enumerate(grey_frames([1, 0, 3, 3])):
        Image.fromarray(frame).save(folder / f"{number:03d}.png")
    assert videozoo_find(folder, "--fps", "10", "--cut", tmp_path / "cut").exit_code == 0
    assert probe(tmp_path / "cut/frames-002-bright.mp4").num_frames == 20
    result = videozoo_find(folder, "--fps", "10", "--cut", tmp_path / "copy", "--cut-copy")
    assert result.exit_code == 1
    assert "frames: holds frames, which have no packets to copy" in result.stderr


@pytest.fixture
def localizer(tmp_path):
    """A run on features, as untrained as it was made."""
    record = {
        "model": {"name": "bmn", "feature_dim": 4, "num_snippets": 8, "max_duration": 4, "num_samples": 4}
        | {"base_dim": 8, "match_dim": 8, "sample_dim": 8},
        "task": {"name": "localize_bmn"},
        "input": {"name": "snippets", "num_snippets": 8, "feature_dim": 4},
    }
    state = build_task(record, NAMES).model.state_dict()
    checkpoint.write(tmp_path / "bmn/best.pt", {"record": record, "class_names": NAMES, "model": state, "step": 1})
    return tmp_path / "bmn"


def test_stored_features_instead_of_the_video(run, localizer, grey_video, tmp_path):
    video = grey_video("a.mp4", [1, 0, 3, 3])
    values = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
    write_features(tmp_path / "f", "a", Features(values, stride_s=0.5, offset_s=0.25, duration_s=4.0))
    result = call(localizer, video, "--features", tmp_path / "f", "--json")
    (prediction,) = json.loads(result.stdout)["predictions"]
    assert (prediction["id"], prediction["info"]["width_px"]) == (str(video), 48)
    found = prediction["segments"]
    assert found
    assert all(0 <= span["start_s"] < span["end_s"] <= 4 for span in found)

    gone = call(localizer, tmp_path / "elsewhere/a.mp4", "--features", tmp_path / "f", "--json")
    (prediction,) = json.loads(gone.stdout)["predictions"]
    assert prediction["segments"] == found  # the video itself is not needed
    named = call(run, video, "--segments", localizer, "--features", tmp_path / "f", "--json")
    (prediction,) = json.loads(named.stdout)["predictions"]
    assert [w["start_s"] for w in prediction["windows"]] == sorted(span["start_s"] for span in found)
    result = call(localizer, grey_video("b.mp4", [1]), "--features", tmp_path / "f")
    assert result.exit_code == 1
    assert "f: no features of video 'b' (there are 1, e.g. 'a')" in result.stderr

    write_features(tmp_path / "untimed", "a", Features(values))  # spread evenly over the video, where that is at hand
    untimed = call(localizer, video, "--features", tmp_path / "untimed", "--json")
    (prediction,) = json.loads(untimed.stdout)["predictions"]
    assert prediction["segments"] == found


def test_windows_of_a_localizer_are_in_the_time_of_the_video(localizer, tmp_path):
    values = np.random.default_rng(0).normal(size=(16, 4)).astype(np.float32)
    content = Features(values, stride_s=0.5, offset_s=0.25, duration_s=8.0)
    windows = load(localizer, device="cpu")(content, window_s=4.0, stride_s=4.0).windows
    assert [window.start_s for window in windows] == [0.0, 4.0]
    for window in windows:
        assert window.answer.spans
        assert all(window.start_s <= span.start_s < span.end_s <= window.end_s for span in window.answer.spans)


def test_damage_that_the_decoder_conceals_is_named_or_refused(videozoo_predict, grey_video, tmp_path, monkeypatch):
    monkeypatch.setenv("VIDEOZOO_STRICT", "")  # set by --strict, and put back after the test
    healthy, damaged = grey_video("a.mp4", [1, 0]), spoiled(tmp_path / "bad.mkv", "libx264")
    result = videozoo_predict(healthy, damaged, "--window", "1")
    assert result.exit_code == 0
    head, line = result.stderr.strip().splitlines()
    assert head == "damage concealed by the decoder (--strict makes it an error):"
    assert re.fullmatch(r".*bad\.mkv: [1-3] frames?", line.strip())
    assert "concealed" not in videozoo_predict(healthy, "--window", "1").stderr

    result = videozoo_predict(healthy, damaged, "--window", "1", "--strict")
    assert result.exit_code == 1
    assert "1 of 2 videos failed" in result.stderr
    assert re.search(r"bad\.mkv: the frame at 1\.\d\d s cannot be decoded \(", result.stderr)
